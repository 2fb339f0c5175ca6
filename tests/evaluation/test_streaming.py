"""Streaming: the same table from stores, in blocks of any size, as from arrays at once."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from diffsci import families
from diffsci.data.fields import Channel
from diffsci.errors import DataError, NumericsError
from diffsci.evaluation import blocks as sizes
from diffsci.evaluation import streaming
from diffsci.evaluation.blocks import Held, Lazy, blocks, of, slabs, whole
from diffsci.evaluation.pictured import _thin_grid, pictured
from diffsci.evaluation.plots import figures
from diffsci.evaluation.table import evaluate
from diffsci.grid import Places
from tests.evaluation.toys import AIR, box, globe, results, scores

PAIR = (AIR, Channel(variable="q", unit="1", attributes=(("missing", "moving"),)))
WORDS = [word for word in families.names("scores") if word != "spherical_spectrum"
         and families.load("scores", word).scope != "set"] + ["memorisation"]  # fmt: skip


def lazily(values, asked=None):
    """An array that is read as a store is, and says what was asked of it."""

    def reads(cases, leads, channel):
        if asked is not None:
            asked.append((cases, leads, channel))
        return values[cases, :, leads, channel].copy()

    return Lazy(shape=values.shape, reads=reads)


def toy(gaps=True, cases=12):
    found = results(globe(), leads=(6.0, 12.0, 18.0), cases=cases, channels=PAIR)
    if gaps:
        found.truth[3, 1, 1, 2:4, 5] = np.nan
        found.truth[7, :, 1, 0] = np.nan
    return found


def table(found, forecasts, truth, *names, train=None):
    return evaluate(
        forecasts,
        truth,
        channels=found.channels,
        grid=found.grid,
        leads=found.leads,
        scores=scores(*names),
        resamples=20,
        confidence=0.9,
        keys=found.keys,
        train=train,
        lead_unit="h",
    )


def test_blocks_and_slabs_of_any_size_give_the_same_numbers(monkeypatch):
    """All scores at once, with gaps that move; sums of slabs differ in their last bits."""
    found = toy(cases=8)
    train = np.random.default_rng(5).normal(size=(30, 2, 7, 9)).astype(np.float32) + 280
    at_once = table(found, found.forecasts, found.truth, *WORDS, train=train)
    asked = []
    stored = {name: lazily(np.asarray(v), asked) for name, v in found.forecasts.items()}
    monkeypatch.setattr(streaming, "_SLAB_BYTES", 8 * 5 * 9)  # One row of one case.
    # 5 members, 63 cells, 4 bytes: two cases at a time, or one lead of one case.
    for most in (2 * 5 * 63 * 4 * 3 * 2, 5 * 63 * 4):
        monkeypatch.setattr(sizes, "BLOCK_BYTES", most)
        streamed = table(found, stored, lazily(found.truth[:, None]), *WORDS, train=train)
        assert streamed.statistics.keys() == at_once.statistics.keys()
        for key, values in at_once.statistics.items():
            # Roots of differences of float32 numbers near 280 in other order: 1e-9 of them.
            np.testing.assert_allclose(
                streamed.statistics[key], values, rtol=1e-9, atol=1e-9, err_msg=str(key)
            )
        assert [row.score for row in streamed.rows] == [row.score for row in at_once.rows]


def test_small_fields_are_the_same_to_the_bit():
    found = toy(gaps=False)
    words = ("crps", "rmse", "spread_skill", "rank_histogram", "energy", "spectrum")
    one = table(found, found.forecasts, found.truth, *words)
    stored = {name: lazily(np.asarray(v)) for name, v in found.forecasts.items()}
    two = table(found, stored, lazily(found.truth[:, None]), *words)
    assert one.rows == two.rows or str(one.rows) == str(two.rows)


def test_each_block_is_read_once_for_all_scores(monkeypatch):
    found = toy(gaps=False)
    asked, true = [], []
    monkeypatch.setattr(sizes, "BLOCK_BYTES", 5 * 63 * 4)
    stored = {"model": lazily(found.forecasts["model"], asked)}
    table(found, stored, lazily(found.truth[:, None], true), "crps", "rmse", "energy", "spectrum")
    assert len(asked) == len(true) == 12 * 3 * 2
    assert len(set(map(str, asked))) == len(asked)


def made_on_the_way(cases):
    """Members and truth that are nowhere held: each block is drawn when it is asked for."""

    def of(members):
        def reads(cases, leads, channel):
            size = (cases.stop - cases.start, members, leads.stop - leads.start, 48, 64)
            random = np.random.default_rng([cases.start, leads.start, members])
            return random.normal(size=size).astype(np.float32)

        return Lazy(shape=(cases, members, 2, 1, 48, 64), reads=reads)

    return {"model": of(8)}, of(1)


def peak(cases):
    forecasts, truth = made_on_the_way(cases)
    tracemalloc.start()
    evaluate(
        forecasts, truth, channels=(AIR,), grid=box(48, 64), leads=(6.0, 12.0),
        scores=scores("crps", "rmse", "spread_skill", "rank_histogram", "energy", "spectrum"),
        resamples=5, confidence=0.9,
    )  # fmt: skip
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held


def test_memory_does_not_grow_with_cases(monkeypatch):
    """The blocks of 24 cases take what those of 4 do; statistics are some kB."""
    monkeypatch.setattr(sizes, "BLOCK_BYTES", 2 * 8 * 48 * 64 * 4)
    peak(1)  # What is imported and cached on first use is not counted.
    few, many = peak(4), peak(24)
    assert many < 1.1 * few
    assert few < 20 * 8 * 48 * 64 * 4  # A block of one case and lead has 8 x 48 x 64 numbers.


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    found = toy(gaps=False)
    monkeypatch.setattr(streaming, "_SLAB_BYTES", 8 * 5 * 9 * 12)
    rows = []
    for threads in (1, 4):
        monkeypatch.setattr(streaming.os, "cpu_count", lambda threads=threads: threads)
        rows.append(table(found, found.forecasts, found.truth, "crps", "rmse", "rank_histogram"))
    assert str(rows[0].rows) == str(rows[1].rows)


def test_blocks_cover_everything_once_and_are_no_larger_than_asked():
    shapes = {"model": (10, 4, 6, 2, 5, 7), "other": (10, 1, 6, 2, 5, 7)}
    for most in (1, 4 * 4 * 35, 4 * 4 * 35 * 4, 4 * 4 * 35 * 6 * 2 * 3, 10**9):
        seen = np.zeros((10, 6), int)
        for cases, leads in blocks(shapes, most):
            seen[cases, leads] += 1
            size = (cases.stop - cases.start) * (leads.stop - leads.start) * 4 * 4 * 35
            assert size <= max(most, 4 * 4 * 35)
        assert (seen == 1).all()
    assert [(s.start, s.stop) for s in slabs(7, 10, 30)] == [(0, 3), (3, 6), (6, 7)]
    assert [(s.start, s.stop) for s in slabs(2, 10, 3)] == [(0, 1), (1, 2)]


def test_a_value_that_is_not_finite_is_counted_in_its_block(monkeypatch):
    found = toy(gaps=False)
    broken = found.forecasts["model"].copy()
    broken[8, 2, 1, 0, 3, 4:6] = np.nan
    monkeypatch.setattr(sizes, "BLOCK_BYTES", 5 * 63 * 4)
    told = "model: air_temperature has at least 2 values .*2000-01-09.*, member 2, lead step 2"
    with pytest.raises(NumericsError, match=told):
        table(found, {"model": lazily(broken)}, lazily(found.truth[:, None]), "crps")


def test_a_lead_without_any_value_is_named_with_what_to_do():
    found = toy(gaps=False)
    broken = found.forecasts["model"].copy()
    broken[:, :, 0, 0] = np.nan
    told = "has 3780 values .*of lead 6 there is none: leave it out with `--leads`"
    with pytest.raises(NumericsError, match=told):
        table(found, {"model": broken}, found.truth, "crps")


def test_a_forecast_that_lacks_cells_of_the_truth_is_refused_and_gaps_of_both_are_masked():
    found = toy()
    model = found.forecasts["model"].copy()
    model[3, :, 1, 1, 2:4, 5] = np.nan  # Where the truth has none either.
    model[7, :, :, 1, 0] = np.nan
    masked = table(found, {"model": model}, found.truth, "crps", "spectrum", "brier",
                   train=np.zeros((3, 2, 7, 9)) + 280)  # fmt: skip
    filled = table(found, {"model": found.forecasts["model"]}, found.truth, "crps", "spectrum",
                   "brier", train=np.zeros((3, 2, 7, 9)) + 280)  # fmt: skip
    for key, values in filled.statistics.items():
        np.testing.assert_array_equal(masked.statistics[key], values)
    model[5, 0, 0, 1, 4, 4] = np.nan
    with pytest.raises(NumericsError, match="model: q has 1 values that are not finite"):
        table(found, {"model": model}, found.truth, "crps")


def test_a_set_that_is_too_large_is_refused(monkeypatch):
    found = toy(gaps=False)
    monkeypatch.setattr(streaming, "_SET_BYTES", 1000)
    with pytest.raises(DataError, match="mmd: compares all cases with each other"):
        table(found, {"model": found.forecasts["model"]}, found.truth, "mmd")


def test_pictures_of_large_forecasts_are_thinned_and_curves_come_from_the_table(tmp_path):
    found = toy(gaps=False)
    made = table(found, found.forecasts, found.truth, "crps", "rmse", "rank_histogram", "spectrum")
    stored = {name: lazily(np.asarray(v)) for name, v in found.forecasts.items()}
    truth = lazily(found.truth[:, None])
    small = pictured(stored, truth, replace(found, forecasts={}), most=10**9)
    assert not small.thinned and np.array_equal(small.truth, found.truth)
    # Six members of forecasts and one of truth, 2 channels of 63 cells: two leads of a case.
    thin = pictured(stored, truth, replace(found, forecasts={}, given=None), most=2 * 4 * 126 * 7)
    assert thin.thinned and thin.model.shape == (1, 5, 2, 2, 7, 9) and thin.leads == (6.0, 18.0)
    assert np.array_equal(thin.truth[0, 1], found.truth[0, 2])
    drawn = figures(tmp_path, thin, made)
    assert {"rank_histogram.png", "spectra.png", "sample_maps.png"} <= set(drawn)
    without = table(found, found.forecasts, found.truth, "crps")
    assert "spectra.png" not in figures(tmp_path, thin, without)


def test_a_thinned_grid_keeps_the_places_of_its_cells():
    latitude, longitude = np.meshgrid(np.linspace(50, 51, 6), np.linspace(5, 6, 5), indexing="ij")
    places = Places(latitude=latitude, longitude=longitude, areas=np.ones((6, 5)))
    thin = _thin_grid(replace(box(6, 5), geometry="sphere", places=places), (2, 3))
    assert thin.sizes == (3, 2)
    assert np.array_equal(thin.places.latitude, latitude[::2, ::3])
    assert np.array_equal(thin.places.longitude, longitude[::2, ::3])


def test_an_array_is_read_as_it_is():
    values = np.arange(48.0).reshape(2, 2, 2, 1, 6)
    assert isinstance(of(values), Held) and whole(of(values)) is values
    assert np.array_equal(whole(lazily(values)), values)
    assert np.shares_memory(of(values).read(slice(0, 1), slice(0, 2), 0), values)

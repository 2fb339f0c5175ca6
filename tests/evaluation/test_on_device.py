"""Scores by tensors of torch: numpy's numbers, with the CPU in the place of a GPU."""

import logging

import numpy as np
import pytest

from diffsci import families
from diffsci.data.fields import Channel
from diffsci.evaluation import on_device
from diffsci.evaluation.table import evaluate
from tests.evaluation.toys import AIR, box, globe, results, scores

torch = pytest.importorskip("torch")
GAPPY = Channel(variable="q", unit="1", attributes=(("missing", "moving"),))
THERE = [word for word in families.names("scores") if families.load("scores", word).anywhere]
TRAIN = np.random.default_rng(5).normal(size=(30, 1, 7, 9)).astype(np.float32)


def toy(channel=AIR, members=5):
    """Standard normal: a statistic is of the size of what it is made of."""
    found = results(globe(), leads=(6.0, 12.0), cases=5, channels=(channel,), members=members)
    shift = np.float32(280)
    found.truth[:] -= shift
    return found, {name: values - shift for name, values in found.forecasts.items()}


def statistics(found, forecasts, words, device, **options):
    made = evaluate(
        forecasts, found.truth, channels=found.channels, grid=found.grid, leads=found.leads,
        scores=scores(*words), resamples=2, confidence=0.9, keys=found.keys,
        lead_unit="h", train=TRAIN, device=device, **options,
    )  # fmt: skip
    return made.statistics


def agree(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, values in theirs.items():
        # Sums of some hundred float64 numbers of size 1, in another order.
        np.testing.assert_allclose(ours[key], values, rtol=1e-12, atol=1e-13, err_msg=str(key))


def test_the_scores_that_users_take_by_default_can_all_be_computed_there():
    assert {"crps", "rmse", "bias", "spread_skill", "rank_histogram", "spectrum"} <= set(THERE)
    assert len(THERE) == 20


@pytest.mark.parametrize("slab", [on_device.SLAB_BYTES, 8 * 5 * 9 * 3])
def test_statistics_are_those_of_numpy(monkeypatch, slab):
    """Members of float32, of one member too, whole and in slabs of three rows of one case."""
    monkeypatch.setattr(on_device, "SLAB_BYTES", slab)
    found, forecasts = toy()
    agree(*(statistics(found, forecasts, THERE, device) for device in ("cpu", None)))
    cells = [word for word in THERE if families.load("scores", word).scope == "cells"]
    agree(*(statistics(found, forecasts, cells, device) for device in ("cpu", None)))


def test_gaps_that_move_and_scores_that_stay_behind(caplog):
    """Scores of sets and those of scipy are as ever, to the bit, and the log names them."""
    found, forecasts = toy(GAPPY)
    found.truth[3, 1, 0, 2:4, 5] = np.nan
    found.truth[4, :, 0, 0] = np.nan
    words = ("crps", "rank_histogram", "anomaly_correlation", "energy", "fractions", "mmd")
    with caplog.at_level(logging.INFO, "diffsci"):
        ours = statistics(found, forecasts, words, "cpu")
    assert "evaluate: on cpu: crps, rank_histogram, anomaly_correlation, energy" in caplog.text
    assert "evaluate: by the CPU: fractions, mmd" in caplog.text
    theirs = statistics(found, forecasts, words, None)
    agree(ours, theirs)
    for key in (key for key in ours if key[2] in ("fractions", "mmd")):
        np.testing.assert_array_equal(ours[key], theirs[key])


def test_what_goes_there_at_once_is_a_slab(monkeypatch):
    """Fields of 64 KiB and slabs of 8 KiB: cells in slabs, fields of one case."""
    monkeypatch.setattr(on_device, "SLAB_BYTES", 8192)
    moved, there = [], on_device.OnDevice._moved

    def counted(self, pairs):
        moved.append(8 * pairs.members.size)
        return there(self, pairs)

    monkeypatch.setattr(on_device.OnDevice, "_moved", counted)
    random = np.random.default_rng(0)
    model = random.normal(size=(3, 8, 1, 1, 32, 32)).astype(np.float32)
    truth = random.normal(size=(3, 1, 1, 32, 32)).astype(np.float32)
    for words, most, times in ((("crps", "rmse"), 8192, 3 * 8), (("crps", "energy"), 65536, 3)):
        evaluate(
            {"model": model}, truth, channels=(AIR,), grid=box(32, 32), leads=None,
            scores=scores(*words), resamples=2, confidence=0.9, device="cpu",
        )  # fmt: skip
        assert max(moved) == most and len(moved) == times
        moved.clear()


def test_views_that_torch_does_not_take_are_copied():
    """Backwards, read-only, of another byte order: as they come from a file."""
    found, forecasts = toy()
    model = np.ascontiguousarray(forecasts["model"][..., ::-1]).astype(">f4")[..., ::-1]
    model.flags.writeable = False
    ours = statistics(found, {"model": model}, ("crps",), "cpu")
    agree(ours, statistics(found, {"model": forecasts["model"]}, ("crps",), None))

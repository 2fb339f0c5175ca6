"""Masks: what is missing by declaration counts nowhere, and what is not declared is a fault."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source, Variable
from diffsci.data.checks import preflight
from diffsci.data.checks.leaks import assert_no_leak
from diffsci.data.domains.weather import Weather
from diffsci.data.examples.windows import Examples
from diffsci.data.fields import Channel
from diffsci.data.fitting import fit_statistics
from diffsci.data.moments import Moments
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.diffusion import objective
from diffsci.errors import DataError
from diffsci.evaluation import masking
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.rank_histogram import RankHistogram
from diffsci.evaluation.scores.spectrum import Spectrum
from diffsci.sections import Part
from tests import tiny_runs
from tests.data import makers

ALL = Part()


def ocean(kind):
    """Weather of eight times with land at the first three columns, or a hole that wanders."""
    ds = makers.weather()
    if kind == "static":
        ds["t2m"][:, :, :3] = np.nan
    else:
        for time in range(8):
            ds["t2m"][time, time % 7, 2:5] = np.nan
    return ds


def entry(path, **told):
    variables = {"t2m": Variable(units="K", **told)}
    return Entry(name="sea", source=Source(path=str(path)), variables=variables)


def read(ds, tmp_path, **told):
    ds.to_netcdf(tmp_path / "a.nc")
    return reader.read(entry(tmp_path / "a.nc", **told), Weather(), ALL)


@pytest.mark.parametrize("kind", ["static", "moving"])
def test_declared_gaps_stay_nan_and_undeclared_ones_are_refused(kind, tmp_path):
    found = read(ocean(kind), tmp_path, missing=kind)
    assert np.array_equal(np.isnan(found.values[0, :, 0]), np.isnan(ocean(kind)["t2m"].values))
    assert found.channels[0].missing == kind and found.gappy
    assert preflight.check_entry(entry(tmp_path / "a.nc", missing=kind), Weather()) == []
    with pytest.raises(
        DataError,
        match=r"a\.nc: variable t2m: .* are NaN, the first at time=.*data describe",
    ):
        read(ocean(kind), tmp_path)
    with pytest.raises(DataError, match="a.nc|sea"):
        read(ocean(kind), tmp_path)


def test_what_contradicts_its_declaration_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gaps are not those of the first state at time=.*T06"):
        read(ocean("moving"), tmp_path, missing="static")
    ds = ocean("moving")
    ds["t2m"][5] = np.nan
    with pytest.raises(DataError, match=r"no value at all at time=2001-01-02T06"):
        read(ds, tmp_path, missing="moving")
    ds = ocean("static")
    ds["t2m"][4, 2, 5] = np.inf
    with pytest.raises(DataError, match=r"1 of 504 values are infinite, or beyond 3.4e\+38"):
        read(ds, tmp_path, missing="static")


def test_a_fill_value_may_be_declared(tmp_path):
    wanted = read(ocean("static"), tmp_path, missing="static")
    ds = ocean("static").fillna(-9999.0)
    ds["t2m"].attrs["units"] = "K"
    found = read(ds, tmp_path, missing="static", fill=-9999.0)
    assert np.array_equal(found.values, wanted.values, equal_nan=True)
    with pytest.raises(DataError, match="values are NaN, the first"):
        read(ds, tmp_path, fill=-9999.0)
    with pytest.raises(DataError, match="-9999, which looks like a fill value"):
        read(ds, tmp_path, missing="static")


def test_the_store_of_a_forecast_says_what_its_gaps_mean(tmp_path):
    found = read(ocean("static"), tmp_path, missing="static")
    domain = Weather()
    cases = domain.cases(found, np.array([[0, 0]]), ())
    store = domain.label(found.values[:, None, :1], cases, found.channels, found.grid, None)
    assert store["t2m"].attrs["missing"] == "static"
    store.to_netcdf(tmp_path / "b.nc")
    again = reader.read(str(tmp_path / "b.nc"), domain, ALL)
    assert np.array_equal(again.values, found.values[:, :1], equal_nan=True)


def fields(kind, periodic=True):
    """Fields with gaps, and the same without."""
    whole = makers.fields(space=(6, 8), channels=2, trajectories=3, times=9, periodic=periodic)
    values = whole.values.copy()
    if kind == "static":
        values[..., 0, :2, :3] = np.nan
    else:
        values[:, :, 0][np.random.default_rng(5).random(values[:, :, 0].shape) < 0.2] = np.nan
    marked = Channel(variable="u0", unit="1", attributes=(("missing", kind),))
    return replace(whole, values=values, channels=(marked, whole.channels[1])), whole


@pytest.mark.parametrize("kind", ["static", "moving"])
@pytest.mark.parametrize("task", [Generate(), Forecast(history=2)])
def test_statistics_are_those_of_what_is_there(kind, task):
    masked, whole = fields(kind)
    found, plain = fit_statistics(masked, task), fit_statistics(whole, task)
    first = masked.values[:, :, 0].astype("f8")
    assert np.isclose(found.state_mean[0], np.nanmean(first), rtol=1e-12)
    assert np.isclose(found.state_std[0], np.nanstd(first), rtol=1e-12)
    assert np.array_equal(found.state_mean[1], plain.state_mean[1])
    states = found.encode(masked.values)
    assert np.isfinite(states).all() and np.array_equal(states == 0, np.isnan(masked.values))
    scaled = Examples(masked, task, found).batch(np.arange(len(Examples(masked, task, found))))
    counted = scaled.target[:, 0][scaled.mask[:, 0]].double()
    # float32 targets of order 1: their sums are right to 1e-5.
    assert abs(counted.mean()) < 1e-5 and abs(counted.std(unbiased=False) - 1) < 1e-5
    assert scaled.mask[:, 1].all()


def test_static_gaps_come_back_as_gaps(tmp_path):
    masked, _ = fields("static")
    found = fit_statistics(masked, Generate())
    back = found.decode(found.encode(masked.values))
    assert np.array_equal(np.isnan(back), np.isnan(masked.values))
    # 1e-6: a float32 and back through float64.
    assert np.allclose(back, masked.values, rtol=1e-6, atol=1e-6, equal_nan=True)
    found.save(tmp_path)
    again = Statistics.load(tmp_path)
    assert again.missing == ("static", "forbidden") and np.array_equal(again.seen, found.seen)


@pytest.mark.parametrize("kind", ["static", "moving"])
def test_the_mask_of_a_batch_is_that_of_the_states_its_targets_stand_for(kind):
    masked, _ = fields(kind)
    task = Forecast(history=2, stride=2)
    examples = Examples(masked, task, fit_statistics(masked, task))
    batch = examples.batch(np.array([0, 7, 3]))
    rows = examples.windows[[0, 7, 3]]
    wanted = np.isfinite(masked.values[rows[:, 0], rows[:, 1] + 4])
    assert np.array_equal(batch.mask.numpy(), wanted)
    assert torch.isfinite(batch.target).all() and torch.isfinite(batch.condition).all()


def test_the_loss_knows_nothing_of_masked_values():
    masked, _ = fields("static")
    examples = Examples(masked, Generate(), fit_statistics(masked, Generate()))
    batch = examples.batch(np.arange(4))
    assert batch.mask.shape == batch.target.shape and batch.to("cpu").mask is not None
    mean = getattr(objective, "mean_over_cells", None) or objective._mean
    other = torch.where(batch.mask, batch.target, torch.full_like(batch.target, 99.0))
    assert torch.equal(mean(batch.target**2, batch.mask), mean(other**2, batch.mask))


def test_data_without_gaps_has_no_mask():
    _, whole = fields("static")
    found = fit_statistics(whole, Generate())
    assert Examples(whole, Generate(), found).batch(np.arange(2)).mask is None
    assert found.missing == () and found.seen.size == 0 and whole.there is None


def test_leaks_are_found_beside_gaps():
    masked, _ = fields("static")
    with pytest.raises(DataError, match="equal a training field"):
        assert_no_leak(masked, masked)


def test_moments_of_some_values_by_hand():
    values, counts = np.array([[[1.0, 5.0]], [[3.0, 9.0]]]), np.array([[[1, 0]], [[1, 0]]]) > 0
    moments = Moments(np.zeros(1, dtype=bool))
    moments.add(values, counts)
    mean, std = moments.scale(cell_by_cell=True)
    assert mean.tolist() == [[2, 0]] and std.tolist() == [[1, 1]]
    mean, std = moments.scale(cell_by_cell=False)
    assert mean.tolist() == [[2]] and std.tolist() == [[1]]


# Scores -------------------------------------------------------------------------------------------


def pairs(truth):
    random = np.random.default_rng(0)
    members = random.normal(size=(len(truth), 5, *truth.shape[1:]))
    weights = random.uniform(0.5, 1.5, truth.shape[1:])
    return Pairs(members=members, truth=truth, weights=weights / weights.mean())


def test_scores_are_means_over_what_is_there():
    truth = np.random.default_rng(1).normal(size=(4, 6, 8))
    whole = pairs(truth.copy())
    truth[:, :2, :3] = np.nan
    truth[2, 4] = np.nan
    seen = np.isfinite(truth)
    found = masking.statistics(Crps(), pairs(truth))[:, 0]
    from diffsci.evaluation.scores.crps import crps

    each = crps(whole.members, whole.truth)
    wanted = [np.average(each[c][seen[c]], weights=whole.weights[seen[c]]) for c in range(4)]
    assert np.allclose(found, wanted, rtol=1e-12)
    shares = masking.statistics(RankHistogram(), pairs(truth))
    assert np.allclose(shares.sum(axis=1), 1, rtol=1e-12)
    odd = replace(pairs(truth), members=np.where(seen[:, None], whole.members, np.nan))
    assert np.array_equal(masking.statistics(Crps(), odd)[:, 0], found)
    assert np.isfinite(masking.statistics(Spectrum(), odd)).all()


def test_scores_without_gaps_are_the_same_bits():
    whole = pairs(np.random.default_rng(1).normal(size=(4, 6, 8)))
    assert np.array_equal(masking.statistics(Crps(), whole), Crps().statistics(whole))


def test_gaps_of_the_truth_are_allowed_by_declaration_alone():
    truth = np.zeros((3, 1, 4))
    truth[1, 0, 2] = np.nan
    where = (7, 0, (), ())  # the block begins with case 7
    marked = Channel(variable="a", unit="1", attributes=(("missing", "moving"),))
    plain = Channel(variable="b", unit="1")
    assert masking.allowed(truth, plain, where) is None
    assert masking.allowed(truth, marked, where).sum() == 1
    truth[2, 0] = np.nan
    with pytest.raises(DataError, match="a has no value at all in case 9, lead step 1"):
        masking.allowed(truth, marked, where)


# A whole run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        pytest.param("static", "downscale", marks=pytest.mark.slow),
        ("static", "weather"),
        pytest.param("moving", "weather", marks=pytest.mark.slow),
    ],
)
def test_a_run_on_data_with_gaps(kind, task, tmp_path):
    file = tiny_runs.make(tmp_path, task)
    path = tmp_path / "weather.nc"
    with xr.open_dataset(path) as opened:
        ds = opened.load()
    for variable in ds.data_vars.values():
        if kind == "static":
            variable[..., :5, :6] = np.nan
        else:
            for time in range(variable.sizes["time"]):
                variable[{variable.dims[-1]: time % variable.shape[-1], "time": time}] = np.nan
        variable.attrs["missing"] = kind
    ds.to_netcdf(path)
    one = "data.variables=[t2m]"
    run = tiny_runs.run(file, one, out=tmp_path / "run", drawn=kind == "static")
    scores = json.loads((run / "scores.json").read_text())
    assert all(np.isfinite(v["crps"]) for v in scores["model"].values())
    with xr.open_zarr(run / "forecast.zarr") as store, xr.open_zarr(run / "truth.zarr") as truth:
        for name in truth.data_vars:
            assert store[name].attrs["missing"] == kind
            gaps = np.isnan(store[name].values)
            if kind == "moving":
                assert not gaps.any() and np.isnan(truth[name].values).any()
            else:
                assert np.array_equal(gaps.all(axis=1), np.isnan(truth[name].values))
    assert (run / "report.html").exists()

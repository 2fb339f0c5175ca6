"""Whole runs of tasks that are given part of a state: cells of it, or a coarse data set."""

import csv
import json

import numpy as np
import pytest
import xarray as xr

from diffsci import load
from diffsci.errors import DataError
from diffsci.forecasting.store.disk import open_store
from tests import tiny_runs


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A run of `infill` on weather, and its folder."""
    folder = tmp_path_factory.mktemp("filled")
    file = tiny_runs.make(folder, "downscale")
    text = file.read_text().replace(
        "{use: downscale, factor: 4}", "{use: infill, share: [0.3, 0.5]}"
    )
    file.write_text(text)
    return tiny_runs.run(file, out=folder / "run"), folder


def test_members_have_what_was_given_and_scores_count_the_rest(filled):
    run, folder = filled
    data = xr.open_dataset(folder / "weather.nc")["t2m"].sel(time=slice("2000-01-05", None))
    with open_store(run / "forecast.zarr") as forecast, open_store(run / "truth.zarr") as truth:
        known = forecast["known"].values.astype(bool)
        assert np.array_equal(known, truth["known"]) and 0.2 < 1 - known.mean() < 0.6
        assert forecast["known"].attrs["flag_meanings"] == "asked given"
        values = forecast["t2m"].transpose("number", "time", ...).values
        assert all(np.array_equal(one[known], data.values[known]) for one in values)
        assert np.isfinite(values).all() and (values[0] != values[1])[~known].all()
        assert np.array_equal(np.isnan(truth["t2m"]), known)
        error = np.abs(values.mean(axis=0) - data.values)[~known]
    rows = list(csv.DictReader((run / "scores.csv").read_text().splitlines()))
    rmse = {r["forecast"]: float(r["value"]) for r in rows if r["score"] == "rmse"}
    assert set(rmse) == {"model", "kriging"}
    # Root mean squares over cells that differ in area, of errors that differ in size.
    assert 0.7 < rmse["model"] / np.sqrt((error**2).mean()) < 1.4
    assert json.loads((run / "run.json").read_text())["stages"]["evaluate"]


def test_a_user_asks_by_nan(filled):
    run, folder = filled
    model = load(run)
    field = xr.open_dataset(folder / "weather.nc")[["t2m"]].isel(time=[20, 22]).load()
    gone = np.zeros(field["t2m"].shape, dtype=bool)
    gone[0, 2:5, 3:9] = gone[1, :, 4] = True
    asked = field.copy(deep=True)
    asked["t2m"].values[gone] = np.nan
    made = model.sample(asked, members=2)
    values = made["t2m"].transpose("number", "time", ...).values
    assert np.array_equal(made["known"], ~gone)
    assert all(np.array_equal(one[~gone], field["t2m"].values[~gone]) for one in values)
    assert np.isfinite(values).all() and (values[0] != values[1])[gone].all()


def coarse_pipeline(folder, change=lambda coarse: coarse, task="learn: residual"):
    """Downscaling of the tiny weather from a coarse store on a grid of its own."""
    file = tiny_runs.make(folder, "downscale")
    fine = xr.open_dataset(folder / "weather.nc")[["t2m"]].load()
    at = {"latitude": np.arange(37.0, 62.0, 6.0), "longitude": np.arange(-4.0, 45.0, 8.0)}
    coarse = fine.interp(at, kwargs={"fill_value": "extrapolate"}) - 273.15 + 1.5
    coarse["t2m"].attrs["units"] = "degC"
    coarse["latitude"].attrs = {"units": "degrees_north"}
    coarse["longitude"].attrs = {"units": "degrees_east"}
    change(coarse).to_netcdf(folder / "coarse.nc")
    text = file.read_text().replace("factor: 4}", f"coarse: coarse.nc, {task}}}")
    file.write_text(text.replace("evaluate: {resamples: 20}", "evaluate: null"))
    return file


def test_a_coarse_data_set_on_another_grid_is_downscaled(tmp_path):
    run = tiny_runs.run(coarse_pipeline(tmp_path), out=tmp_path / "run")
    model = load(run)
    coarse = xr.open_dataset(tmp_path / "coarse.nc").isel(time=slice(16, None))
    with open_store(run / "forecast.zarr") as forecast:
        stored = forecast["t2m"].transpose("time", "number", ...).values
    made = model.sample(coarse, members=3)
    # The user's coarse field is brought to the grid as the run's was, and units convert.
    assert np.array_equal(made["t2m"].transpose("time", "number", ...).values, stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda ds: ds.isel(time=[*range(7), *range(9, 24)]),
            r"coarse: lacks 2 of 14 times of weather, the first is 2000-01-02T18:00:00, the last "
            r"2000-01-03T00:00:00; it has 2000-01-01",
        ),
        (
            lambda ds: ds.assign_coords(time=ds["time"] + np.timedelta64(3, "h")),
            r"coarse: lacks 14 of 14 times of weather",
        ),
        (lambda ds: ds.isel(latitude=slice(0, 3)), "cells reach from 34 to 52 along latitude"),
        (lambda ds: ds.rename(t2m="tas"), "the data has no such variable"),
    ],
)
def test_a_coarse_data_set_that_does_not_fit_is_refused(change, message, tmp_path):
    with pytest.raises(Exception, match=message) as caught:
        tiny_runs.run(coarse_pipeline(tmp_path, change), out=tmp_path / "run")
    assert isinstance(caught.value, DataError | ValueError)

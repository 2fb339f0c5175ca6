"""A run of a limited area whose rim is given: sampled, verified, scored inside, and from a file."""

import json

import numpy as np
import pytest
import xarray as xr

import diffsci
from diffsci import pipeline
from diffsci.stages.ensembles.from_files import Request, sample_from
from tests import tiny_runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limited")
    file = tiny_runs.make(folder, "weather")
    text = file.read_text().replace("task: forecast", "task: {use: forecast, boundary: 2}")
    valid = 'valid: {time: ["2000-01-03T12", "2000-01-04T18"]}'
    text = text.replace('04T06"]}', f'03T06"]}}\n    {valid}')
    file.write_text(text + "calibrate: {members: 3, levels: []}\n")
    return tiny_runs.run(file, "sample.cases=3", "data.variables=[t2m]", out=folder / "run")


def rim(values):
    return np.concatenate([values[..., :2, :].ravel(), values[..., -2:, :].ravel(),
                           values[..., :2].ravel(), values[..., -2:].ravel()])  # fmt: skip


def test_members_have_the_rim_of_the_data_and_are_scored_inside(made):
    data = tiny_runs.weather()
    with xr.open_zarr(made / "forecast.zarr") as store, xr.open_zarr(made / "truth.zarr") as truth:
        for name in ("t2m",):
            own = data[name].sel(time=store.valid_time)
            for number in store.number:
                member = store[name].sel(number=number)
                # To the rounding of a float32, 2e-7 of its size.
                assert np.allclose(rim(member.values), rim(own.values), rtol=2e-7)
            assert np.isnan(rim(truth[name].values)).all()
            assert np.isfinite(truth[name].values[..., 2:-2, 2:-2]).all()
    scores = json.loads((made / "scores.json").read_text())
    assert all(np.isfinite(each["crps"]) for each in scores["model"].values())
    assert (made / "report.html").exists()
    # Members are calibrated; the rim is no forecast that could be wrong.
    assert "bit by bit" in pipeline.verify(made) and (made / "forecast-raw.zarr").exists()
    given = tiny_runs.weather()[["t2m"]].isel(time=slice(-3, None))
    sampled = diffsci.load(made).sample(given, members=2, leads=2)
    own = given.t2m.values[1:]
    for member in range(2):
        assert np.allclose(rim(sampled.t2m.values[0, member]), rim(own), rtol=2e-7)


def test_a_file_that_goes_on_after_the_start_gives_the_same_members(made, tmp_path):
    data = tiny_runs.weather()
    with xr.open_zarr(made / "forecast.zarr") as store:
        stored = store.load()
    data.to_netcdf(tmp_path / "host.nc")
    starts = tuple(str(time)[:19] for time in stored.time.values)
    request = Request(source=str(tmp_path / "host.nc"), starts=starts)
    with xr.open_zarr(sample_from(made, request, tmp_path / "m.zarr")) as again:
        for name in ("t2m",):
            np.testing.assert_array_equal(again[name], stored[name])
    # The latest start that leaves two later times, since the run forecasts two steps.
    latest = Request(source=str(tmp_path / "host.nc"))
    with xr.open_zarr(sample_from(made, latest, tmp_path / "l.zarr")) as made_last:
        assert made_last.time.values.tolist() == data.time.values[-3:-2].tolist()

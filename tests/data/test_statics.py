"""Statics: what is the same at all times, computed or from a data set, reaches the network."""

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.data.domains.weather import Weather
from diffsci.data.examples.around import Around
from diffsci.data.examples.parts import read_part
from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from diffsci.data.reader import read
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.errors import ConfigError, DataError
from diffsci.sections import Data, Part, Split
from tests.data import makers


def weather(tmp_path):
    path = tmp_path / "weather.nc"
    makers.weather(times=12).to_netcdf(path)
    return str(path)


def orography(tmp_path, change=lambda ds: ds, name="orography.nc"):
    """Heights on a larger box, from 350 to 30 degrees east, without a time."""
    latitude, longitude = np.arange(30.0, 61.0, 2.5), np.arange(-10.0, 30.1, 2.5)
    values = latitude[:, None] + 0.01 * longitude**2
    ds = xr.Dataset(
        {"height": (("lat", "lon"), values, {"units": "m"})},
        {"lat": latitude, "lon": longitude % 360},
    )
    change(ds).to_netcdf(tmp_path / name)
    return str(tmp_path / name)


def opened(tmp_path, change=lambda ds: ds, task=None):
    forcings = ("hour_of_day", "latitude", "longitude", "height")
    domain = Weather(forcings=forcings, statics=orography(tmp_path, change))
    data = Data(
        source=weather(tmp_path), domain=domain, task=task or Forecast(),
        split=Split(train=Part(), test=Part()),
    )  # fmt: skip
    return read_part(data, Part()), domain


@pytest.mark.parametrize("task", [Forecast(history=2, climate=True), Downscale(factor=3)])
def test_statics_are_channels_of_mean_0_and_variance_1(task, tmp_path):
    fields, domain = opened(tmp_path, task=task)
    statistics = fit_statistics(fields, task, domain.forcings)
    statistics.save(tmp_path / "kept")
    statistics = Statistics.load(tmp_path / "kept")
    examples = Examples(fields, task, statistics, domain.forcings)
    condition = examples.batch(np.arange(3)).condition
    frames = task.condition_channels(1)
    assert condition.shape[1] == examples.condition_channels == frames + 4 + 2 * task.climate
    statics = condition[:, frames : frames + 4]
    assert torch.equal(statics[0], statics[2])
    latitude, longitude = (np.asarray(at) for at in fields.grid.coordinates)
    shape = np.ones((len(latitude), len(longitude)))
    wanted = [
        np.sin(np.deg2rad(latitude))[:, None] * shape,
        np.sin(np.deg2rad(longitude)) * shape,
        np.cos(np.deg2rad(longitude)) * shape,
        latitude[:, None] + 0.01 * longitude**2 * shape,
    ]
    for found, field in zip(statics[0].numpy(), wanted, strict=True):
        # float32 of the file's values and of the condition.
        assert np.allclose(found, (field - field.mean()) / field.std(), atol=2e-5)


def test_data_without_statics_keeps_its_channels():
    fields = makers.fields(space=(6, 8))
    assert Around(grid=fields.grid).static_count == 0
    assert fit_statistics(fields, Forecast()).statics.shape == (0, 6, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.isel(lat=slice(0, 8)), "height has no value at some of the cells"),
        (lambda ds: ds.assign_coords(lat=ds["lat"] + 1), "regrid it to them"),
        (lambda ds: ds.where(ds["lat"] != 45), "height is NaN at 9 cells of"),
        (lambda ds: ds.rename(height="z"), "has no variable 'height'; it has z"),
        (
            lambda ds: xr.concat([ds, ds + 1], "time").assign_coords(
                time=np.array(["2001-01-01", "2001-01-02"], dtype="datetime64[ns]")
            ),
            "height is not the same at all its 2 times",
        ),
    ],
)
def test_statics_that_do_not_fit_are_refused(change, message, tmp_path):
    with pytest.raises((DataError, ConfigError), match=message):
        opened(tmp_path, change)


def test_a_word_that_is_nothing_is_told_when_the_pipeline_is_read():
    with pytest.raises(ConfigError, match="forcings: got 'latitud'.*did you mean 'latitude'"):
        Weather(forcings=("latitud",))
    with pytest.raises(ConfigError, match="statics: got 'a.nc', and `forcings` names none"):
        Weather(forcings=("latitude",), statics="a.nc")


def test_other_orders_of_the_file_give_the_same(tmp_path):
    plain, _ = opened(tmp_path)
    turned, _ = opened(tmp_path, lambda ds: ds.isel(lat=slice(None, None, -1)).sortby("lon"))
    assert np.array_equal(plain.layers["height"], turned.layers["height"])
    assert plain.digest == turned.digest != read(plain_source(tmp_path), Weather(), Part()).digest


def plain_source(tmp_path):
    return weather(tmp_path)

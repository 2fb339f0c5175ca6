"""Parts: what a task reads beside the data is matched by labels, and what it lacks is named."""

import numpy as np
import pytest
import xarray as xr

from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.data.examples.parts import read_part
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.infill import Infill
from diffsci.errors import DataError
from diffsci.sections import Data, Part, Split
from tests.data import makers

ALL = Part()


def data(source, domain, task):
    split = Split(train=Part(), test=Part())
    return Data(source=str(source), domain=domain, task=task, split=split)


def saved(ds, path):
    ds.to_netcdf(path)
    return str(path)


def masks(times=8, **coordinates):
    ds = makers.weather(times=times)
    values = (np.random.default_rng(2).random(ds["t2m"].shape) < 0.5).astype("i1")
    known = xr.DataArray(values, ds["t2m"].coords, ds["t2m"].dims, name="swath")
    return known.to_dataset().assign_coords(coordinates)


def infill(tmp_path, ds, part=ALL, **keys):
    source = saved(makers.weather(), tmp_path / "weather.nc")
    task = Infill(masks=saved(ds, tmp_path / "masks.nc"), variable="swath", **keys)
    return read_part(data(source, Weather(), task), part)


def test_masks_by_time_are_those_of_their_stamps(tmp_path):
    ds = masks(times=20)
    part = Part(time=("2001-01-01T12", "2001-01-02T00"))
    found = infill(tmp_path, ds.isel(latitude=slice(None, None, -1)), part, match="time")
    assert np.array_equal(found.masks[found.mask_at], ds["swath"].values[2:5].astype(bool))
    assert found.channels[0].missing == "moving"


def test_masks_by_chance_need_no_time(tmp_path):
    ds = masks(times=3).drop_vars("time").rename(time="number")
    bank = ds.isel(number=1).astype(bool)
    found = infill(tmp_path, bank)
    assert np.array_equal(found.masks, bank["swath"].values[None]) and found.mask_at is None


def test_a_mask_that_is_missing_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"masks.nc: lacks 3 of 8 times of weather, the first is 2001-01-02T06"
    ):
        infill(tmp_path, masks(times=5), match="time")
    with pytest.raises(DataError, match="the grid of swath is not that of weather; regrid it"):
        infill(tmp_path, masks().isel(longitude=slice(0, 5)))
    with pytest.raises(DataError, match="has no variable 'swath'; it has known"):
        infill(tmp_path, masks().rename(swath="known"))


def test_what_is_beside_changes_the_digest(tmp_path):
    one = infill(tmp_path, masks())
    other = infill(tmp_path, 1 - masks())
    assert one.digest != other.digest
    assert np.array_equal(one.values, other.values)


def rings(samples, points, names=None):
    """Waves on a ring at some points, each with its own label."""
    x = np.arange(points) * 16 / points + 8 / points
    phase = np.arange(samples)[:, None, None] + np.arange(3)[:, None]
    values = np.cos(2 * np.pi * x / 16 + phase).astype("f4")
    coordinates = {"time": ("time", [0.0, 0.1, 0.2], {"units": "s"}), "x": x}
    if names is not None:
        coordinates["sample"] = names
    return xr.Dataset(
        {"u": (("sample", "time", "x"), values)}, coordinates, {"boundary": "periodic"}
    )


@pytest.mark.parametrize("method", ["linear", "conservative"])
def test_coarse_trajectories_are_matched_by_label(method, tmp_path):
    fine = saved(rings(3, 32, [0, 1, 2]), tmp_path / "fine.nc")
    shuffled = rings(4, 8, [0, 1, 2, 3]).isel(sample=[3, 1, 0, 2])
    task = Downscale(coarse=saved(shuffled, tmp_path / "coarse.nc"), method=method)
    found = read_part(data(fine, Pde(), task), Part())
    assert found.beside.shape == found.values.shape
    # Eight points on a wave: an eighth of it off where cells are constant, less where linear.
    assert np.abs(found.beside - found.values).max() < (0.4 if method == "conservative" else 0.1)
    lacking = rings(2, 8, [0, 1])
    task = Downscale(coarse=saved(lacking, tmp_path / "less.nc"))
    with pytest.raises(DataError, match="less: lacks 1 samples of fine, the first is 2; it has 2"):
        read_part(data(fine, Pde(), task), Part())


def test_a_part_may_name_its_own_coarse_data(tmp_path):
    fine = saved(rings(2, 32, [0, 1]), tmp_path / "fine.nc")
    task = Downscale(coarse=saved(rings(2, 8, [0, 1]), tmp_path / "coarse.nc"))
    own = saved(rings(2, 8, [0, 1]) + 1.0, tmp_path / "own.nc")
    plain = read_part(data(fine, Pde(), task), Part())
    other = read_part(data(fine, Pde(), task), Part(beside=own))
    assert np.allclose(other.beside, plain.beside + 1, atol=1e-6)


def test_units_that_do_not_convert_are_refused(tmp_path):
    fine = makers.weather()
    coarse = fine.isel(latitude=slice(None, None, 3), longitude=slice(None, None, 4))
    wider = coarse.assign_coords(latitude=[38.0, 47.5, 57.0], longitude=[8.0, 20.0, 32.0])
    wider["t2m"].attrs["units"] = "Pa"
    wider["latitude"].attrs = fine["latitude"].attrs
    wider["longitude"].attrs = fine["longitude"].attrs
    task = Downscale(coarse=saved(wider, tmp_path / "coarse.nc"))
    source = saved(fine, tmp_path / "fine.nc")
    with pytest.raises(DataError, match="the data is in 'Pa', the entry wants 'K'"):
        read_part(data(source, Weather(), task), Part())

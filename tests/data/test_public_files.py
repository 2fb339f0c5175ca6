"""Forms of well-known public files: understood, or refused with what to write."""

import h5py
import netCDF4
import numpy as np
import pytest
import scipy.io
import xarray as xr

import diffsci
from diffsci.data.checks import preflight
from tests.data import makers
from tests.data.test_archives import entry, file, opened

RANDOM = np.random.default_rng(0)
LAT = (("lat",), np.linspace(-60, 60, 5), {"units": "degrees_north"})
LON = (("lon",), np.arange(6.0), {"units": "degrees_east"})
DAYS = (("time",), np.arange(4.0), {"units": "days since 2000-01-01"})


def fault(path):
    (problem,) = preflight.check_entry(str(path))
    return problem


def test_levels_of_an_ocean_model_by_their_standard_name(tmp_path):
    """`s_rho` has no name, unit, axis or direction that says so; CF lists such coordinates."""
    told = {"standard_name": "ocean_s_coordinate_g2", "formula_terms": "s: s_rho C: Cs_r"}
    level = (("s_rho",), np.array([-0.9, -0.5, -0.1]), told)
    salt = RANDOM.normal(35, 1, (4, 3, 5, 6))
    file(
        tmp_path / "a.nc", {"time": 4, "s_rho": 3, "lat": 5, "lon": 6},
        {"time": DAYS, "s_rho": level, "lat": LAT, "lon": LON},
        salt=(("time", "s_rho", "lat", "lon"), salt, {"units": "1e-3"}),
    )  # fmt: skip
    found = diffsci.open_data(tmp_path / "a.nc")
    assert found["level"].values.tolist() == [-0.9, -0.5, -0.1]
    assert found["level"].attrs["standard_name"] == "ocean_s_coordinate_g2"
    assert np.array_equal(found["salt"].values, salt)


def in_group(path):
    dims = {"time": 4, "lat": 5, "lon": 6}
    with netCDF4.Dataset(path, "w") as made:
        group = made.createGroup("Grid")
        for dim, length in dims.items():
            group.createDimension(dim, length)
        values = RANDOM.normal(size=(4, 5, 6))
        rain = (("time", "lat", "lon"), values, {"units": "mm"})
        for name, (along, numbers, told) in {
            "time": DAYS, "lat": LAT, "lon": LON, "rain": rain,
        }.items():  # fmt: skip
            group.createVariable(name, "f8", along).setncatts(told)
            group[name][:] = numbers
    return values


def as_satellites_have_it(path):
    values = RANDOM.normal(size=(4, 5, 6))
    with h5py.File(path, "w") as made:
        group = made.create_group("Grid")
        for name, (_, numbers, told) in {"time": DAYS, "lat": LAT, "lon": LON}.items():
            group[name] = numbers
            group[name].make_scale(name)
            group[name].attrs["units"] = np.bytes_(told["units"])
        group["rain"] = values
        group["rain"].attrs["units"] = np.bytes_("mm")
        for axis, name in enumerate(("time", "lat", "lon")):
            group["rain"].dims[axis].attach_scale(group[name])
    return values


@pytest.mark.parametrize("make", [in_group, as_satellites_have_it])
def test_a_group_of_a_file_is_named(make, tmp_path):
    values = make(tmp_path / "a.nc")
    problem = fault(tmp_path / "a.nc")
    assert "arrays lie in groups, Grid (lat lon rain time)" in problem.value
    assert "`engine: netcdf4` and `open_kwargs: {group: Grid}`" in problem.fix
    told = "source: ../a.nc\nengine: netcdf4\nopen_kwargs: {group: Grid}\n"
    assert np.array_equal(opened(told, tmp_path)["rain"].values, values)


def test_dates_as_digits_without_units_are_told_as_such(tmp_path):
    ds = makers.weather(times=3).rename(time="date")
    ds = ds.assign_coords(date=("date", [20000101, 20000201, 20000301]))
    ds.to_netcdf(tmp_path / "a.nc")
    assert "`time: {units: day as %Y%m%d.%f, calendar: standard}`" in fault(tmp_path / "a.nc").fix
    told = "source: ../a.nc\ntime: {units: day as %Y%m%d.%f, calendar: standard}\n"
    stamps = opened(told, tmp_path)["time"].values
    assert np.array_equal(stamps, np.arange("2000-01", "2000-04", dtype="M8[M]"))


def test_a_dim_that_may_be_time_is_named(tmp_path):
    makers.weather(times=2).rename(time="month").assign_coords(month=[1, 7]).to_netcdf(
        tmp_path / "a.nc"
    )
    assert "such as `month: time`" in fault(tmp_path / "a.nc").fix
    told = "source: ../a.nc\nrename: {month: time}\ntime: {units: months since 1999-12-01}\n"
    assert opened(told, tmp_path)["time"].values[1] == np.datetime64("2000-07-01")


def test_a_projection_without_places_is_told(tmp_path):
    ds = makers.weather().rename(latitude="y", longitude="x")
    for dim in ("x", "y"):
        ds[dim].attrs = {"standard_name": f"projection_{dim}_coordinate", "units": "m"}
    ds.to_netcdf(tmp_path / "a.nc")
    problem = fault(entry("domain: weather\nsource: ../a.nc\n", tmp_path))
    assert "latitude and longitude over both dims" in problem.fix and "domain: pde" in problem.fix
    problem = fault(entry("domain: pde\nsource: ../a.nc\ntime: {units: h}\n", tmp_path))
    assert "`time: {units: hours}`" in problem.fix
    found = opened("domain: pde\nsource: ../a.nc\ntime: {units: hours}\n", tmp_path)
    assert found.sizes["y"] == 7 and found["time"].attrs["units"] == "hours"


T, X, U = np.linspace(0, 1, 9), np.linspace(-1, 1, 6), RANDOM.normal(size=(6, 9))
LIKE = [
    # Of two axes of one length each is named once.
    ({"t": T, "x": X, "y": X, "u": RANDOM.normal(size=(6, 6, 9))}, "u: [x, y, t]"),
    # A 1-D array of an odd name counts time, as a rule.
    ({"tau": T, "x": X, "u": U}, "u: [x, time]"),
    ({"u": RANDOM.normal(size=(4, 6, 6))}, "u: [sample, y, x]"),
]


@pytest.mark.parametrize(("arrays", "like"), LIKE)
def test_dims_are_suggested_that_may_be_right(arrays, like, tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    assert like in fault(tmp_path / "a.mat").fix


def test_dims_of_matlab_are_suggested_in_the_order_of_python(tmp_path):
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as made:
        made["u"], made["t"] = RANDOM.normal(size=(9, 6, 6, 4)), T[:, None]
    with path.open("r+b") as made:
        made.write(b"MATLAB 7.3 MAT-file".ljust(128))
    assert "u: [t, x, y, sample]" in fault(path).fix


def test_a_simulation_whose_time_is_called_tt(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"x": X, "tt": T, "uu": U})
    found = diffsci.open_data(tmp_path / "a.mat")
    assert found["time"].values.tolist() == T.tolist()
    assert np.array_equal(found["uu"].transpose("x", "time", ...).values.squeeze(), U)


def test_a_simulation_read_as_weather_is_told_what_it_may_be(tmp_path):
    xr.Dataset({"u": (("x", "time"), U)}, {"x": X, "time": T}).to_netcdf(tmp_path / "a.nc")
    problem = fault(entry("domain: weather\nsource: ../a.nc\n", tmp_path))
    assert problem.code == "axis-missing" and "`domain: pde`" in problem.fix

"""Files as archives and authors have them: packed, with a seam, masked, moving gaps, MATLAB's."""

import h5py
import netCDF4
import numpy as np
import pytest
import scipy.io
import xarray as xr

import diffsci
from diffsci.data import describing
from diffsci.data.checks import preflight
from diffsci.errors import DataError

RANDOM = np.random.default_rng(0)


def entry(text, folder):
    (folder / "data_catalog").mkdir(exist_ok=True)
    path = folder / "data_catalog" / "mine.yaml"
    path.write_text(f"title: mine\n{text}")
    return path


def opened(text, folder):
    """The canonical data set of an entry, which is clean."""
    path = entry(text, folder)
    assert preflight.check_entry(str(path)) == []
    return diffsci.open_data(path)


def described(path):
    text, problems = describing.described(str(path))
    return text, [problem.code for problem in problems]


def file(path, dims, coordinates, **variables):
    """A NetCDF file as its own library writes it: attributes as told, `_FillValue` among them."""
    with netCDF4.Dataset(path, "w") as made:
        for dim, length in dims.items():
            made.createDimension(dim, length)
        for name, (along, values, told) in (coordinates | variables).items():
            told = dict(told)
            kind, fill = told.pop("dtype", values.dtype), told.pop("fill", None)
            variable = made.createVariable(name, kind, along, fill_value=fill)
            variable.setncatts(told)
            variable[:] = values


LAT = np.linspace(90, -90, 19).astype("f4")


def test_a_packed_reanalysis(tmp_path):
    """int16 in units of old, hours since 1800, north first, levels in millibar."""
    exact = RANDOM.integers(-20000, 20000, (8, 2, 19, 36))
    packed = {"dtype": "i2", "fill": -32767, "scale_factor": np.float32(0.01),
              "add_offset": np.float32(277.65), "units": "degK", "missing_value": np.int16(-32767),
              "valid_range": np.array([70.0, 480.0], "f4")}  # fmt: skip
    file(
        tmp_path / "air.nc", {"time": None, "level": 2, "lat": 19, "lon": 36},
        {"time": (("time",), 1753152.0 + 6 * np.arange(8), {"units": "hours since 1800-01-01"}),
         "level": (("level",), np.array([1000.0, 500.0]), {"units": "millibar", "axis": "Z"}),
         "lat": (("lat",), LAT, {"units": "degrees_north"}),
         "lon": (("lon",), np.arange(36) * 10.0, {"units": "degrees_east"})},
        air=(("time", "level", "lat", "lon"), exact * 0.01 + 277.65, packed),
    )  # fmt: skip
    text, problems = described(tmp_path / "air.nc")
    assert problems == [] and "air: {units: K}" in text and "every 6 h" in text
    found = diffsci.open_data(tmp_path / "air.nc")
    assert found["level"].values.tolist() == [500, 1000] and found["latitude"][0] == -90
    wanted = exact[:, ::-1, ::-1] * 0.01 + 277.65
    assert np.abs(found["air"].values - wanted).max() < 1e-4  # float32 of 300
    assert str(found["time"].values[0])[:13] == "2000-01-01T00"


@pytest.mark.parametrize("west", [0, -180])
def test_monthly_winds_with_a_seam(west, tmp_path):
    """One meridian twice with the same values is there once; with others it is refused."""
    winds = RANDOM.normal(size=(12, 19, 37)).astype("f4")
    winds[..., -1] = winds[..., 0]
    lon = west + np.arange(37) * 10.0

    def write(name, values):
        fill = {"fill": np.float32(1e20), "missing_value": np.float32(1e20), "units": "m/s"}
        file(
            tmp_path / name, {"time": 12, "lat": 19, "lon": 37},
            {"time": (("time",), np.arange(12), {"units": "months since 1979-01-15"}),
             "lat": (("lat",), LAT, {"units": "degrees_north"}),
             "lon": (("lon",), lon, {"units": "degrees_east"})},
            u=(("time", "lat", "lon"), values, fill),
        )  # fmt: skip

    write("winds.nc", winds)
    text, problems = described(tmp_path / "winds.nc")
    assert problems == [] and "every 1 months" in text
    found = diffsci.open_data(tmp_path / "winds.nc")
    assert found.sizes["longitude"] == 36
    wanted = np.roll(winds[:, ::-1, :-1], west // 10, axis=2)
    assert np.array_equal(found["u"].values, wanted)
    write("other.nc", winds + np.arange(37, dtype="f4"))
    with pytest.raises(DataError, match="one meridian is there twice .* with other values"):
        diffsci.open_data(tmp_path / "other.nc")


def test_a_masked_ocean(tmp_path):
    """Land is the fill value; undeclared it is told, declared it stays."""
    sst = RANDOM.uniform(0, 30, (12, 19, 36)).astype("f4")
    land = RANDOM.uniform(size=(19, 36)) < 0.3
    sst[:, land] = np.float32(-9.96921e36)
    days = (np.arange("2000-01", "2001-01", dtype="datetime64[M]").astype("datetime64[D]")
            - np.datetime64("1800-01-01")).astype("f8")  # fmt: skip
    told = {"units": "days since 1800-1-1 00:00:00", "bounds": "time_bnds"}
    file(
        tmp_path / "sst.nc", {"time": 12, "nbnds": 2, "lat": 19, "lon": 36},
        {"time": (("time",), days, told),
         "lat": (("lat",), LAT * 0.9, {"units": "degrees_north"}),
         "lon": (("lon",), np.arange(36) * 10.0, {"units": "degrees_east"})},
        time_bnds=(("time", "nbnds"), np.stack([days, days + 30], axis=1), {}),
        sst=(("time", "lat", "lon"), sst, {"fill": np.float32(-9.96921e36), "units": "degC"}),
    )  # fmt: skip
    (problem,) = preflight.check_entry(str(tmp_path / "sst.nc"))
    assert problem.code == "nan" and "missing: static" in problem.fix
    text = "source: ../sst.nc\nvariables: {sst: {units: K, missing: static}}\n"
    found = opened(text, tmp_path)["sst"]
    assert np.array_equal(np.isnan(found.values[3]), land[::-1])
    wanted = (sst[:, ::-1].astype("f8") + 273.15).astype("f4")
    assert np.array_equal(found.values[:, ~land[::-1]], wanted[:, ~land[::-1]])


def test_a_storm_with_gaps_that_move(tmp_path):
    rain = np.abs(RANDOM.normal(size=(10, 8, 9))).astype("f4")
    rain[rain < 0.3] = np.nan
    time = np.datetime64("2021-08-29", "ns") + np.arange(10) * np.timedelta64(10, "m")
    where = {"lat": np.linspace(25, 33, 8), "lon": np.linspace(-95, -87, 9)}
    ds = xr.Dataset(
        {"rain": (("time", "lat", "lon"), rain, {"units": "mm/h"})}, {"time": time, **where}
    )
    ds.to_netcdf(tmp_path / "storm.nc", encoding={"rain": {"_FillValue": -9999.0}})
    (problem,) = preflight.check_entry(str(tmp_path / "storm.nc"))
    assert problem.code == "nan" and "missing: moving" in problem.fix
    text = "source: ../storm.nc\nvariables: {rain: {units: mm h-1, missing: moving}}\n"
    assert np.array_equal(opened(text, tmp_path)["rain"].values, rain, equal_nan=True)


def test_places_that_a_model_writes_at_each_time(tmp_path):
    """Latitudes over three dims, the same at all times; times beside the dim that counts them."""
    north, east = np.linspace(20, 30, 6), np.linspace(-95, -80, 7)
    where = [np.broadcast_to(a, (4, 6, 7)).astype("f4") for a in (north[:, None], east[None])]
    dims = ("Time", "south_north", "west_east")
    file(
        tmp_path / "wrf.nc", {"Time": 4, "south_north": 6, "west_east": 7},
        {"XLAT": (dims, where[0], {"units": "degree_north"}),
         "XLONG": (dims, where[1], {"units": "degree_east"}),
         "XTIME": (("Time",), 60 * np.arange(4.0), {"units": "minutes since 2005-08-28"})},
        T2=(dims, RANDOM.normal(280, 9, (4, 6, 7)),
            {"units": "K", "coordinates": "XLONG XLAT XTIME"}),
    )  # fmt: skip
    found = diffsci.open_data(tmp_path / "wrf.nc")
    assert found["T2"].dims == ("time", "latitude", "longitude")
    assert np.allclose(found["latitude"], north) and str(found["time"].values[3])[11:13] == "03"


def test_one_simulation_in_both_of_matlabs_forms(tmp_path):
    u, t = RANDOM.normal(size=(5, 6, 7, 4)), np.arange(1, 5.0)
    scipy.io.savemat(tmp_path / "a.mat", {"u": u, "t": t, "viscosity": 1e-3})
    with h5py.File(tmp_path / "b.mat", "w", userblock_size=512) as made:
        made["u"], made["t"], made["viscosity"] = u.T, t[:, None], np.full((1, 1), 1e-3)
    with (tmp_path / "b.mat").open("r+b") as head:
        head.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    with pytest.raises(DataError, match=r"dims: \{u: \[sample, y, x, t\]\}\}`, say"):
        diffsci.open_data(tmp_path / "a.mat")
    both = [
        opened(
            f"domain: pde\nsource: ../{name}.mat\nengine: arrays\nvariables: {{u: {{}}}}\n"
            f"open_kwargs: {{dims: {{u: [{dims}]}}}}\n",
            tmp_path,
        )["u"].values
        for name, dims in (("a", "sample, x, y, t"), ("b", "t, y, x, sample"))
    ]
    assert np.array_equal(*both) and np.array_equal(both[0], u.transpose(0, 3, 2, 1))


def test_arrays_that_contradict_each_other_are_told(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"u": np.ones((5, 6)), "span": np.arange(9.0)})
    told = "open_kwargs: {dims: {u: [sample, x]}}"
    path = entry(f"domain: pde\nsource: ../a.mat\nengine: arrays\n{told}\n", tmp_path)
    with pytest.raises(DataError, match=r"span\[9\] has another length along sample than .*, 5;"):
        diffsci.open_data(path)
    (problem,) = preflight.check_entry(str(path))
    assert problem.code == "unreadable" and "write the dims of span too" in problem.fix

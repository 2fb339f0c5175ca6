"""Dialects of files: what authors call things, and what they leave open, each told by name."""

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr

import diffsci
from diffsci.data import describing
from diffsci.data.checks import preflight
from diffsci.errors import DataError
from tests.data import makers
from tests.data.test_archives import entry, file, opened

RANDOM = np.random.default_rng(0)
LAT = (("lat",), np.linspace(-60, 60, 5), {"units": "degrees_north"})
LON = (("lon",), np.arange(6.0), {"units": "degrees_east"})


def checked(path):
    return [(problem.code, str(problem)) for problem in preflight.check_entry(str(path))]


# Times --------------------------------------------------------------------------------------------

TIMES = [
    (np.array([b"2005-08-28_06:00:00", b"2005-08-28_12:00:00"]), {}),
    (np.array(["2005-08-28T06:00Z", "2005-08-28T12:00Z"], object), {}),
    (np.array([20050828.25, 20050828.5]), {"units": "day as %Y%m%d.%f"}),
]


@pytest.mark.parametrize(("stamps", "told"), TIMES)
def test_dates_as_texts_and_as_digits(stamps, told, tmp_path):
    ds = makers.weather(times=2).assign_coords(time=("time", stamps, told))
    ds.to_netcdf(tmp_path / "a.nc")
    found = diffsci.open_data(tmp_path / "a.nc")["time"].values
    assert found.tolist() == np.array(["2005-08-28T06", "2005-08-28T12"], "M8[ns]").tolist()


def test_texts_that_are_no_dates_are_told_as_what_they_are(tmp_path):
    ds = makers.weather(times=2).assign_coords(time=["monday", "tuesday"])
    ds.to_netcdf(tmp_path / "a.nc")
    ((code, text),) = checked(tmp_path / "a.nc")
    assert code == "time-units" and "'monday'" in text and "2000-01-31T06:00:00" in text


def test_a_time_axis_of_any_name_is_known_by_its_dates(tmp_path):
    ds = makers.weather().rename(time="ocean_time")
    ds["ocean_time"].attrs.clear()
    ds.to_netcdf(tmp_path / "a.nc")
    assert diffsci.open_data(tmp_path / "a.nc").sizes["time"] == 8


# Places -------------------------------------------------------------------------------------------

ROWS, COLUMNS = np.meshgrid(np.arange(6), np.arange(7), indexing="ij")
NORTH, EAST = 20 + 2.0 * ROWS + 0.3 * COLUMNS, -40 + 3.0 * COLUMNS - 0.2 * ROWS


def bent(path, north=NORTH, east=EAST, sea=None, **more):
    """Sea surface temperatures on a curvilinear grid, as an ocean model writes them."""
    values = RANDOM.uniform(0, 30, (4, 6, 7)).astype("f4")
    values = values if sea is None else np.where(sea, values, np.float32(1e20))
    dims = {"time": 4, "nlat": 6, "nlon": 7, "corner": 4, "nlat_v": 5, "depth": 2}
    made = {
        "time": (("time",), np.arange(4.0), {"units": "days since 2000-01-01"}),
        "TLAT": (("nlat", "nlon"), north, {"units": "degrees_north", "bounds": "lat_bnds"}),
        "TLONG": (("nlat", "nlon"), east, {"units": "degrees_east"}),
        "lat_bnds": (("nlat", "nlon", "corner"), north[..., None] + np.zeros(4), {}),
    }
    told = {"units": "K", "fill": np.float32(1e20)}
    file(path, dims, more | made, sst=(("time", "nlat", "nlon"), values, told))
    return values


def test_cells_of_land_may_have_no_place(tmp_path):
    """Their places lie between those of others, and nothing else changes."""
    sea = ~((ROWS > 1) & (ROWS < 4) & (COLUMNS > 2) & (COLUMNS < 5))
    sea[0, 0] = False
    lost = [np.where(sea, values, np.nan) for values in (NORTH, EAST)]
    entry_text = "source: ../a.nc\nvariables: {sst: {units: K, missing: static}}\n"
    values = bent(tmp_path / "a.nc", *lost, sea=sea)
    found = opened(entry_text, tmp_path)
    assert np.array_equal(np.where(sea, found["sst"].values, 1e20), values.astype("f8"))
    # Places inside are nearly those that were taken: a degree of arc is bent by its square, 3e-4.
    inside = (~sea) & (ROWS > 0)
    assert np.abs(found["latitude"].values - NORTH)[inside].max() < 0.1
    assert np.array_equal(found["latitude"].values[sea], NORTH[sea])
    assert (found["cell_area"].values > 0).all()


def test_cells_with_values_need_a_place(tmp_path):
    north = np.where((ROWS == 2) & (COLUMNS == 2), np.nan, NORTH)
    bent(tmp_path / "a.nc", north=north)
    ((_, text),) = checked(tmp_path / "a.nc")
    assert "1 of 42 cells have no place: TLAT is NaN there" in text


def test_of_staggered_grids_that_of_the_fields_is_taken(tmp_path):
    """The latitudes of velocities come first in the file, and have fewer rows."""
    sides = {
        name: (("nlat_v", "nlon"), values[1:], {"units": f"degrees_{way}"})
        for name, values, way in (("lat_v", NORTH, "north"), ("lon_v", EAST, "east"))
    }
    bent(tmp_path / "a.nc", **sides)
    found = diffsci.open_data(tmp_path / "a.nc")
    assert found.sizes["y"] == 6 and list(found.data_vars) == ["sst"]


def test_a_rotated_pole_gives_the_places_that_it_means(tmp_path):
    """Arcs between cells are those of the rotated grid, whose middle is 90 degrees off its pole."""
    rows, columns = np.arange(-2.0, 3), np.arange(358.0, 363)
    told = {"grid_mapping_name": "rotated_latitude_longitude",
            "grid_north_pole_latitude": 37.5, "grid_north_pole_longitude": 177.5}  # fmt: skip
    ds = xr.Dataset(
        {"p": (("time", "rlat", "rlon"), RANDOM.normal(size=(3, 5, 5)), {"units": "Pa"})},
        {"time": np.arange(3).astype("M8[D]").astype("M8[ns]"),
         "rlat": ("rlat", rows, {"standard_name": "grid_latitude", "units": "degrees"}),
         "rlon": ("rlon", columns, {"standard_name": "grid_longitude", "units": "degrees"}),
         "crs": ((), 0, told)},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "a.nc")
    assert checked(tmp_path / "a.nc") == []
    found = diffsci.open_data(tmp_path / "a.nc")
    north, east = (found[name].values for name in ("latitude", "longitude"))
    assert np.allclose([north[2, 2], east[2, 2]], [52.5, -2.5], atol=1e-9)

    def point(latitude, longitude):
        a, b = np.deg2rad(latitude), np.deg2rad(longitude)
        return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], axis=-1)

    there = point(north, east).reshape(-1, 3)
    own = point(*np.meshgrid(rows, columns, indexing="ij")).reshape(-1, 3)
    assert np.allclose(there @ there.T, own @ own.T, atol=1e-12)  # a rotation, to rounding
    assert north[4, 2] > north[0, 2] and east[2, 4] > east[2, 0]  # and no mirror


def test_corners_of_cells_are_no_fields(tmp_path):
    bent(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        ds.isel(time=0, drop=True).assign_coords(time=ds["time"][0]).to_netcdf(tmp_path / "b.nc")
    assert list(diffsci.open_data(tmp_path / "b.nc").data_vars) == ["sst"]


@pytest.mark.parametrize("along", [("scan",), ("scan", "pixel")])
def test_swaths_and_tracks_are_no_maps(along, tmp_path):
    north, east = np.meshgrid(np.linspace(-60, 60, 9), np.linspace(-5, 5, 6), indexing="ij")
    stamps = np.arange(9.0) if len(along) == 1 else np.arange(54.0).reshape(9, 6)
    seconds = (along, stamps, {"units": "seconds since 2010-01-01"})
    places = {"lat": (("scan", "pixel"), north), "lon": (("scan", "pixel"), east + 0.1 * north)}
    ds = xr.Dataset({"bt": (("scan", "pixel"), 250 + north, {"units": "K"}), "time": seconds})
    ds.assign_coords(places).to_netcdf(tmp_path / "a.nc")
    ((code, text),) = checked(tmp_path / "a.nc")
    assert code == "axis-missing" and "swaths or tracks, expected maps" in text


def test_places_that_move_are_refused(tmp_path):
    move = np.arange(4.0)[:, None, None] * 0.1
    dims = ("Time", "south_north", "west_east")
    file(
        tmp_path / "a.nc", {"Time": 4, "south_north": 6, "west_east": 7},
        {"XLAT": (dims, NORTH + move, {"units": "degree_north"}),
         "XLONG": (dims, EAST + 0 * move, {"units": "degree_east"})},
        T2=(dims, RANDOM.normal(size=(4, 6, 7)), {"units": "K"}),
    )  # fmt: skip
    ((code, text),) = checked(tmp_path / "a.nc")
    assert code == "curvilinear" and "XLAT moves with time, first at time 1" in text


# Values -------------------------------------------------------------------------------------------


def gappy(path, where):
    values = RANDOM.normal(size=(4, 5, 6))
    values[where] = np.nan
    told = {"units": "K", "fill": np.float64(-1e9), "missing_value": np.float64(-2e9)}
    time = (("time",), np.arange(4.0), {"units": "days since 2000-01-01"})
    file(
        path, {"time": 4, "lat": 5, "lon": 6}, {"time": time, "lat": LAT, "lon": LON},
        t=(("time", "lat", "lon"), values, told),
    )  # fmt: skip


CURES = [
    (np.s_[:, 2, 3], "missing: static"),
    (np.s_[1, 2, 3], "missing: moving"),
    (np.s_[1:, 2, 3], "missing: moving"),
    (np.s_[2], "leave such times out"),
]


@pytest.mark.parametrize(("where", "cure"), CURES)
def test_gaps_are_told_by_what_they_are(where, cure, tmp_path):
    gappy(tmp_path / "a.nc", where)
    ((code, text),) = checked(tmp_path / "a.nc")
    assert code == "nan" and cure in text
    others = {"missing: static", "missing: moving", "leave such times out"} - {cure}
    assert not any(other in text for other in others)


def test_units_that_nothing_says_are_not_written_as_1(tmp_path):
    ds = makers.weather()
    ds["t2m"].attrs.clear()
    ds.to_netcdf(tmp_path / "a.nc")
    text, (problem,) = describing.described(str(tmp_path / "a.nc"))
    assert problem.code == "units-missing" and "units: '1'" not in text and "t2m" in text


def test_a_float32_mesh_far_from_0_is_regular(tmp_path):
    """0.0009 degrees at 359.6: one unit of the last place is 3 % of a cell."""
    x = (359.57958 + 9e-4 * np.arange(16)).astype("f4")
    steps = np.diff(x.astype("f8"))
    assert steps.max() - steps.min() > 0.02 * steps.mean()
    makers.pde().assign_coords(x=x).to_netcdf(tmp_path / "a.nc")
    assert checked(tmp_path / "a.nc") == []


def test_winds_that_nothing_marks_are_told_where_a_pole_turns_them(tmp_path):
    ds = makers.global_weather().rename(t2m="uwnd")
    ds["uwnd"].attrs["units"] = "m/s"
    ds.to_netcdf(tmp_path / "a.nc")
    ((code, text),) = checked(tmp_path / "a.nc")
    assert code == "vector" and "variables: {uwnd: {vector: true}}" in text
    opened("source: ../a.nc\nvariables: {uwnd: {vector: false}}\n", tmp_path)
    ds.isel(longitude=slice(0, 5)).to_netcdf(tmp_path / "box.nc")
    assert checked(tmp_path / "box.nc") == []


def test_a_circle_that_lacks_a_column_is_told(tmp_path):
    ds = makers.global_weather()
    ds.isel(longitude=slice(0, -1)).to_netcdf(tmp_path / "a.nc")
    ((code, text),) = checked(tmp_path / "a.nc")
    assert code == "seam" and "between 300 and 0 degrees" in text
    ds.isel(longitude=slice(0, 8)).to_netcdf(tmp_path / "b.nc")
    assert checked(tmp_path / "b.nc") == []


def test_a_dim_of_time_with_an_odd_name_is_seen(tmp_path):
    """Nothing says that `tau` counts time; that there is one state alone is told."""
    xr.Dataset({"u": (("tau", "x"), U.T)}, {"tau": T, "x": X}).to_netcdf(tmp_path / "a.nc")
    ((code, text),) = checked(tmp_path / "a.nc")
    assert code == "one-state" and "tau, x are taken for space" in text


# Simulations from MATLAB --------------------------------------------------------------------------

T, X = np.linspace(0, 1, 9), np.linspace(-1, 1, 6)
U = np.sin(X[:, None] - T)


def as_netcdf(path, **arrays):
    xr.Dataset(arrays).to_netcdf(path)


def as_hdf5(path, **arrays):
    with h5py.File(path, "w") as made:
        for name, values in arrays.items():
            made[name] = values


CONVERTED = [
    ("a.nc", as_netcdf, {"usol": (("dim_0", "dim_1"), U), "t": ("dim_1", T), "x": ("dim_0", X)}),
    ("a.npz", np.savez, {"usol": U, "t": T[:, None], "x": X[None]}),
    ("a.h5", as_hdf5, {"usol": U, "t": T[:, None], "x": X[None]}),
    ("a.mat", lambda path, **arrays: scipy.io.savemat(path, arrays), {"usol": U, "t": T, "x": X}),
]


@pytest.mark.parametrize(("name", "save", "arrays"), CONVERTED)
def test_a_simulation_however_it_was_converted(name, save, arrays, tmp_path):
    save(tmp_path / name, **arrays)
    assert checked(tmp_path / name) == []
    found = diffsci.open_data(tmp_path / name)
    assert found["usol"].transpose("time", "x", ...).values.squeeze().tolist() == U.T.tolist()
    assert found["time"].values.tolist() == T.tolist() and found["x"].values.tolist() == X.tolist()


def test_dims_that_say_nothing_are_refused_with_what_is_there(tmp_path):
    as_netcdf(tmp_path / "a.nc", usol=(("dim_0", "dim_1"), U))
    ((code, text),) = checked(tmp_path / "a.nc")
    assert code == "dims" and "usol(dim_0 6, dim_1 9)" in text and "rename: {dim_0: " in text
    told = "source: ../a.nc\nrename: {dim_0: x, dim_1: time}\n"
    assert opened(told, tmp_path).sizes == {"time": 9, "x": 6, "sample": 1}


@pytest.mark.parametrize("kind", ["complex", "struct"])
def test_fields_that_are_no_plain_numbers_are_named(kind, tmp_path):
    field = U + 1j * U if kind == "complex" else {"u": U}
    scipy.io.savemat(tmp_path / "a.mat", {"psi": field, "t": T, "x": X})
    with pytest.raises(DataError, match=r"no fields of plain numbers: psi \(.*real and imaginary"):
        diffsci.open_data(entry("source: ../a.mat\n", tmp_path))

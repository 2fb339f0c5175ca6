"""Projected and curvilinear grids: the same fields however they lie, and areas as they are."""

import numpy as np
import pytest
import xarray as xr

from diffsci.data.canonical.cells import cell_areas, on_sphere
from diffsci.data.catalog import Entry, Source
from diffsci.data.domains.weather import Weather
from diffsci.data.examples.around import cosine_of_zenith
from diffsci.data.examples.cases import cases_given
from diffsci.data.fitting import fit_statistics
from diffsci.data.reader import read
from diffsci.data.tasks.forecast import Forecast
from diffsci.errors import DataError
from diffsci.grid import Grid
from diffsci.sections import Part

RADIUS = 6371.0


def polar(rows=9, columns=12, step=100.0):
    """A polar stereographic box of a sphere, true at the pole, in km."""
    y = -2500.0 + step * np.arange(rows)
    x = -600.0 + step * np.arange(columns)
    east, north = np.meshgrid(x, y)
    distance = np.hypot(east, north)
    latitude = 90 - 2 * np.rad2deg(np.arctan(distance / (2 * RADIUS)))
    longitude = np.rad2deg(np.arctan2(east, -north))
    factor = (1 + np.sin(np.deg2rad(latitude))) / 2
    return y, x, latitude, longitude, (step * factor / RADIUS) ** 2


def dataset(seed=0, **options):
    y, x, latitude, longitude, _ = polar(**options)
    random = np.random.default_rng(seed)
    values = random.normal(280, 10, (5, len(y), len(x))).astype("f4")
    mapping = {"grid_mapping_name": "polar_stereographic", "earth_radius": 6371000.0}
    return xr.Dataset(
        {
            "t2m": (
                ("time", "yc", "xc"),
                values,
                {"units": "K", "grid_mapping": "projection", "coordinates": "lat lon"},
            ),
            "projection": ((), np.int32(0), mapping),
        },
        {
            "time": np.datetime64("2001-01-01", "ns") + np.arange(5) * np.timedelta64(6, "h"),
            "yc": ("yc", y, {"units": "km", "standard_name": "projection_y_coordinate"}),
            "xc": ("xc", x, {"units": "km", "standard_name": "projection_x_coordinate"}),
            "lat": (("yc", "xc"), latitude, {"units": "degrees_north"}),
            "lon": (("yc", "xc"), longitude, {"units": "degrees_east"}),
        },
    )


def opened(ds):
    return read(Entry(name="polar", source=Source(data=ds)), Weather(), Part())


def test_a_projection_is_read_by_its_rows_and_columns():
    ds = dataset()
    found = opened(ds)
    assert found.grid.dims == ("y", "x") and found.grid.units == ("km", "km")
    assert np.array_equal(found.values[0, :, 0], ds["t2m"].values)
    assert np.allclose(found.grid.places.latitude, ds["lat"])
    assert dict(found.grid.places.mapping)["grid_mapping_name"] == "polar_stereographic"


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: ds.isel(yc=slice(None, None, -1)),
        lambda ds: ds.isel(xc=slice(None, None, -1)),
        lambda ds: ds.transpose("xc", "time", "yc"),
        lambda ds: ds.assign_coords(lon=(ds["lon"] + 360) % 360),
        lambda ds: ds.rename(yc="south_north", xc="west_east"),
        lambda ds: ds.rename(lat="XLAT", lon="XLONG").rename(XLAT="nav_lat", XLONG="nav_lon"),
    ],
)
def test_every_layout_gives_the_same_tensor(change):
    found, plain = opened(change(dataset())), opened(dataset())
    assert np.array_equal(found.values, plain.values)
    assert found.grid.same_place(plain.grid)


def test_without_coordinates_rows_rise_to_the_north_and_columns_to_the_east():
    ds = dataset().drop_vars(["yc", "xc"])
    plain = opened(ds)
    assert plain.grid.coordinates[0] == tuple(range(9))
    turned = opened(ds.isel(yc=slice(None, None, -1), xc=slice(None, None, -1)))
    assert np.array_equal(turned.values, plain.values)
    assert np.diff(plain.grid.places.latitude, axis=0).mean() > 0


def test_weights_are_the_areas_of_the_projection():
    found = opened(dataset(step=50.0))
    exact = polar(step=50.0)[-1]
    # Cells of half a degree as quadrilaterals with corners between centres.
    assert np.abs(found.grid.cell_weights / (exact / exact.mean()) - 1).max() < 1e-3
    areas = cell_areas(*polar(step=50.0)[2:4])
    assert np.abs(areas / exact - 1).max() < 1e-3


def test_areas_of_a_whole_globe_add_up_and_do_not_turn():
    latitude, longitude = np.meshgrid(
        np.arange(-88.5, 90, 3), np.arange(0.0, 360, 3), indexing="ij"
    )
    found = cell_areas(latitude, longitude)
    # What is missing of the last column's seam and the caps round the poles.
    assert abs(found.sum() / (4 * np.pi) - 1) < 2e-4
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    x, y, z = np.moveaxis(on_sphere(latitude, longitude)[20:30, 5:20] @ turn, -1, 0)
    turned = cell_areas(np.rad2deg(np.arcsin(z)), np.rad2deg(np.arctan2(y, x)))
    assert np.allclose(turned, cell_areas(latitude[20:30, 5:20], longitude[20:30, 5:20]), rtol=1e-9)


def test_areas_that_the_file_gives_are_the_weights():
    ds = dataset()
    given = np.random.default_rng(1).uniform(1, 2, (9, 12))
    area = ds.assign(area=(("yc", "xc"), given, {"standard_name": "cell_area", "units": "m2"}))
    assert np.allclose(opened(area).grid.cell_weights, given / given.mean())


def test_corners_that_the_file_gives_make_the_areas():
    ds = dataset(step=50.0)
    y, x = ds["yc"].values, ds["xc"].values
    corners = []
    for north, east in ((-1, -1), (-1, 1), (1, 1), (1, -1)):
        xs, ys = np.meshgrid(x + 25 * east, y + 25 * north)
        distance = np.hypot(xs, ys)
        corners.append((90 - 2 * np.rad2deg(np.arctan(distance / (2 * RADIUS))),
                        np.rad2deg(np.arctan2(xs, -ys))))  # fmt: skip
    dims = ("yc", "xc", "vertex")
    ds["lat_v"] = (dims, np.stack([c[0] for c in corners], axis=-1))
    ds["lon_v"] = (dims, np.stack([c[1] for c in corners], axis=-1))
    ds["lat"].attrs["bounds"], ds["lon"].attrs["bounds"] = "lat_v", "lon_v"
    exact = polar(step=50.0)[-1]
    # Great circles between corners in place of straight lines of the projection.
    assert np.abs(opened(ds).grid.cell_weights / (exact / exact.mean()) - 1).max() < 1e-4


def test_the_sun_stands_where_the_cells_are():
    grid = opened(dataset()).grid
    times = np.array(["2001-06-21T09"], dtype="datetime64[ns]")
    found = cosine_of_zenith(times, grid)[0]
    row, column = 4, 7
    point = Grid(
        dims=("latitude", "longitude"),
        coordinates=((grid.places.latitude[row, column],), (grid.places.longitude[row, column],)),
        units=("degrees_north", "degrees_east"),
        boundary=(("open", "open"),) * 2,
        geometry="sphere",
    )
    assert abs(found[row, column] - cosine_of_zenith(times, point)[0, 0, 0]) < 1e-12


def test_the_store_says_where_its_cells_lie(tmp_path):
    fields, domain, task = opened(dataset()), Weather(), Forecast()
    found = cases_given(fields, task, domain, fit_statistics(fields, task), leads=2)
    ds = domain.label(found.truth.read()[:, None], found.cases, fields.channels, fields.grid, None)
    ds.to_zarr(tmp_path / "a.zarr", consolidated=False, zarr_format=3)
    back = xr.open_zarr(tmp_path / "a.zarr", consolidated=False, chunks=None)
    assert back["latitude"].dims == ("y", "x") and "longitude" in back.coords
    assert back["latitude"].attrs["standard_name"] == "latitude"
    assert back["crs"].attrs["grid_mapping_name"] == "polar_stereographic"
    values = domain.unlabel(back, fields.channels, fields.grid)[:, 0]
    assert np.array_equal(values, found.truth.read())
    again = Grid.from_dict(fields.grid.to_dict())
    assert again == fields.grid and hash(again) == hash(fields.grid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.assign_coords(lat=ds["lat"].where(ds["yc"] < -1800)), "of 108 cells have n"),
        (lambda ds: ds.assign_coords(lat=ds["lat"] + 40), "latitudes from .* is it in degrees"),
        (lambda ds: ds.assign_coords(lat=ds["lat"].where(ds["xc"] > 0, 80.0),
                                     lon=ds["lon"].where(ds["xc"] > 0, 9.0)), "areas of cells fro"),
        (lambda ds: ds.drop_vars("lon"), "lat depends on two dims, and there is no longitude"),
    ],
)  # fmt: skip
def test_places_that_are_none_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        opened(change(dataset()))

"""Maps of the globe: areas are kept, and places are where cartopy has them."""

import re
import struct

import numpy as np
import pytest
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from diffsci.evaluation import coastlines
from diffsci.evaluation.canvas import figure
from diffsci.evaluation.panels import extent, panel
from diffsci.evaluation.projections import equal_earth, lambert, sheet_of
from diffsci.grid import Grid, Places
from tests.evaluation.toys import box, globe


def lattice(latitudes, longitudes):
    return Grid(
        dims=("latitude", "longitude"),
        coordinates=(tuple(latitudes), tuple(longitudes)),
        units=("degrees_north", "degrees_east"),
        boundary=(("open", "open"),) * 2,
        geometry="sphere",
    )


GRIDS = {
    "part": globe(),
    "world": lattice(np.arange(-89, 90, 2.0), np.arange(0, 360, 2.0)),
    "world from its poles": lattice(np.linspace(90, -90, 91), np.arange(-180, 180, 2.0)),
    "arctic": lattice(np.arange(61, 90, 2.0), np.arange(0, 360, 2.0)),
    "antarctic": lattice(np.arange(-89, -60, 2.0), np.arange(0, 360, 2.0)),
    "across the date line": lattice(np.arange(-40, -10, 1.0), np.arange(160, 200, 1.0)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_cells_have_their_areas(name):
    """That of each quadrangle by its diagonals: 2 areas are (x1 y2 - x2 y1) of these."""
    grid = GRIDS[name]
    sheet = sheet_of(grid)
    x, y = sheet.x, sheet.y
    one, two = (x[1:, 1:] - x[:-1, :-1], y[1:, 1:] - y[:-1, :-1]), (
        x[1:, :-1] - x[:-1, 1:], y[1:, :-1] - y[:-1, 1:],
    )  # fmt: skip
    areas = np.abs(one[0] * two[1] - one[1] * two[0]) / 2
    # Sides are straight here and bent there: of the order of (cell / radius)^2, 8 degrees at most.
    assert areas / areas.mean() == pytest.approx(grid.cell_weights, rel=0.012)
    assert np.isfinite(x).all() and sheet_of(grid) is sheet


def test_places_are_those_of_cartopy():
    crs = pytest.importorskip("cartopy.crs", exc_type=ImportError)
    sphere = crs.Globe(semimajor_axis=1.0, semiminor_axis=1.0, ellipse=None)
    random = np.random.default_rng(0)
    longitude, latitude = random.uniform(-179, 179, 500), random.uniform(-90, 90, 500)
    plain = crs.PlateCarree(globe=sphere)
    for own, theirs in (
        (equal_earth(longitude, latitude, 0.0), crs.EqualEarth(globe=sphere)),
        (
            lambert(longitude, latitude, (-30.0, 40.0)),
            crs.LambertAzimuthalEqualArea(-30.0, 40.0, globe=sphere),
        ),
    ):
        wanted = theirs.transform_points(plain, longitude, latitude)[:, :2]
        # Both are closed forms in float64.
        assert np.stack(own, axis=1) == pytest.approx(wanted, abs=1e-9)


def test_known_places():
    """A pole from the equator is sqrt(2) away; Equal Earth is twice 2.7066 wide (its authors)."""
    assert np.stack(lambert(np.array([0.0]), np.array([90.0]), (0.0, 0.0))).ravel() == (
        pytest.approx([0.0, np.sqrt(2)])
    )
    assert np.isnan(lambert(np.array([180.0]), np.array([0.0]), (0.0, 0.0))).all()
    x, y = equal_earth(np.array([180.0, 0.0]), np.array([0.0, 90.0]), 0.0)
    assert x[0] == pytest.approx(2.70663, abs=1e-5) and y[1] == pytest.approx(1.31737, abs=1e-5)


def test_a_curvilinear_grid_is_drawn_where_its_cells_lie():
    """Rows and columns of a latitude-longitude grid, given as such: the same corners."""
    plain = lattice(np.linspace(50, 52, 21), np.linspace(5, 8, 31))
    latitude, longitude = np.meshgrid(*map(np.array, plain.coordinates), indexing="ij")
    told = Grid(
        dims=("y", "x"),
        coordinates=(tuple(map(float, range(21))), tuple(map(float, range(31)))),
        units=("1", "1"),
        boundary=(("open", "open"),) * 2,
        geometry="sphere",
        places=Places(latitude=latitude, longitude=longitude, areas=plain.cell_weights),
    )
    one, two = sheet_of(plain), sheet_of(told)
    # Corners between centres are off by the bend of a cell: 0.1 degrees, squared, over 8.
    assert two.x == pytest.approx(one.x, abs=2e-6) and two.y == pytest.approx(one.y, abs=2e-6)


def test_flat_grids_stay_as_they_are():
    assert sheet_of(box(4, 5)) is None and extent(box(4, 5)) == (4.0, 5.0)
    assert sheet_of(box(4, 5, 6)) is None


def polyline(parts):
    """A record of a shapefile; by the format's description."""
    points = [point for part in parts for point in part]
    starts = np.cumsum([0, *map(len, parts[:-1])])
    body = struct.pack("<i4d2i", 3, 0, 0, 0, 0, len(parts), len(points))
    body += struct.pack(f"<{len(parts)}i", *starts)
    body += struct.pack(f"<{2 * len(points)}d", *np.ravel(points))
    return struct.pack(">2i", 1, len(body) // 2) + body


@pytest.fixture
def coast(tmp_path, monkeypatch):
    """Where cartopy would look, with a writer of what it finds."""
    monkeypatch.setenv("CARTOPY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.setattr(coastlines, "find_spec", lambda _: None)
    path = tmp_path / "shapefiles/natural_earth/physical/ne_50m_coastline.shp"
    path.parent.mkdir(parents=True)
    coastlines.coastlines.cache_clear()
    yield path
    coastlines.coastlines.cache_clear()


LINES = [[(-100.0, 30.0), (-95.0, 32.0), (-90.0, 31.0)], [(-80.0, 40.0), (-79.0, 41.0)]]


def test_coastlines_come_from_the_disk(coast):
    head = (9994).to_bytes(4, "big") + bytes(96)
    coast.write_bytes(head + polyline(LINES) + polyline([[(170.0, 50.0), (-170.0, 50.0)]]))
    found = coastlines.coastlines()
    assert [line.tolist() for line in found[:2]] == [[list(p) for p in part] for part in LINES]
    # On a map of the world the last one would cross it from side to side.
    assert len(sheet_of(GRIDS["world from its poles"]).coast()) == 2
    made = figure(2.0, 2.0)
    grid = GRIDS["part"]
    axes = made.subplots()
    look = ScalarMappable(Normalize(0, 1))
    mesh = panel(axes, np.zeros(grid.sizes), grid, look, left=True, bottom=True)
    drawn = [line.get_xydata() for line in axes.lines]
    wanted = np.stack(lambert(*np.array(LINES[0]).T, (270.0, 37.5)), axis=1)
    assert any(line.shape == wanted.shape and np.allclose(line, wanted) for line in drawn)
    assert mesh is not None and {text.get_text() for text in axes.texts} >= {"40°N", "90°W"}
    assert panel(axes, np.full(grid.sizes, np.nan), grid, look, left=True, bottom=True) is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "maps have no coastlines: put Natural Earth.s files ne_110m_coastline in"),
        (b"PK" + bytes(200), "cannot be read .not a shapefile.; maps have no coastlines"),
        ((9994).to_bytes(4, "big") + bytes(96) + polyline(LINES)[:-8], "ends in the middle"),
    ],
)
def test_without_coastlines_maps_are_made_and_it_is_told(coast, caplog, data, told):
    caplog.set_level("INFO")
    if data is not None:
        coast.write_bytes(data)
    assert coastlines.coastlines() == () and sheet_of(globe()).coast() == []
    assert re.search(told, caplog.text)

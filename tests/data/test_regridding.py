"""Regridding: exact for what each method is exact for, and integrals that stay."""

import numpy as np
import pytest

from diffsci.data.regridding import along, regridded, widths
from diffsci.errors import DataError
from diffsci.grid import Grid


def grid(latitudes, longitudes, boundary="open"):
    sides = ("open", "open")
    return Grid(
        dims=("latitude", "longitude"),
        coordinates=(tuple(latitudes), tuple(longitudes)),
        units=("degrees_north", "degrees_east"),
        boundary=(sides, (boundary, boundary)),
        geometry="sphere",
    )


COARSE = grid(np.arange(30.0, 61.0, 5.0), np.arange(-12.0, 25.0, 4.0))
FINE = grid(np.arange(33.0, 57.0, 1.5), np.arange(-9.0, 20.0, 1.25))
WORLD = grid(np.arange(-87.5, 90.0, 5.0), np.arange(0.0, 360.0, 4.0), "periodic")


def test_linear_is_exact_for_linear_fields():
    def plane(where):
        y, x = np.meshgrid(*where.coordinates, indexing="ij")
        return 2 + 0.3 * y - 0.1 * x + 0.01 * x * y

    found = regridded(plane(COARSE), COARSE, FINE, "linear", "coarse")
    # Values of order 10 in float32.
    assert np.allclose(found, plane(FINE), rtol=0, atol=2e-6)


@pytest.mark.parametrize("method", ["linear", "conservative"])
@pytest.mark.parametrize("source", [COARSE, WORLD])
def test_constants_stay_and_rows_sum_to_one(method, source):
    for dim in source.dims:
        matrix = along(source, FINE, dim, method)
        assert np.allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-12) and matrix.min() >= 0


def test_conservative_keeps_integrals_over_whole_cells():
    """Fine cells that tile the coarse ones: the integral over the sphere is the same."""
    edges = np.arange(-90.0, 90.1, 2.5)
    fine = grid((edges[1:] + edges[:-1]) / 2, np.arange(-1.0, 359.0, 2.0), "periodic")
    values = np.random.default_rng(0).normal(size=(3, *WORLD.sizes))
    found = regridded(values, WORLD, fine, "conservative", "coarse")
    before, after = (
        (v * np.outer(widths(g, "latitude"), widths(g, "longitude"))).sum(axis=(-2, -1))
        for v, g in ((values, WORLD), (found.astype(float), fine))
    )
    # float32 results of order 1, over some ten thousand cells.
    assert np.allclose(before, after, rtol=0, atol=1e-2)
    # And coarsening them again gives the coarse field.
    back = regridded(found, fine, WORLD, "conservative", "fine")
    assert np.allclose(back, values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["linear", "conservative"])
def test_a_box_lies_where_it_is_however_longitudes_are_counted(method):
    values = np.random.default_rng(0).normal(size=WORLD.sizes)
    found = regridded(values, WORLD, FINE, method, "world")
    east = grid(FINE.coordinates[0], np.array(FINE.coordinates[1]) + 360)
    assert np.allclose(regridded(values, WORLD, east, method, "world"), found, atol=1e-6)
    turned = grid(WORLD.coordinates[0], np.arange(-180.0, 180.0, 4.0), "periodic")
    rolled = np.roll(values, 45, axis=1)
    assert np.allclose(regridded(rolled, turned, FINE, method, "world"), found, atol=1e-6)
    box = grid(COARSE.coordinates[0], np.array(COARSE.coordinates[1]) + 360)
    small = np.random.default_rng(1).normal(size=COARSE.sizes)
    assert np.allclose(
        regridded(small, box, FINE, method, "box"), regridded(small, COARSE, FINE, method, "box"),
        atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["linear", "conservative"])
def test_descending_coordinates_give_the_mirrored_field(method):
    down = grid(COARSE.coordinates[0][::-1], COARSE.coordinates[1])
    values = np.random.default_rng(0).normal(size=COARSE.sizes)
    one = regridded(values, COARSE, FINE, method, "up")
    assert np.allclose(regridded(values[::-1], down, FINE, method, "down"), one, atol=1e-6)


def test_a_target_that_is_not_covered_is_refused():
    far = grid(np.arange(33.0, 70.0, 1.5), FINE.coordinates[1])
    with pytest.raises(DataError, match=r"coarse: its cells reach from 27.5 to 62.5 along latitu"):
        regridded(np.zeros(COARSE.sizes), COARSE, far, "linear", "coarse")
    flat = Grid(dims=("x",), coordinates=((0.0, 1.0),), units=("1",), boundary=(("open", "open"),))
    with pytest.raises(DataError, match="coarse: its grid has the dims latitude, longitude"):
        regridded(np.zeros(COARSE.sizes), COARSE, flat, "linear", "coarse")

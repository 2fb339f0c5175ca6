"""Grids: cell weights against exact areas, and what is refused."""

import dataclasses

import numpy as np
import pytest

from diffsci.errors import DataError, FieldError
from diffsci.grid import Grid


def sphere(latitude, longitude):
    return Grid(
        dims=("latitude", "longitude"),
        coordinates=(tuple(map(float, latitude)), tuple(map(float, longitude))),
        units=("degrees_north", "degrees_east"),
        boundary=(("pole", "pole"), ("periodic", "periodic")),
        geometry="sphere",
    )


def line(values, sides=("wall", "wall")):
    values = tuple(map(float, values))
    return Grid(dims=("x",), coordinates=(values,), units=("m",), boundary=(sides,))


@pytest.mark.parametrize("count", [3, 19, 181])
def test_zonal_weights_are_the_exact_areas_between_edges_poles_included(count):
    """A band between latitudes a and b covers (sin b - sin a) / 2 of the sphere."""
    latitude, step = np.linspace(-90, 90, count, retstep=True)
    grid = sphere(latitude, np.arange(0, 360, 90))
    edges = np.clip(np.concatenate([[-90], latitude[:-1] + step / 2, [90]]), -90, 90)
    exact = np.diff(np.sin(np.deg2rad(edges))) / 2
    share = grid.cell_weights.sum(axis=1) / grid.cell_weights.sum()
    np.testing.assert_allclose(share, exact, rtol=1e-12, atol=1e-15)  # float64 round-off
    assert np.isclose(exact.sum(), 1, rtol=1e-12)
    assert (grid.cell_weights > 0).all()


def test_weights_integrate_a_field_with_a_known_mean():
    """The mean of sin^2 over the sphere is 1/3; the midpoint rule errs by O(step^2)."""
    errors = []
    for count in (37, 73, 145):
        latitude = np.linspace(-90, 90, count)
        grid = sphere(latitude, np.arange(0, 360, 120))
        field = np.sin(np.deg2rad(latitude))[:, None] ** 2 * np.ones((1, 3))
        errors.append(abs((field * grid.cell_weights).mean() - 1 / 3))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert ((orders > 1.8) & (orders < 2.2)).all()  # second order, measured 2.0


def test_weights_follow_the_cells_whatever_the_direction():
    latitude, longitude = np.linspace(-90, 90, 19), np.linspace(0, 315, 8)
    up = sphere(latitude, longitude).cell_weights
    down = sphere(latitude[::-1], longitude).cell_weights
    west = sphere(latitude, longitude[::-1]).cell_weights
    np.testing.assert_allclose(down, up[::-1], rtol=1e-13)
    np.testing.assert_allclose(west, up[:, ::-1], rtol=1e-13)


def test_splitting_a_cell_splits_its_weight():
    """Cells of extent 2 and 1: midpoint edges of uneven centres, in proportion to their extent."""
    coarse = line([1.0, 3.0, 5.0]).cell_weights
    fine = line([0.5, 1.5, 2.5, 3.5, 4.5, 5.5]).cell_weights
    np.testing.assert_allclose(coarse / coarse.sum(), fine.reshape(3, 2).sum(1) / fine.sum())


def test_flat_weights_are_extents_with_mean_one():
    grid = line([0.0, 1.0, 3.0])
    np.testing.assert_allclose(grid.bounds("x"), [-0.5, 0.5, 2.0, 4.0])
    np.testing.assert_allclose(grid.cell_weights, np.array([1.0, 1.5, 2.0]) / 1.5)
    assert line([7.0]).cell_weights == [1.0]
    assert line(np.arange(5.0)).cell_weights.dtype == np.float64


def test_sizes_follow_the_order_of_dims():
    assert sphere(np.linspace(-60, 60, 5), np.arange(0, 360, 30)).sizes == (5, 12)


def test_dict_round_trip_is_exact():
    grid = sphere(np.linspace(-90, 90, 7), np.arange(0, 360, 60))
    assert Grid.from_dict(grid.to_dict()) == grid


@pytest.mark.parametrize("values", [[0, 1, 1], [0, 2, 1], [0, np.nan, 1], [0, np.inf]])
def test_a_coordinate_that_is_not_strictly_monotonic_is_refused(values):
    with pytest.raises(DataError, match="coordinate x is not strictly monotonic"):
        line(values)


def test_mistaken_boundaries_are_refused():
    with pytest.raises(FieldError, match="boundary of x: got 'cliff'"):
        # The suite's own type checks would come first in the constructor.
        grid = line([0, 1])
        object.__setattr__(grid, "boundary", (("cliff", "wall"),))
        grid.__post_init__()
    with pytest.raises(FieldError, match="periodic on both sides"):
        line([0, 1], ("periodic", "wall"))
    good = line([0, 1])
    with pytest.raises(FieldError, match="units: got 2, expected one item for each"):
        dataclasses.replace(good, units=("m", "m"))

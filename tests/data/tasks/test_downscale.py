"""Downscaling: block means as xarray makes them, interpolation exact for linear fields."""

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.data.tasks.downscale import Downscale, coarse_grid
from diffsci.errors import DataError
from diffsci.grid import Grid
from tests.data import makers


def grid(sizes, boundary="open", geometry="flat"):
    dims = ("latitude", "longitude") if geometry == "sphere" else ("y", "x")[-len(sizes) :]
    return Grid(
        dims=dims,
        coordinates=tuple(tuple(np.linspace(-10.0, 20.0, n).tolist()) for n in sizes),
        units=("1",) * len(sizes),
        boundary=((boundary, boundary),) * len(sizes),
        geometry=geometry,
    )


@pytest.mark.parametrize(("sizes", "factor"), [((37, 49), 4), ((16,), 4), ((10, 7), 3)])
def test_block_means_on_a_flat_grid_are_those_of_xarray(sizes, factor):
    where = grid(sizes)
    state = torch.randn(2, 1, 3, *sizes, dtype=torch.float64)
    found = Downscale(factor=factor).observe(state, where)
    wanted = xr.DataArray(state[:, 0].numpy(), dims=("n", "c", *where.dims))
    wanted = wanted.coarsen({dim: factor for dim in where.dims}, boundary="pad").mean()
    # Sums of at most 16 float64 numbers of order 1.
    assert np.allclose(found.numpy(), wanted.values, rtol=0, atol=1e-14)


def test_block_means_on_the_sphere_are_weighted_by_cells():
    where = grid((9, 8), geometry="sphere")
    state = torch.randn(1, 1, 1, 9, 8, dtype=torch.float64)
    found = Downscale(factor=4).observe(state, where)[0, 0]
    weights = where.cell_weights[:4, :4]
    by_hand = (state[0, 0, 0, :4, :4].numpy() * weights).sum() / weights.sum()
    assert abs(float(found[0, 0]) - by_hand) < 1e-14
    total = (found.numpy() * coarse_weights(where)).sum() / where.cell_weights.sum()
    assert abs(total - (state[0, 0, 0].numpy() * where.cell_weights).mean()) < 1e-14


def coarse_weights(where):
    rows = np.add.reduceat(where.cell_weights, np.arange(0, 9, 4), axis=0)
    return np.add.reduceat(rows, np.arange(0, 8, 4), axis=1)


@pytest.mark.parametrize("geometry", ["flat", "sphere"])
def test_linear_fields_come_back_exactly_with_open_edges(geometry):
    where = grid((37, 49), geometry=geometry)
    task = Downscale(factor=4)
    y, x = np.meshgrid(*where.coordinates, indexing="ij")
    state = torch.from_numpy(2 + 0.3 * y - 0.1 * x + 0.01 * x * y)[None, None, None]
    back = task.condition(task.observe(state, where), where)
    # Two products of matrices with entries of order 1, fields of order 10.
    assert torch.allclose(back, state[:, 0], rtol=0, atol=1e-12)
    assert coarse_grid(where, 4).sizes == (10, 13)


def test_a_periodic_edge_wraps_around():
    where = grid((16,), boundary="periodic")
    task = Downscale(factor=4)
    state = torch.randn(1, 1, 1, 16, dtype=torch.float64)
    rolled = torch.roll(state, 4, dims=-1)
    back, back_rolled = (task.condition(task.observe(s, where), where) for s in (state, rolled))
    assert torch.allclose(torch.roll(back, 4, dims=-1), back_rolled, rtol=0, atol=1e-13)
    constant = torch.full((1, 1, 1, 16), 3.0, dtype=torch.float64)
    assert torch.allclose(task.condition(task.observe(constant, where), where), constant[:, 0])


def test_descending_coordinates_give_the_mirrored_field():
    up = grid((10,))
    down = Grid(**{**vars(up), "coordinates": (tuple(reversed(up.coordinates[0])),)})
    state = torch.randn(1, 1, 1, 9 + 1, dtype=torch.float64)
    task = Downscale(factor=5)
    a = task.condition(task.observe(state, up), up)
    b = task.condition(task.observe(state.flip(-1), down), down)
    assert torch.allclose(a, b.flip(-1), rtol=0, atol=1e-13)


def test_too_small_a_field_is_refused():
    with pytest.raises(DataError, match="8 cells along x make one block of 8; lower `factor`"):
        Downscale(factor=8).check(makers.fields(space=(8,)))

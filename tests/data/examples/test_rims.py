"""Rims of limited areas: which cells, and that they come back where they were."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data.examples.rims import rim, spread, taken
from diffsci.data.tasks.forecast import Forecast
from diffsci.errors import DataError, FieldError
from tests.forecasting import makers


def grid(**boundary):
    made = makers.weather_fields(sizes=(5, 6)).grid
    sides = tuple(boundary.get(dim, ("open", "open")) for dim in made.dims)
    return replace(made, boundary=sides)


def test_cells_along_open_sides_by_hand():
    wanted = np.ones((5, 6), dtype=bool)
    wanted[1:-1, 1:-1] = False
    assert np.array_equal(rim(grid(), 1), wanted)
    belt = rim(grid(longitude=("periodic", "periodic")), 2)
    assert np.array_equal(belt.any(dim=1), [True, True, False, True, True]) and belt[0].all()
    cap = rim(grid(latitude=("open", "pole"), longitude=("periodic", "periodic")), 1)
    assert np.array_equal(cap, np.arange(5)[:, None] * np.ones(6) == 0)


@pytest.mark.parametrize("width", [1, 2])
def test_rims_come_back_where_they_were(width):
    states = torch.randn(3, 2, 4, 5, 6)
    back = spread(taken(states, grid(), width), grid(), width)
    there = rim(grid(), width)
    assert torch.equal(back[..., there], states[..., there]) and (back[..., ~there] == 0).all()


def test_a_boundary_needs_an_open_side_and_cells_inside():
    with pytest.raises(FieldError, match="boundary.*-1"):
        Forecast(boundary=-1)
    for odd in ({"learn": "residual"}, {"learn": "innovation"}, {"ahead": 2}):
        with pytest.raises(FieldError, match=r"boundary.*0 with `learn: residual` or `innovation`"):
            Forecast(boundary=1, **odd)
    with pytest.raises(DataError, match=r"there is none .x periodic/periodic.; leave it out"):
        Forecast(boundary=1).check(makers.ring_fields())
    with pytest.raises(DataError, match="of 9 cells along latitude, `boundary: 5` leaves none"):
        Forecast(boundary=5).check(makers.weather_fields())
    Forecast(boundary=4).check(makers.weather_fields())

"""Rims: cells along the open sides of a limited area, where what lies outside comes in.

A global model, or the data itself, knows the state there at every valid time. Of a state the cells
of its rim are kept alone, in the order of the grid: a rollout holds them for all of its leads.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffsci.grid import Grid


@lru_cache(maxsize=16)
def rim(grid: Grid, width: int) -> Bool[Tensor, "*space"]:
    """Which cells lie within so many of an open side.

    Args:
        grid: A side that is periodic, a wall or a pole has no rim.
        width: In cells.
    """
    cells = np.zeros(grid.sizes, dtype=bool)
    for axis, (low, high) in enumerate(grid.boundary):
        along = np.moveaxis(cells, axis, 0)  # a view
        if low == "open":
            along[:width] = True
        if high == "open":
            along[len(along) - width :] = True
    return torch.from_numpy(cells)


def taken(
    states: Float[Tensor, "n step channel *space"], grid: Grid, width: int
) -> Float[Tensor, "n step channel cell"]:
    """The rims of some states."""
    return states[..., rim(grid, width).to(states.device)]


def spread(
    edges: Float[Tensor, "n step channel cell"], grid: Grid, width: int
) -> Float[Tensor, "n step channel *space"]:
    """Rims in their place, and 0, the mean, inside."""
    states = edges.new_zeros(*edges.shape[:-1], *grid.sizes)
    states[..., rim(grid, width).to(edges.device)] = edges
    return states

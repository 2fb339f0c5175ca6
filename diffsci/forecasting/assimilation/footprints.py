"""Footprints of observations: which cells each one sees, and how much of each."""

from __future__ import annotations

import numpy as np

from diffsci.errors import DataError
from diffsci.forecasting.assimilation.observation_table import Table
from diffsci.grid import Grid


def footprint(table: Table, row: int, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Flat numbers of the cells of one observation, and their weights, which sum to 1.

    Raises:
        DataError: With the row, for a place or a box that the grid does not have.
    """
    word = table.operators[row]
    cells, weights = np.zeros(1, dtype=np.int64), np.ones(1)
    mean = word != "point"
    for number, dim in enumerate(grid.dims):
        at, size = table.places[dim][row], table.sizes[dim][row]
        if np.isnan(at):
            if word != "line_mean":
                raise DataError(
                    f"{table.source}: row {row + 1}: {dim} is missing; only a line_mean runs along "
                    "a dim"
                )
            places, share = np.arange(grid.sizes[number]), np.ones(grid.sizes[number])
        elif word == "block_mean":
            places = _inside(table, row, grid, number, at, size)
            share = np.ones(len(places))
        else:
            places, share = _between(table, row, grid, number, at)
        cells = (cells[:, None] * grid.sizes[number] + places).reshape(-1)
        weights = (weights[:, None] * share).reshape(-1)
    lines = [dim for dim in grid.dims if np.isnan(table.places[dim][row])]
    if word == "line_mean" and not lines:
        raise DataError(
            f"{table.source}: row {row + 1}: a line_mean runs along no dim; leave the column of "
            "one of them empty"
        )
    if mean:
        weights = weights * grid.cell_weights.reshape(-1)[cells]
    return cells, weights / weights.sum()


def _axis(grid: Grid, number: int) -> tuple[np.ndarray, float, bool]:
    """Cell centres, the length of the dim, and whether it closes on itself."""
    at = np.asarray(grid.coordinates[number])
    edges = grid.bounds(grid.dims[number])
    periodic = "periodic" in grid.boundary[number]
    return at, abs(float(edges[-1] - edges[0])), periodic


def _in_domain(table: Table, row: int, grid: Grid, number: int, at: float) -> float:
    """The coordinate, that of a circle brought to where the grid has it."""
    dim, edges = grid.dims[number], grid.bounds(grid.dims[number])
    low, high = float(edges.min()), float(edges.max())
    if dim == "longitude":
        turned = low + (at - low) % 360.0
        at = turned if low <= turned <= high else at
    if not low <= at <= high:
        raise DataError(
            f"{table.source}: row {row + 1}: {dim} {at:g} lies outside the domain, {low:g} to "
            f"{high:g}; leave it out"
        )
    return at


def _between(
    table: Table, row: int, grid: Grid, number: int, at: float
) -> tuple[np.ndarray, np.ndarray]:
    """The two cells about a coordinate, linear between their centres; one at its centre or edge."""
    at = _in_domain(table, row, grid, number, at)
    centres, length, periodic = _axis(grid, number)
    order = np.argsort(centres)
    sorted_at = centres[order]
    if periodic:
        sorted_at = np.concatenate([[sorted_at[-1] - length], sorted_at, [sorted_at[0] + length]])
        order = np.concatenate([order[-1:], order, order[:1]])
    high = int(np.clip(np.searchsorted(sorted_at, at), 1, len(sorted_at) - 1))
    if len(sorted_at) == 1:
        return order[:1], np.ones(1)
    share = (at - sorted_at[high - 1]) / (sorted_at[high] - sorted_at[high - 1])
    share = float(np.clip(share, 0.0, 1.0))
    both = np.array([1 - share, share])
    kept = both > 1e-9
    return order[[high - 1, high]][kept], both[kept]


def _inside(table: Table, row: int, grid: Grid, number: int, at: float, size: float) -> np.ndarray:
    """Cells whose centres lie in a box about a coordinate."""
    dim = grid.dims[number]
    if not size > 0:
        raise DataError(
            f"{table.source}: row {row + 1}: a block_mean needs its extent along {dim}, in a "
            f"column size_{dim}"
        )
    at = _in_domain(table, row, grid, number, at)
    centres, length, periodic = _axis(grid, number)
    apart = np.abs(centres - at)
    if periodic:
        apart = np.minimum(apart, length - apart)
    places = np.flatnonzero(apart <= size / 2 * (1 + 1e-9))
    if not len(places):
        raise DataError(
            f"{table.source}: row {row + 1}: no cell has its centre within {size:g} of {dim} "
            f"{at:g}; widen the box, or say point"
        )
    return places

"""Regridding between grids whose dims are the same, by one matrix for each dim.

`linear` goes between the two nearest centres, and on beyond the outermost ones where an edge is not
periodic; `conservative` takes the mean over the parts of source cells that lie in a target cell, so
that integrals stay. On the sphere rows are as wide as the sines of their edges are apart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError
from diffsci.grid import Grid

METHODS = ("linear", "conservative")

_SHARE = 1e-3
"""How far a target may lie beyond the source, as a share of a source cell: rounded coordinates."""


def regridded(
    values: Float[np.ndarray, "*from"], source: Grid, target: Grid, method: str, name: str
) -> Float[np.ndarray, "*to"]:
    """Fields on another grid, float32; their last axes are those of space.

    Args:
        values: On the source grid.
        source: Where they are.
        target: Where they shall be.
        method: One of `METHODS`.
        name: Of the source, for messages.

    Raises:
        DataError: For grids of other dims, or a target that the source does not cover.
    """
    if source.dims != target.dims:
        raise DataError(
            f"{name}: its grid has the dims {', '.join(source.dims)}, the target's are "
            f"{', '.join(target.dims)}; regrid it first"
        )
    made = values
    for axis, dim in enumerate(source.dims, start=values.ndim - len(source.dims)):
        _require_covered(source, target, dim, name)
        matrix = along(source, target, dim, method)
        made = np.moveaxis(np.moveaxis(made, axis, -1) @ matrix.T, -1, axis)
    return np.ascontiguousarray(made, dtype=np.float32)


@lru_cache(maxsize=32)
def along(source: Grid, target: Grid, dim: str, method: str) -> Float[np.ndarray, "to from"]:
    """The matrix of one dim; its rows sum to 1."""
    return _linear(source, target, dim) if method == "linear" else _overlaps(source, target, dim)


def widths(grid: Grid, dim: str) -> Float[np.ndarray, " cell"]:
    """Size of each cell along one dim; cell weights are their product over the dims."""
    return np.abs(np.diff(_edges(grid, dim)))


def _edges(grid: Grid, dim: str) -> Float[np.ndarray, " edge"]:
    edges = grid.bounds(dim)
    if grid.geometry == "sphere" and dim == "latitude":
        edges = np.sin(np.deg2rad(edges))
    return edges


def _values(grid: Grid, dim: str) -> Float[np.ndarray, " cell"]:
    return np.asarray(grid.coordinates[grid.dims.index(dim)], dtype=np.float64)


def _period(grid: Grid, dim: str) -> float | None:
    """Of a dim that closes on itself; none of others."""
    if "periodic" not in grid.boundary[grid.dims.index(dim)]:
        return None
    edges = grid.bounds(dim)
    return abs(float(edges[-1] - edges[0]))


def _turned(at: np.ndarray, source: Grid, dim: str) -> np.ndarray:
    """Positions of the target as the source counts them: a box may be whole turns away."""
    edges = source.bounds(dim)
    period = _period(source, dim)
    if period is not None:
        at = edges.min() + (at - edges.min()) % period
    elif source.geometry == "sphere" and dim == "longitude":
        at = at + 360.0 * np.round((edges.mean() - at.mean()) / 360.0)
    return at


def _require_covered(source: Grid, target: Grid, dim: str, name: str) -> None:
    """Refuse centres of the target outside all cells of the source."""
    if _period(source, dim) is not None:
        return
    at, edges = _turned(_values(target, dim), source, dim), source.bounds(dim)
    slack = _SHARE * abs(edges[-1] - edges[0]) / (len(edges) - 1)
    if at.min() < edges.min() - slack or at.max() > edges.max() + slack:
        raise DataError(
            f"{name}: its cells reach from {edges.min():g} to {edges.max():g} along {dim}, and the "
            f"target's centres from {at.min():g} to {at.max():g}; take a data set that covers the "
            "target, or cut the target"
        )


def _linear(source: Grid, target: Grid, dim: str) -> Float[np.ndarray, "to from"]:
    """Linear between the two nearest source centres."""
    at, nodes = _turned(_values(target, dim), source, dim), _values(source, dim)
    if len(nodes) == 1:
        return np.ones((len(at), 1))
    if nodes[0] > nodes[-1]:
        at, nodes = -at, -nodes
    columns, count = np.arange(len(nodes)), len(nodes)
    period = _period(source, dim)
    if period is not None:
        nodes = np.concatenate([[nodes[-1] - period], nodes, [nodes[0] + period]])
        columns = np.concatenate([[columns[-1]], columns, [columns[0]]])
    matrix = np.zeros((len(at), count))
    low = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
    share = (at - nodes[low]) / (nodes[low + 1] - nodes[low])
    rows = np.arange(len(at))
    np.add.at(matrix, (rows, columns[low]), 1 - share)
    np.add.at(matrix, (rows, columns[low + 1]), share)
    return matrix


def _overlaps(source: Grid, target: Grid, dim: str) -> Float[np.ndarray, "to from"]:
    """Share of each target cell that lies in each source cell."""
    to, inside = _edges(target, dim), _edges(source, dim)
    period = _period(source, dim)
    if period is not None or (source.geometry == "sphere" and dim == "longitude"):
        first = _turned(to[:1], source, dim) if period is not None else _turned(to, source, dim)
        to = to + (first[0] - to[0])
    low, high = (np.minimum(to[:-1], to[1:]), np.maximum(to[:-1], to[1:]))
    left, right = (np.minimum(inside[:-1], inside[1:]), np.maximum(inside[:-1], inside[1:]))
    matrix = np.zeros((len(low), len(left)))
    for turn in (-1, 0, 1) if period is not None else (0,):
        shift = 0.0 if period is None else turn * period
        upper = np.minimum(high[:, None], right + shift)
        matrix += np.clip(upper - np.maximum(low[:, None], left + shift), 0, None)
    total = matrix.sum(axis=1, keepdims=True)
    # A cell of the target may lie with its rim beyond the source, but not with its centre.
    shares: np.ndarray = matrix / total
    return shares

"""Downscale: block means are given, the fine field is sampled around their interpolation.

The coarse field is `A x`, with one matrix of cell-weighted block means per dim; the condition is
`B A x`, with one matrix per dim that interpolates linearly from coarse centres (and on beyond the
outermost centres, where an edge is not periodic). Both are built once per grid; together they are
exact for linear fields. The model learns what is missing, `x - B A x`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.data.fields import Fields
from diffsci.data.tasks.base import Task
from diffsci.errors import DataError, require
from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Downscale(Task):
    """Sample the fine field from its block means over `factor` cells along each space dim."""

    factor: int = 4

    has_leads = False
    parts = ((0,),)
    per_cell = True

    def __post_init__(self) -> None:
        require(self.factor >= 2, "factor", self.factor, "2 or more")

    @property
    def frames(self) -> int:
        """One."""
        return 1

    @property
    def given_frames(self) -> int:
        """None: a coarse picture of the frame is given, not the frame."""
        return 0

    def check(self, fields: Fields) -> None:
        """Needs two blocks or more along each dim."""
        for dim, size in zip(fields.grid.dims, fields.grid.sizes, strict=True):
            if size <= self.factor:
                raise DataError(
                    f"{fields.source}: {size} cells along {dim} make one block of {self.factor}; "
                    f"lower `factor` below {size}"
                )

    def condition_channels(self, channels: int) -> int:
        """One interpolated field for each channel."""
        return channels

    def observe(
        self, window: Float[Tensor, "n frame channel *space"], grid: Grid
    ) -> Float[Tensor, "n channel *coarse"]:
        """The block means."""
        return _apply(window[:, 0], _block_means(grid, self.factor))

    def condition(
        self, given: Tensor | None, grid: Grid, part: int = 0
    ) -> Float[Tensor, "n given *space"] | None:
        """The block means, interpolated to the fine grid."""
        assert given is not None
        return _apply(given, _interpolation(grid, self.factor))

    def given_grid(self, grid: Grid) -> Grid:
        """The grid of the block means."""
        return coarse_grid(grid, self.factor)

    def shown(self, given: Tensor | None, grid: Grid) -> Float[Tensor, "n channel *space"] | None:
        """The interpolated block means."""
        return self.condition(given, grid)

    def target(
        self,
        window: Float[Tensor, "n frame channel *space"],
        condition: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n channel *space"]:
        """What the interpolation misses."""
        assert condition is not None
        return window[:, 0] - condition

    def restore(
        self, target: Float[Tensor, "n channel *space"], condition: Tensor | None
    ) -> Float[Tensor, "n channel *space"]:
        """The interpolation and what it missed."""
        assert condition is not None
        return condition + target

    def advance(self, given: Tensor | None, states: Float[Tensor, "n step channel *space"]) -> None:
        """Nothing to advance: there are no leads."""
        return


def _starts(size: int, factor: int) -> np.ndarray:
    return np.arange(0, size, factor)


def _widths(grid: Grid, dim: str) -> Float[np.ndarray, " cell"]:
    """Size of each cell along one dim; cell weights are their product over the dims."""
    edges = grid.bounds(dim)
    if grid.geometry == "sphere" and dim == "latitude":
        edges = np.sin(np.deg2rad(edges))
    return np.abs(np.diff(edges))


def coarse_grid(grid: Grid, factor: int) -> Grid:
    """The grid of the block means; a centre is the weighted mean of its cells' coordinates."""
    coordinates = []
    for dim, values in zip(grid.dims, grid.coordinates, strict=True):
        weight, starts = _widths(grid, dim), _starts(len(values), factor)
        moment = np.add.reduceat(weight * np.asarray(values), starts)
        coordinates.append(tuple((moment / np.add.reduceat(weight, starts)).tolist()))
    return Grid(
        dims=grid.dims,
        coordinates=tuple(coordinates),
        units=grid.units,
        boundary=grid.boundary,
        geometry=grid.geometry,
    )


@lru_cache(maxsize=16)
def _block_means(grid: Grid, factor: int) -> tuple[Tensor, ...]:
    """One matrix per dim, coarse x fine: rows are weights that sum to 1 over each block."""
    matrices = []
    for dim, size in zip(grid.dims, grid.sizes, strict=True):
        weight, starts = _widths(grid, dim), _starts(size, factor)
        matrix = np.zeros((len(starts), size))
        for row, start in enumerate(starts):
            block = weight[start : start + factor]
            matrix[row, start : start + factor] = block / block.sum()
        matrices.append(torch.from_numpy(matrix))
    return tuple(matrices)


@lru_cache(maxsize=16)
def _interpolation(grid: Grid, factor: int) -> tuple[Tensor, ...]:
    """One matrix per dim, fine x coarse: linear between the two nearest coarse centres."""
    coarse = coarse_grid(grid, factor)
    matrices = []
    for dim, sides, fine, centres in zip(
        grid.dims, grid.boundary, grid.coordinates, coarse.coordinates, strict=True
    ):
        at, nodes = np.asarray(fine), np.asarray(centres)
        if nodes[0] > nodes[-1]:
            at, nodes = -at, -nodes
        columns = np.arange(len(nodes))
        if "periodic" in sides:
            edges = grid.bounds(dim)
            period = abs(float(edges[-1] - edges[0]))
            nodes = np.concatenate([[nodes[-1] - period], nodes, [nodes[0] + period]])
            columns = np.concatenate([[columns[-1]], columns, [columns[0]]])
        matrix = np.zeros((len(at), len(centres)))
        low = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
        share = (at - nodes[low]) / (nodes[low + 1] - nodes[low])
        rows = np.arange(len(at))
        np.add.at(matrix, (rows, columns[low]), 1 - share)
        np.add.at(matrix, (rows, columns[low + 1]), share)
        matrices.append(torch.from_numpy(matrix))
    return tuple(matrices)


def _apply(
    values: Float[Tensor, "n channel *space"], matrices: tuple[Tensor, ...]
) -> Float[Tensor, "n channel *other"]:
    """Each matrix along its space dim."""
    for axis, matrix in enumerate(matrices, start=2):
        matrix = matrix.to(values)
        values = (values.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return values.contiguous()

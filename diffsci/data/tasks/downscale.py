"""Downscale: block means are given, the fine field is sampled around their interpolation.

The coarse field is `A x`, with one matrix of cell-weighted block means per dim; the condition is
`B A x`, with one matrix per dim that interpolates linearly from coarse centres (and on beyond the
outermost centres, where an edge is not periodic). Both are built once per grid; together they are
exact for linear fields. The model learns what is missing, `x - B A x`. Where coarse fields come
from a data set of their own, they are interpolated when they are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.data.fields import Fields
from diffsci.data.regridding import along, regridded, widths
from diffsci.data.tasks.base import Task
from diffsci.errors import DataError, require
from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Downscale(Task):
    """Sample the fine field from its block means, or from the coarse field of another data set.

    Args:
        factor: Cells along each space dim whose mean is given.
        coarse: Entry or path of the data set that is given in place of block means, on any grid
            that covers the fine one: fields of the same variables at the same times.
        method: How its fields come to the fine grid: `linear` between centres, or `conservative`,
            by the share of each fine cell in each coarse one.
        learn: What is learnt: the `difference` from the interpolated field, the `state` itself, or
            the `residual`, which is what a linear regression on the interpolated fields misses. It
            has a mean of each cell, and slopes that all cells share.
    """

    factor: int = 4
    coarse: str | None = None
    method: Literal["linear", "conservative"] = "linear"
    learn: Literal["difference", "state", "residual"] = "difference"

    has_leads = False
    parts = ((0,),)
    per_cell = True

    def __post_init__(self) -> None:
        require(self.factor >= 2, "factor", self.factor, "2 or more")
        alone = self.coarse is not None or self.method == "linear"
        require(alone, "method", self.method, "linear, where block means are given, not `coarse`")

    @property
    def beside(self) -> str | None:  # type: ignore[override]
        """The coarse data set."""
        return self.coarse

    @property
    def regressed(self) -> bool:  # type: ignore[override]
        """Whether targets are residuals."""
        return self.learn == "residual"

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
            if size <= self.factor and self.coarse is None:
                raise DataError(
                    f"{fields.source}: {size} cells along {dim} make one block of {self.factor}; "
                    f"lower `factor` below {size}"
                )

    def condition_channels(self, channels: int) -> int:
        """One interpolated field for each channel."""
        return channels

    def second(self, fields: Fields) -> Float[np.ndarray, "trajectory time channel *space"] | None:
        """See `Task.second`: block means of what is not learnt as it is are taken before that."""
        if self.coarse is not None or not any(channel.transform for channel in fields.channels):
            return None
        grid, made = fields.grid, np.empty(fields.values.shape, dtype=np.float32)
        for index, series in enumerate(fields.values):
            means = _apply(torch.from_numpy(series).double(), _block_means(grid, self.factor))
            made[index] = _apply(means, _interpolation(grid, self.factor)).numpy()
        return made

    def on_grid(self, fields: Fields, grid: Grid) -> Fields:
        """See `Task.on_grid`: a coarse field is interpolated."""
        if fields.grid.same_place(grid):
            return replace(fields, beside=self.second(fields))
        learnt = not any(channel.transform for channel in fields.channels)
        if self.coarse is None and (
            learnt or not fields.grid.same_place(self.given_grid(grid), 0.05)
        ):
            return fields
        source = fields.grid if self.coarse is not None else self.given_grid(grid)
        values = regridded(np.asarray(fields.values), source, grid, self.method, fields.source)
        return replace(fields, values=values, grid=grid, beside=values)

    def observe(
        self, window: Float[Tensor, "n frame channel *space"], grid: Grid
    ) -> Float[Tensor, "n channel *coarse"]:
        """The block means, or the interpolated field where that comes first."""
        if self.coarse is not None or window.shape[1] > 1:
            return window[:, 0]
        return _apply(window[:, 0], _block_means(grid, self.factor))

    def condition(
        self, given: Tensor | None, grid: Grid, part: int = 0
    ) -> Float[Tensor, "n given *space"] | None:
        """What is given, interpolated to the fine grid."""
        assert given is not None
        if given.shape[2:] == grid.sizes:
            return given
        return _apply(given, _interpolation(grid, self.factor))

    def given_grid(self, grid: Grid) -> Grid:
        """The grid of the block means."""
        return grid if self.coarse is not None else coarse_grid(grid, self.factor)

    def shown(self, given: Tensor | None, grid: Grid) -> Float[Tensor, "n channel *space"] | None:
        """The interpolated field."""
        return self.condition(given, grid)

    def target(
        self,
        window: Float[Tensor, "n frame channel *space"],
        condition: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n channel *space"]:
        """What the interpolation misses, or the state."""
        assert condition is not None
        state = window[:, 0]
        return state - condition[:, : state.shape[1]] if self.learn == "difference" else state

    def restore(
        self, target: Float[Tensor, "n channel *space"], condition: Tensor | None
    ) -> Float[Tensor, "n channel *space"]:
        """The state."""
        assert condition is not None
        missed = self.learn == "difference"
        return condition[:, : target.shape[1]] + target if missed else target

    def advance(self, given: Tensor | None, states: Float[Tensor, "n step channel *space"]) -> None:
        """Nothing to advance: there are no leads."""
        return


def _starts(size: int, factor: int) -> np.ndarray:
    return np.arange(0, size, factor)


def coarse_grid(grid: Grid, factor: int) -> Grid:
    """The grid of the block means; a centre is the weighted mean of its cells' coordinates."""
    coordinates = []
    for dim, values in zip(grid.dims, grid.coordinates, strict=True):
        weight, starts = widths(grid, dim), _starts(len(values), factor)
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
        weight, starts = widths(grid, dim), _starts(size, factor)
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
    return tuple(torch.from_numpy(along(coarse, grid, dim, "linear")) for dim in grid.dims)


def _apply(
    values: Float[Tensor, "n channel *space"], matrices: tuple[Tensor, ...]
) -> Float[Tensor, "n channel *other"]:
    """Each matrix along its space dim."""
    for axis, matrix in enumerate(matrices, start=2):
        matrix = matrix.to(values)
        values = (values.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return values.contiguous()

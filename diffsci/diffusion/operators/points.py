"""Sparse points: the values of single cells, as of stations or probes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffsci.diffusion.operators._shape import (
    Channels,
    PerDim,
    check_channels,
    check_per_dim,
    per_dim,
    put,
    take,
)
from diffsci.diffusion.operators.base import Operator
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Points(Operator):
    """Sparse points: every n-th cell of each dim from the first, or cells named one by one.

    Observations are `[batch, channel, *coarse]` with `every`, `[batch, channel, point]` with `at`.

    Args:
        every: Distance in cells, one number for all dims or one for each; left out with `at`.
        at: Indices of the cells, from 0, one for each dim: `[[3, 10], [7, 2]]` are two points of a
            field with two dims; left out with `every`.
        channels: Numbers of the channels that are seen; all when left out.
    """

    every: PerDim | None = None
    at: tuple[tuple[int, ...], ...] | None = None
    channels: Channels = None

    def __post_init__(self) -> None:
        one = (self.every is None) != (self.at is None)
        require(one, "every", self.every, f"either this or `at`, which is {self.at}")
        check_channels(self.channels)
        if self.every is not None:
            check_per_dim("every", self.every)
        if self.at is not None:
            different = len(set(self.at)) == len(self.at) > 0
            require(different, "at", self.at, "one or more points, each once")

    def apply(
        self, field: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch *observation"]:
        """The values of the cells."""
        seen, space = take(field, self.channels), tuple(field.shape[2:])
        if self.every is not None:
            return seen[self._lattice(space)]
        return seen.flatten(2).index_select(2, self._cells(space, field.device))

    def adjoint(
        self, values: Float[Tensor, "batch *observation"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "batch channel *space"]:
        """The values in their cells, zero elsewhere."""
        space = tuple(like.shape[2:])
        field = values.new_zeros(*values.shape[:2], *space)
        if self.every is not None:
            field[self._lattice(space)] = values
        else:
            flat = field.flatten(2)
            field = flat.index_copy(2, self._cells(space, values.device), values).view_as(field)
        return put(field, self.channels, like.shape[1])

    def _lattice(self, space: tuple[int, ...]) -> tuple[slice, ...]:
        assert self.every is not None
        steps = per_dim("every", self.every, space)
        return slice(None), slice(None), *(slice(None, None, step) for step in steps)

    def _cells(self, space: tuple[int, ...], device: torch.device) -> Int[Tensor, " point"]:
        assert self.at is not None
        for point in self.at:
            inside = len(point) == len(space) and all(
                0 <= i < size for i, size in zip(point, space, strict=True)
            )
            expected = f"{len(space)} numbers from 0, below the sizes {space} of the dims"
            require(inside, "at", point, expected)
        return _flat_index(self.at, space, device)


@lru_cache(maxsize=32)
def _flat_index(
    at: tuple[tuple[int, ...], ...], space: tuple[int, ...], device: torch.device
) -> Int[Tensor, " point"]:
    # Kept on the device, so that no step of a sampler waits for it to be copied there.
    with torch.inference_mode(False):
        flat = []
        for point in at:
            index = 0
            for i, size in zip(point, space, strict=True):
                index = index * size + i
            flat.append(index)
        return torch.tensor(flat, device=device)

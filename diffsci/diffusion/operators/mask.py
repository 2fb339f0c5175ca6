"""A mask: a part of the field is seen, cell by cell, and the rest is not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffsci.diffusion.operators._shape import Channels, check_channels, chosen
from diffsci.diffusion.operators.base import Operator
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Mask(Operator):
    """A part of the field, given as a box of cells or cell by cell, as for filling gaps.

    Observations keep the shape of the field, with zeros in what is not seen.

    Args:
        start: First cell of the box along each dim; left out with `seen`.
        stop: One past its last cell along each dim; left out with `seen`.
        inside: Whether the inside of the box is seen, or the rest around it.
        seen: From Python, in place of a box: true where a cell is seen, in the sizes of the space
            dims or of channel and space dims.
        channels: Numbers of the channels that are seen; all when left out.
    """

    start: tuple[int, ...] | None = None
    stop: tuple[int, ...] | None = None
    inside: bool = True
    seen: Bool[Tensor, "..."] | None = None
    channels: Channels = None

    def __post_init__(self) -> None:
        check_channels(self.channels)
        if self.seen is not None:
            require(self.start is None, "start", self.start, "nothing beside `seen`")
            require(self.stop is None, "stop", self.stop, "nothing beside `seen`")
            require(self.inside, "inside", self.inside, "true beside `seen`: turn that over")
            return
        first, last = self.start or (), self.stop or ()
        require(len(first) > 0, "start", self.start, "the first cell of a box along each dim")
        require(len(last) == len(first), "stop", self.stop, f"{len(first)} numbers, as in start")
        good = all(0 <= low < high for low, high in zip(first, last, strict=True))
        require(good, "stop", self.stop, f"more than start = {first}, which is 0 or more")

    def apply(
        self, field: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch *observation"]:
        """The field where it is seen, else zero."""
        return self._only_seen(field)

    def adjoint(
        self, values: Float[Tensor, "batch *observation"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "batch channel *space"]:
        """The same: a mask is its own transpose."""
        return self._only_seen(values)

    def _only_seen(self, field: Tensor) -> Tensor:
        zero = torch.zeros_like(field)
        inside = torch.where(self._cells(field), field, zero)
        if self.channels is None:
            return inside
        numbers = chosen(self.channels, field.shape[1])
        rows = [inside[:, i] if i in numbers else zero[:, i] for i in range(field.shape[1])]
        return torch.stack(rows, dim=1)

    def _cells(self, field: Tensor) -> Bool[Tensor, "..."]:
        space = tuple(field.shape[2:])
        if self.seen is not None:
            shape = tuple(self.seen.shape)
            fits = shape in (space, tuple(field.shape[1:]))
            require(fits, "seen", shape, f"the sizes of the space dims, {space}")
            return self.seen.to(field.device)
        seen = torch.zeros(space, dtype=torch.bool, device=field.device)
        seen[self._box(space)] = True
        return seen if self.inside else ~seen

    def _box(self, space: tuple[int, ...]) -> tuple[slice, ...]:
        assert self.start is not None and self.stop is not None
        fits = len(self.stop) == len(space) and all(
            high <= size for high, size in zip(self.stop, space, strict=True)
        )
        require(fits, "stop", self.stop, f"at most {space}, the sizes of the dims")
        edges = zip(self.start, self.stop, strict=True)
        return tuple(slice(low, high) for low, high in edges)

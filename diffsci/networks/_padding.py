"""Padding by the grid's boundary: what the network sees beyond each edge is what the physics says.

Each side of each dim is extended on its own: periodic takes the cells of the other side, wall
mirrors about the edge cell, open repeats the edge cell, zero adds zeros, and pole crosses the pole:
the same rows again, seen from the other side of the globe (rolled by half the longitudes).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diffsci.grid import Boundary

Sides = tuple[tuple[Boundary, Boundary], ...]

_NATIVE = {"periodic": "circular", "wall": "reflect", "open": "replicate", "zero": "constant"}


def _side(x: Tensor, axis: int, width: int, boundary: Boundary, low: bool) -> Tensor:
    """The `width` slices that lie beyond one side of one axis."""
    size = x.shape[axis]
    if boundary == "periodic":
        return x.narrow(axis, size - width if low else 0, width)
    if boundary == "wall":
        return x.narrow(axis, 1 if low else size - 1 - width, width).flip(axis)
    if boundary == "open":
        edge = x.narrow(axis, 0 if low else size - 1, 1)
        return edge.expand(*[width if i == axis else -1 for i in range(x.ndim)])
    if boundary == "zero":
        return torch.zeros_like(x.narrow(axis, 0, width))
    across = x.narrow(axis, 0 if low else size - width, width).flip(axis)
    return across.roll(x.shape[-1] // 2, -1)


def pad(x: Float[Tensor, "batch channel *space"], width: int, sides: Sides) -> Tensor:
    """`x` extended by `width` cells on both sides of every space dim.

    Dims too small for their boundary are refused earlier, by `Network.check`.
    """
    if width == 0:
        return x
    kinds = {side for pair in sides for side in pair}
    if len(kinds) == 1 and (kind := kinds.pop()) != "pole":
        return F.pad(x, [width] * (2 * len(sides)), mode=_NATIVE[kind])
    # The pole needs whole circles of longitude, so the last dim is extended last.
    for index, (low, high) in enumerate(sides):
        axis = 2 + index
        if low == high and low != "pole":
            amounts = [0, 0] * (len(sides) - 1 - index) + [width, width] + [0, 0] * index
            x = _native_one(x, axis, width, low, amounts)
        else:
            first = _side(x, axis, width, low, low=True)
            last = _side(x, axis, width, high, low=False)
            x = torch.cat([first, x, last], dim=axis)
    return x


def _native_one(x: Tensor, axis: int, width: int, boundary: Boundary, amounts: list[int]) -> Tensor:
    """One axis by the native routine: one copy where concatenating would make three."""
    return F.pad(x, amounts, mode=_NATIVE[boundary])

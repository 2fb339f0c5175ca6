"""Positions on a grid that know what lies beyond its edges.

Within attention, queries and keys are rotated by angles that grow with the position (RoPE), so that
a product of two depends on the distance between them. Along a periodic dim the angles make whole
turns on the way around: distances go around too, and a shifted input gives a shifted output. Along
other dims an angle is less than half a turn where a periodic one is a whole one, so that no two
ends look near; there the edges are places of their own, and sines and cosines of the position
between them are added to the tokens.

Source:
    Su et al. (2021), arXiv:2104.09864, for rotations; Vaswani et al. (2017), arXiv:1706.03762.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.grid import Grid


def rotations(grid: Grid, patch: int, pairs: int) -> Float[Tensor, "2 token pair"]:
    """Cosine and sine of the angle of each token, in array order, for each pair of features.

    Each dim takes an equal share of the pairs, and one share stays as it is: content alone.

    Args:
        grid: Of the cells.
        patch: Cells along each side of a token.
        pairs: Of features in a head; as many as dims, or more.
    """
    share = max(1, pairs // (len(grid.dims) + 1))
    angles = []
    for size, sides in zip(grid.sizes, grid.boundary, strict=True):
        around = "periodic" in sides
        # In turns: a patch that reaches over the edge is where its first cell is.
        position = _firsts(size, patch) / (size if around else 2 * size)
        turns = _ladder(max(1, size // (2 * patch) if around else size // patch), share)
        angles.append(2 * math.pi * position[:, None] * turns)
    angle = torch.cat(_spread(angles), dim=-1).flatten(end_dim=-2)
    still = torch.zeros(len(angle), pairs - angle.shape[1], dtype=angle.dtype)
    angle = torch.cat([angle, still], dim=1)
    return torch.stack([angle.cos(), angle.sin()]).float()


def rotated(
    x: Float[Tensor, "batch head token feature"], by: Float[Tensor, "2 token pair"]
) -> Float[Tensor, "batch head token feature"]:
    """Queries or keys, each pair of features turned by its token's angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * by[0] - second * by[1], first * by[1] + second * by[0]], dim=-1)


def places(grid: Grid, patch: int, width: int) -> Float[Tensor, "token width"]:
    """Sines and cosines of the position between the edges of dims that do not go around.

    Each such dim takes an equal share of `width`; what is left, and all for a periodic grid, is 0.
    """
    edged = ["periodic" not in sides for sides in grid.boundary]
    half = width // (2 * max(1, sum(edged)))
    features = []
    for size, has_edges in zip(grid.sizes, edged, strict=True):
        # In the middle of the patch, between 0 and 1.
        position = ((_firsts(size, patch) + patch / 2) / size).clamp(max=1)
        angle = math.pi * position[:, None] * _ladder(max(1, size // patch), half)
        features.append(torch.cat([angle.sin(), angle.cos()], dim=1)[:, : 2 * half * has_edges])
    place = torch.cat(_spread(features), dim=-1).flatten(end_dim=-2)
    rest = torch.zeros(len(place), width - place.shape[1], dtype=place.dtype)
    return torch.cat([place, rest], dim=1).float()


def _firsts(size: int, patch: int) -> Tensor:
    """The first cell of each token, float64."""
    return torch.arange(0, size, patch, dtype=torch.float64)


def _ladder(most: int, count: int) -> Tensor:
    """`count` whole numbers from 1 to `most` in nearly equal ratios, float64."""
    return torch.logspace(0, math.log10(most), count, dtype=torch.float64).round()


def _spread(tables: list[Tensor]) -> list[Tensor]:
    """Tables of each dim's tokens, repeated over the tokens of all dims."""
    sizes = [len(table) for table in tables]
    found = []
    for axis, table in enumerate(tables):
        shape = [1] * len(sizes) + [table.shape[1]]
        shape[axis] = sizes[axis]
        found.append(table.reshape(shape).expand(*sizes, -1))
    return found

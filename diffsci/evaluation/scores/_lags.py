"""Pairs of cells at some distance along a dim; around the circle where the grid closes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def both(values: np.ndarray, axis: int, lag: int, *, around: bool) -> tuple[np.ndarray, ...]:
    """The values of the two cells of each pair."""
    if around:
        return values, np.roll(values, -lag, axis=axis)
    first, second = [slice(None)] * values.ndim, [slice(None)] * values.ndim
    first[axis], second[axis] = slice(None, -lag), slice(lag, None)
    return values[tuple(first)], values[tuple(second)]


def weight(weights: Float[np.ndarray, "*space"], dim: int, lag: int, *, around: bool) -> np.ndarray:
    """Weight of each pair: the mean of its cells'."""
    one, other = both(weights, dim, lag, around=around)
    return np.asarray((one + other) / 2)


def goes_around(periodic: tuple[bool, ...], dim: int) -> bool:
    """Whether a space axis closes on itself."""
    return bool(periodic) and periodic[dim]

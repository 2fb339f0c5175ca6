"""Pairs of cells at some distance along a dim; around the circle where the grid closes."""

from __future__ import annotations

from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array


def both(values: Array, axis: int, lag: int, *, around: bool) -> tuple[Array, ...]:
    """The values of the two cells of each pair."""
    if around:
        return values, _arrays.rolled(values, -lag, axis)
    first, second = [slice(None)] * values.ndim, [slice(None)] * values.ndim
    first[axis], second[axis] = slice(None, -lag), slice(lag, None)
    return values[tuple(first)], values[tuple(second)]


def weight(weights: Float[Array, "*space"], dim: int, lag: int, *, around: bool) -> Array:
    """Weight of each pair: the mean of its cells'."""
    one, other = both(weights, dim, lag, around=around)
    return (one + other) / 2


def goes_around(periodic: tuple[bool, ...], dim: int) -> bool:
    """Whether a space axis closes on itself."""
    return bool(periodic) and periodic[dim]

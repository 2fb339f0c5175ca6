"""Arrays of numpy, or tensors of torch on any device: the few calls in which the two differ.

A score that can be computed on a GPU is written with what both spell alike: operators, methods
with `axis=`, and functions of `lib(x)`. Both take `axis` and `keepdims`. What is made afresh, such
as weights of ranks, is made by numpy and put `beside` the values. Of arrays each function here is
one call of numpy, so that the bits do not depend on there being another path.

Three traps of torch: a bool or an integer by a number is float32 (`real` first), `bincount` and
`scatter_add` add in no fixed order on a GPU, and `quantile` has no choice of the position.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int

Array: TypeAlias = Any
"""Of numpy or torch, which have no type in common; shapes are still checked in tests."""


def lib(values: Array) -> Any:  # noqa: ANN401 -- a module has no type of its own
    """The library of an array: numpy, or torch, which is only imported where a tensor is."""
    return np if isinstance(values, np.ndarray) else sys.modules["torch"]


def beside(values: np.ndarray, other: Array) -> Array:
    """An array of numpy where the other one is."""
    if isinstance(other, np.ndarray):
        return values
    return lib(other).as_tensor(values, device=other.device)


def real(values: Array) -> Float[Array, "..."]:
    """In float64."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    return values.to(lib(values).float64)


def host(values: Array) -> np.ndarray:
    """As an array of numpy."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.cpu())


def ordered(values: Float[Array, "case member *space"]) -> Float[Array, "case member *space"]:
    """Members by rising value."""
    if isinstance(values, np.ndarray):
        return np.sort(values, axis=1)
    return values.sort(dim=1).values


def combined(
    factors: Float[np.ndarray, " member"], values: Float[Array, "case member *space"]
) -> Float[Array, " case *space"]:
    """Sum over members, each times its factor."""
    if isinstance(values, np.ndarray):
        return np.asarray(np.tensordot(factors, values, axes=(0, 1)))
    return lib(values).tensordot(beside(factors, values), values, dims=([0], [1]))


def variance(values: Float[Array, "case member *space"]) -> Float[Array, " case *space"]:
    """Over members, unbiased."""
    if isinstance(values, np.ndarray):
        return np.asarray(values.var(axis=1, ddof=1))
    return values.var(dim=1, correction=1)


def quantiles(
    values: Float[Array, "case member *space"], levels: tuple[float, ...]
) -> Float[Array, "level case *space"]:
    """Over members, of which the k-th has the level k / (m + 1); beyond the ends, the ends."""
    if isinstance(values, np.ndarray):
        return np.asarray(np.quantile(values, levels, axis=1, method="weibull"))
    rising, last = ordered(values), values.shape[1] - 1
    found = []
    for level in levels:
        place = min(max(level * (last + 2) - 1, 0.0), float(last))
        below = int(place)
        low, high = rising[:, below], rising[:, min(below + 1, last)]
        found.append(low + (high - low) * (place - below))
    return lib(values).stack(found)


def tallied(
    places: Int[Array, "case cell"], shares: Float[Array, "#case cell"], size: int
) -> Float[Array, "case {size}"]:
    """Sum of the shares of the cells at each place from 0."""
    if isinstance(places, np.ndarray):
        row = np.arange(len(places))[:, None] * size
        each = np.broadcast_to(shares, places.shape)
        found = np.bincount((row + places).ravel(), each.ravel(), len(places) * size)
        return found.reshape(len(places), size)
    # Place by place, in whole sums: as many passes as there are members, in a fixed order.
    each_sum = [(shares * (places == place)).sum(axis=1) for place in range(size)]
    return lib(places).stack(each_sum, dim=1)


def grouped(
    values: Float[Array, "field cell"], groups: Int[np.ndarray, " cell"]
) -> Float[Array, "field group"]:
    """Sum of the cells of each group from 0 to the largest number."""
    if isinstance(values, np.ndarray):
        order = np.argsort(groups, kind="stable")
        present, starts = np.unique(groups[order], return_index=True)
        found = np.zeros((len(values), int(present[-1]) + 1))
        found[:, present] = np.add.reduceat(values[:, order], starts, axis=1)
        return found
    made = beside(np.zeros((len(values), int(groups.max()) + 1)), values)
    return made.index_add_(1, beside(groups, values), values)


def fourier(values: Float[Array, " field *space"], axes: tuple[int, ...]) -> Array:
    """Fourier coefficients along some axes, not divided by their number."""
    if isinstance(values, np.ndarray):
        return np.fft.fftn(values, axes=axes)
    return lib(values).fft.fftn(values, dim=axes)


def rolled(values: Array, lag: int, axis: int) -> Array:
    """Along an axis, around its end."""
    if isinstance(values, np.ndarray):
        return np.roll(values, lag, axis=axis)
    return lib(values).roll(values, lag, dims=axis)

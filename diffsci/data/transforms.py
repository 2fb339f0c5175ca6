"""What is learnt in place of physical values: log(1 + x) of a channel, the log of a number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError


def learnt(
    values: Float[np.ndarray, "*shape"], transforms: tuple[str, ...], space: int
) -> Float[np.ndarray, "*shape"]:
    """What is learnt in place of physical values.

    Args:
        values: Channels lie before the axes of space.
        transforms: Of each channel; empty where there are none.
        space: How many axes of space there are.
    """
    return _changed(values, transforms, space, np.log1p)


def unlearnt(
    values: Float[np.ndarray, "*shape"], transforms: tuple[str, ...], space: int
) -> Float[np.ndarray, "*shape"]:
    """The inverse of `learnt`."""
    return _changed(values, transforms, space, np.expm1)


def _changed(
    values: np.ndarray,
    transforms: tuple[str, ...],
    space: int,
    function: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    if not any(transforms):
        return values
    made = np.array(values, dtype=np.float64)
    by_channel = np.moveaxis(made, made.ndim - space - 1, 0)
    for number, word in enumerate(transforms):
        if word:
            by_channel[number] = function(by_channel[number])
    return made


def logarithms(
    scalars: Float[np.ndarray, "n parameter"], names: tuple[str, ...], logs: tuple[str, ...]
) -> Float[np.ndarray, "n parameter"]:
    """The same numbers, some of them by their logarithm.

    Args:
        scalars: In physical units.
        names: Of the columns.
        logs: Which of these.

    Raises:
        DataError: Naming one that is not above 0.
    """
    chosen = [names.index(name) for name in logs]
    if not chosen:
        return scalars
    made = np.array(scalars, dtype=np.float64)
    for place in chosen:
        lowest = made[:, place].min()
        if not lowest > 0:
            raise DataError(
                f"{names[place]}: got {lowest:g}, expected above 0: the network is given its "
                "logarithm (data.domain.log)"
            )
        made[:, place] = np.log(made[:, place])
    return made

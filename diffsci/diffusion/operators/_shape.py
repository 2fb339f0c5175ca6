"""What the fields of operators share: one number for each dim, and a choice of channels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.errors import require

PerDim = int | tuple[int, ...]
"""One number for all space dims, or one for each."""

Channels = tuple[int, ...] | None
"""Numbers of channels, from 0; none means all."""


def check_per_dim(name: str, value: PerDim) -> None:
    """Refuse numbers below 1.

    Raises:
        FieldError: Naming the field.
    """
    numbers = (value,) if isinstance(value, int) else value
    good = len(numbers) > 0 and min(numbers) >= 1
    require(good, name, value, "1 or more, one number for all dims or one for each")


def per_dim(name: str, value: PerDim, space: tuple[int, ...]) -> tuple[int, ...]:
    """One number for each space dim.

    Raises:
        FieldError: When there are more or fewer numbers than dims.
    """
    numbers = (value,) * len(space) if isinstance(value, int) else value
    require(len(numbers) == len(space), name, value, f"{len(space)} numbers, one for each dim")
    return numbers


def check_channels(channels: Channels) -> None:
    """Refuse none at all, the same twice, and negative ones.

    Raises:
        FieldError: Naming `channels`.
    """
    good = channels is None or (
        len(set(channels)) == len(channels) > 0 and min(channels, default=-1) >= 0
    )
    require(good, "channels", channels, "different numbers of channels, from 0")


def chosen(channels: Channels, count: int) -> tuple[int, ...]:
    """The numbers of the channels that are seen.

    Raises:
        FieldError: For one that the field does not have.
    """
    numbers = tuple(range(count)) if channels is None else channels
    require(max(numbers) < count, "channels", channels, f"numbers below {count}, as fields have")
    return numbers


def take(
    field: Float[Tensor, "batch channel *space"], channels: Channels
) -> Float[Tensor, "batch seen *space"]:
    """The channels that are seen; by slices, so that no device waits for an index."""
    if channels is None:
        return field
    return torch.stack([field[:, i] for i in chosen(channels, field.shape[1])], dim=1)


def put(
    values: Float[Tensor, "batch seen *space"], channels: Channels, count: int
) -> Float[Tensor, "batch channel *space"]:
    """The transpose of `take`: zero in all other channels."""
    if channels is None:
        return values
    place = {number: row for row, number in enumerate(chosen(channels, count))}
    zero = torch.zeros_like(values[:, 0])
    return torch.stack([values[:, place[i]] if i in place else zero for i in range(count)], dim=1)


def along(
    values: Float[Tensor, "batch channel *space"], matrices: tuple[Tensor, ...]
) -> Float[Tensor, "batch channel *other"]:
    """Each matrix along its space dim."""
    for axis, matrix in enumerate(matrices, start=2):
        values = (values.movedim(axis, -1) @ matrix.mT).movedim(-1, axis)
    return values

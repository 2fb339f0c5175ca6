"""What every constraint is: a condition A x = b, or a bound, on each state in physical units.

A state is brought onto it by the smallest change, each channel measured in its own scale: with W
the squares of the scales,

    x' = x + W A^T (A W A^T)^-1 (b - A x).

For data whose spread is W where it is not known, that is the conditional mean given A x = b.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.errors import FieldError, require
from diffsci.grid import Grid

Value = float | tuple[float, ...] | Literal["given"]
"""One number, one for each channel that is named, or what the last given frame has."""

Names = tuple[str, ...]
"""Names of channels; empty means all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What states a constraint holds for.

    Args:
        grid: Where their values sit.
        channels: Names of their channels.
        scale: By how much each channel may change, in its unit: corrections are shared by it.
        units: Units of their channels.
    """

    grid: Grid
    channels: tuple[str, ...]
    scale: Float[np.ndarray, " channel"]
    units: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a state."""
        return (len(self.channels), *self.grid.sizes)

    @property
    def grid_cells(self) -> int:
        """Cells of a channel."""
        return int(np.prod(self.grid.sizes))

    def numbers(self, names: Names) -> list[int]:
        """Places of channels; see `numbers_of`."""
        return numbers_of(names, self.channels)


class Constraint(ABC):
    """A family member: frozen dataclass, of one of the three kinds below."""

    @property
    def needs_given(self) -> bool:
        """Whether it asks for what a frame has that is given."""
        return False

    @abstractmethod
    def check(self, setting: Setting) -> None:
        """Refuse states it has no meaning for.

        Raises:
            FieldError: Naming the key.
        """


class Equations(Constraint):
    """Kind of constraint: some linear conditions, few enough to be written down as rows."""

    @abstractmethod
    def rows(self, setting: Setting) -> Float[np.ndarray, "row channel *space"]:
        """The A, float64."""

    @abstractmethod
    def values(self, setting: Setting) -> Float[np.ndarray, " row"] | None:
        """The b; none where it is A times the last given frame."""


class Subspace(Constraint):
    """Kind of constraint: A x = 0 with as many rows as cells, where the projection is known."""

    @abstractmethod
    def project(
        self, states: Float[Tensor, "batch channel *space"], setting: Setting
    ) -> Float[Tensor, "batch channel *space"]:
        """The nearest states that meet it, channels measured in their scales."""


class Interval(Constraint):
    """Kind of constraint: a least and a largest value."""

    @abstractmethod
    def limits(self, channels: tuple[str, ...]) -> tuple[tuple[float | None, float | None], ...]:
        """Of each channel by its name; none where there is none."""


def numbers_of(names: Names, channels: tuple[str, ...]) -> list[int]:
    """Places of channels by their names.

    Raises:
        FieldError: For a name that no channel has.
    """
    for name in names:
        require(name in channels, "channels", name, f"names of channels: {', '.join(channels)}")
    return [channels.index(name) for name in names or channels]


def check_names(names: Names) -> None:
    """Refuse the same name twice.

    Raises:
        FieldError: Naming `channels`.
    """
    require(len(set(names)) == len(names), "channels", names, "different names")


def per_channel(key: str, value: Value, count: int) -> list[float]:
    """One number for each channel.

    Raises:
        FieldError: For too many or too few, or what is no finite number.
    """
    numbers = list(value) if isinstance(value, tuple) else [value] * count
    if len(numbers) != count:
        raise FieldError(key, value, f"one number, or one for each of the {count} channels")
    for number in numbers:
        fits = isinstance(number, int | float) and math.isfinite(number)
        require(fits, key, value, "finite numbers, or `given`")
    return [float(number) for number in numbers]


def squared_scales(setting: Setting, like: Tensor) -> Float[Tensor, "channel ..."]:
    """The W, that broadcasts against states."""
    shape = (-1, *[1] * len(setting.grid.sizes))
    return torch.as_tensor(setting.scale**2).to(like).reshape(shape)

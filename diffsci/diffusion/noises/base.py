"""What every shape of noise is: a linear map that gives white noise a covariance of its own.

With x_t = c x_0 + d L z, z white, all of the core holds unchanged for L^-1 x_0: schedules, samplers
and objectives see eps = L z as they see white noise. So one `Noise` callable, shaped, is all that
training and sampling need to know; they must be given the same one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from diffsci.grid import Grid

Shaping = Callable[[Tensor], Tensor]
"""`white [batch, channel, *space] -> shaped`, linear, with unit variance in every cell."""


class NoiseShape(ABC):
    """A family member: frozen dataclass."""

    is_white: bool = False
    """Whether the shaping changes nothing."""

    @abstractmethod
    def check(self, grid: Grid) -> None:
        """Refuse a grid that this noise cannot live on.

        Raises:
            FieldError: Naming the field and grids that would work.
        """

    @abstractmethod
    def shaping(self, grid: Grid) -> Shaping:
        """The map for fields on this grid."""

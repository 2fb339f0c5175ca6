"""What every objective is: which levels to train at, and how to weigh the squared error there.

In expectation only the pair (weight, density of levels) matters; both are stated by each member.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules.base import Schedule


class Objective(ABC):
    """A family member: frozen dataclass."""

    @abstractmethod
    def levels(
        self, uniform: Float[Tensor, " batch"], schedule: Schedule
    ) -> Float[Tensor, " batch"]:
        """Levels t in [0, 1] with this objective's density, from uniform numbers in (0, 1)."""

    @abstractmethod
    def weight(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """Multiplier of the squared error of x_0 at these levels."""

"""What every objective is: which levels to train at, and how to weigh the squared error there.

In expectation only the pair (weight, density of levels) matters; both are stated by each member.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.objectives._learned import LearnedVariance
from diffsci.diffusion.schedules.base import Schedule
from diffsci.grid import Grid


class Objective(ABC):
    """A family member: frozen dataclass."""

    @abstractmethod
    def levels(
        self, uniform: Float[Tensor, " batch"], schedule: Schedule
    ) -> Float[Tensor, " batch"]:
        """Levels t in [0, 1] with this objective's density, from uniform numbers in (0, 1).

        They rise with the uniform number, as the inverse of the distribution function.
        """

    @abstractmethod
    def density(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """Probability density of the levels that `levels` gives, at t."""

    @abstractmethod
    def weight(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """Multiplier of the squared error of x_0 at these levels."""

    def learned(self, channels: int, grid: Grid) -> LearnedVariance | None:
        """What is learned beside the network, as part of the denoiser; none for most members.

        Where there is one, the weight must be SNR + 1, so that the weighted squared error e^2 is
        that of v, and the loss of an element is e^2 exp(-u) + u, with u the learned logarithm of
        the mean of e^2: the negative log-likelihood of a normal law whose variance is learned, up
        to a factor of 2 and a constant. At its optimum exp(u) / (SNR + 1) is E |x_0 - estimate|^2.

        Args:
            channels: Of the target.
            grid: Of the target.
        """
        return None

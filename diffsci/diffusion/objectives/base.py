"""What every objective is: the loss of a training example.

Objectives by level say which levels of noise to train at, and how to weigh the squared error there;
in expectation only that pair matters, and both are stated by each member. Direct ones score members
that the network makes in one call, from what is given and a random vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.objectives._learned import LearnedVariance
from diffsci.diffusion.schedules.base import Schedule
from diffsci.grid import Grid


class Objective(ABC):
    """A family member: frozen dataclass; a `ByLevel` or a `Direct` one."""

    @property
    @abstractmethod
    def direct(self) -> bool:
        """Whether one call of the network makes a sample, so that there are no levels of noise."""

    @property
    def random(self) -> int:
        """Length of the random vector that the network turns into a member; 0 for none."""
        return 0

    @property
    def varied(self) -> bool:
        """Whether members of a case differ."""
        return not self.direct or self.random > 0

    @property
    def count(self) -> int:
        """Network calls for each example in training."""
        return 1

    @abstractmethod
    def noise_like(
        self, target: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch ..."]:
        """A tensor of the shape and dtype of the normal numbers that its loss takes."""

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


class ByLevel(Objective):
    """Squared error of x_0 at many levels of noise: what trains a diffusion model."""

    @property
    def direct(self) -> bool:
        """A sampler goes from level to level."""
        return False

    def noise_like(
        self, target: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch ..."]:
        """One number for each of the target's."""
        return target

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


class Direct(Objective):
    """A scoring rule of members, each made by one call from what is given: no noise to remove."""

    @property
    def direct(self) -> bool:
        """One call makes a sample."""
        return True

    @property
    @abstractmethod
    def count(self) -> int:
        """Members of each example in training, a network call each."""

    def noise_like(
        self, target: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch ..."]:
        """One random vector for each member."""
        return target.new_empty(len(target), self.count, self.random)

    @abstractmethod
    def loss(
        self,
        found: Float[Tensor, "member batch channel *space"],
        target: Float[Tensor, "batch channel *space"],
    ) -> Float[Tensor, "batch channel *space"]:
        """The score of the members in each element, to be minimised."""

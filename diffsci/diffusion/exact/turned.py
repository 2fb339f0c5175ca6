"""Normal laws whose elements are independent after an orthonormal change of coordinates.

All noisy copies share these coordinates, since white noise stays white in them, and so everything
is `DiagonalGaussian` between a way there and a way back. A member says where: along eigenvectors,
or in waves.
"""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Jump, Level
from diffsci.diffusion.covariance import Covariance
from diffsci.diffusion.exact.diagonal import DiagonalGaussian
from diffsci.diffusion.exact.law import Law


class TurnedGaussian(Law):
    """A normal law, given by its independent coordinates."""

    @property
    @abstractmethod
    def independent(self) -> DiagonalGaussian:
        """The law of the coordinates."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The coordinates of x; sums of squares stay what they are."""

    @abstractmethod
    def inverse(self, coordinates: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The x with these coordinates."""

    @abstractmethod
    def covariance_of(self, variance: Float[Tensor, "batch *shape"]) -> Covariance:
        """The covariance of x whose coordinates have this variance."""

    def posterior_mean(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """E[x_0 | x_t]."""
        return self.inverse(self.independent.posterior_mean(self.forward(x_t), at))

    def posterior(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> tuple[Float[Tensor, "batch *shape"], Covariance]:
        """E[x_0 | x_t] and Cov[x_0 | x_t], the same for every x_t of a level."""
        like = x_t if at.t.ndim else x_t[:1]
        variance = self.independent.posterior_variance(like, at)
        return self.posterior_mean(x_t, at), self.covariance_of(variance)

    def log_density(self, x_t: Float[Tensor, "batch *shape"], at: Level) -> Float[Tensor, " batch"]:
        """The logarithm of p(x_t)."""
        return self.independent.log_density(self.forward(x_t), at)

    def flow(self, x_t: Float[Tensor, "batch *shape"], jump: Jump) -> Float[Tensor, "batch *shape"]:
        """Where the probability flow takes x_t."""
        return self.inverse(self.independent.flow(self.forward(x_t), jump))

    def sample(self, unit_noise: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """Draws of x_0 from standard normal numbers, by the symmetric root of the covariance."""
        return self.inverse(self.independent.sample(self.forward(unit_noise)))

    def minimum_loss(self, at: Level) -> Float[Tensor, ""]:
        """E|x_0 - E[x_0 | x_t]|^2 at one level, summed over the elements: no model is below it."""
        return self.independent.minimum_loss(at)

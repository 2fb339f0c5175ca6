"""Independent normal elements: where every formula is one of numbers, not of matrices.

With total = c^2 v + d^2, the variance of x_t:

    E[x_0 | x_t]   = m + c v / total (x_t - c m)
    Var[x_0 | x_t] = d^2 v / total
    flow t -> s    = c_s m + sqrt(total_s / total_t) (x_t - c_t m)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Jump, Level
from diffsci.diffusion.covariance import Covariance, Diagonal
from diffsci.diffusion.exact.law import Law, over
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class DiagonalGaussian(Law):
    """Independent normal elements, of any shape.

    Args:
        mean: Of each element.
        variance: Of each element; 0 makes a point. The two broadcast against each other.
    """

    mean: Float[Tensor, "..."]
    variance: Float[Tensor, "..."]

    def __post_init__(self) -> None:
        least = float(self.variance.min())
        require(least >= 0, "variance", least, "0 or more in every element")

    def posterior_mean(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """E[x_0 | x_t]."""
        at = over(at, x_t)
        c = at.signal_scale
        return self.mean + c * self.variance / self._total(at) * (x_t - c * self.mean)

    def posterior_variance(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """Var[x_0 | x_t] of each element."""
        at = over(at, x_t)
        return (at.noise_std**2 * self.variance / self._total(at)).expand_as(x_t)

    def posterior(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> tuple[Float[Tensor, "batch *shape"], Covariance]:
        """E[x_0 | x_t] and Cov[x_0 | x_t]."""
        return self.posterior_mean(x_t, at), Diagonal(self.posterior_variance(x_t, at))

    def log_density(self, x_t: Float[Tensor, "batch *shape"], at: Level) -> Float[Tensor, " batch"]:
        """The logarithm of p(x_t)."""
        return self.log_densities(x_t, at).reshape(len(x_t), -1).sum(dim=1)

    def log_densities(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """The logarithm of each element's own density."""
        at = over(at, x_t)
        total = self._total(at)
        square = (x_t - at.signal_scale * self.mean) ** 2 / total
        return -(square + torch.log(2 * math.pi * total)) / 2

    def noisy(self, at: Level) -> DiagonalGaussian:
        """The law of x_t at one level, as a law of its own."""
        at = at.to(self.variance)
        return DiagonalGaussian(mean=at.signal_scale * self.mean, variance=self._total(at))

    def flow(self, x_t: Float[Tensor, "batch *shape"], jump: Jump) -> Float[Tensor, "batch *shape"]:
        """Where the probability flow takes x_t."""
        now, after = over(jump.now, x_t), over(jump.after, x_t)
        stretch = torch.sqrt(self._total(after) / self._total(now))
        return after.signal_scale * self.mean + stretch * (x_t - now.signal_scale * self.mean)

    def sample(self, unit_noise: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """Draws of x_0 from standard normal numbers."""
        return self.mean + torch.sqrt(self.variance) * unit_noise

    def minimum_loss(self, at: Level) -> Float[Tensor, ""]:
        """E|x_0 - E[x_0 | x_t]|^2 at one level, summed over the elements: no model is below it."""
        at = at.to(self.variance)
        each = at.noise_std**2 * self.variance / self._total(at)
        return (each + torch.zeros_like(self.mean)).sum()

    def _total(self, at: Level) -> Tensor:
        return at.signal_scale**2 * self.variance + at.noise_std**2

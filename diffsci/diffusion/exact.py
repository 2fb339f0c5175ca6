"""Exact denoisers: laws of data for which everything that a network estimates is known.

With x_t = c x_0 + d eps, x_0 ~ N(m, Sigma) and S = c^2 Sigma + d^2 I:

    E[x_0 | x_t]   = m + c Sigma S^-1 (x_t - c m)
    Cov[x_0 | x_t] = d^2 Sigma S^-1
    flow t -> s    = c_s m + S_s^(1/2) S_t^(-1/2) (x_t - c_t m)

and a mixture is the same per component, weighted by how likely each made x_t. Samplers are tested
against these, so that their error is theirs alone: `law.denoiser(schedule)` is a perfect model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Jump, Level, level
from diffsci.diffusion.samplers.base import Denoise, Sampler
from diffsci.diffusion.schedules.base import Schedule


class Law(ABC):
    """A law of data x_0 whose noisy copies are known in closed form."""

    @abstractmethod
    def posterior_mean(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """E[x_0 | x_t]."""

    @abstractmethod
    def log_density(self, x_t: Float[Tensor, "batch *shape"], at: Level) -> Float[Tensor, " batch"]:
        """The logarithm of p(x_t)."""

    def score(self, x_t: Float[Tensor, "batch *shape"], at: Level) -> Float[Tensor, "batch *shape"]:
        """The gradient of `log_density`, by Tweedie's formula."""
        shaped = at.over(x_t)
        return (shaped.signal_scale * self.posterior_mean(x_t, at) - x_t) / shaped.noise_std**2

    def denoiser(self, schedule: Schedule) -> Denoise:
        """The perfect model of this law, as samplers take it."""

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.posterior_mean(x_t, level(schedule, t))

        return denoise


@dataclass(frozen=True, kw_only=True)
class DiagonalGaussian(Law):
    """Independent normal elements, of any shape.

    Args:
        mean: Of each element.
        variance: Of each element; 0 makes a point.
    """

    mean: Float[Tensor, "*shape"]
    variance: Float[Tensor, "*shape"]

    def _total(self, at: Level) -> Tensor:
        return at.signal_scale**2 * self.variance + at.noise_std**2

    def posterior_mean(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """E[x_0 | x_t]."""
        at = at.over(x_t)
        c = at.signal_scale
        return self.mean + c * self.variance / self._total(at) * (x_t - c * self.mean)

    def posterior_variance(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """Var[x_0 | x_t] of each element."""
        at = at.over(x_t)
        return (at.noise_std**2 * self.variance / self._total(at)).expand_as(x_t)

    def log_density(self, x_t: Float[Tensor, "batch *shape"], at: Level) -> Float[Tensor, " batch"]:
        """The logarithm of p(x_t)."""
        return self.log_densities(x_t, at).flatten(1).sum(dim=1)

    def log_densities(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """The logarithm of each element's own density."""
        at = at.over(x_t)
        total = self._total(at)
        square = (x_t - at.signal_scale * self.mean) ** 2 / total
        return -(square + torch.log(2 * math.pi * total)) / 2

    def flow(self, x_t: Float[Tensor, "batch *shape"], jump: Jump) -> Float[Tensor, "batch *shape"]:
        """Where the probability flow takes x_t."""
        now, after = jump.now.over(x_t), jump.after.over(x_t)
        stretch = torch.sqrt(self._total(after) / self._total(now))
        return after.signal_scale * self.mean + stretch * (x_t - now.signal_scale * self.mean)


@dataclass(frozen=True, kw_only=True)
class Gaussian(Law):
    """Correlated normal vectors.

    Args:
        mean: Of the vector.
        covariance: Symmetric and positive semi-definite.
    """

    mean: Float[Tensor, " dim"]
    covariance: Float[Tensor, "dim dim"]

    @cached_property
    def _spectrum(self) -> tuple[DiagonalGaussian, Tensor]:
        # All covariances of the noisy copies share the eigenvectors: there they are diagonal.
        values, vectors = torch.linalg.eigh(self.covariance)
        return DiagonalGaussian(mean=self.mean @ vectors, variance=values.clamp(min=0)), vectors

    def posterior_mean(
        self, x_t: Float[Tensor, "batch dim"], at: Level
    ) -> Float[Tensor, "batch dim"]:
        """E[x_0 | x_t]."""
        rotated, vectors = self._spectrum
        return rotated.posterior_mean(x_t @ vectors, at) @ vectors.T

    def posterior_covariance(
        self, x_t: Float[Tensor, "batch dim"], at: Level
    ) -> Float[Tensor, "batch dim dim"]:
        """Cov[x_0 | x_t], the same for every x_t of a level."""
        rotated, vectors = self._spectrum
        values = rotated.posterior_variance(x_t, at)
        return vectors @ torch.diag_embed(values) @ vectors.T

    def log_density(self, x_t: Float[Tensor, "batch dim"], at: Level) -> Float[Tensor, " batch"]:
        """The logarithm of p(x_t)."""
        rotated, vectors = self._spectrum
        return rotated.log_density(x_t @ vectors, at)

    def flow(self, x_t: Float[Tensor, "batch dim"], jump: Jump) -> Float[Tensor, "batch dim"]:
        """Where the probability flow takes x_t."""
        rotated, vectors = self._spectrum
        return rotated.flow(x_t @ vectors, jump) @ vectors.T


@dataclass(frozen=True, kw_only=True)
class Mixture(Law):
    """A weighted sum of normal laws; with covariances of zero, the law of a list of points.

    Args:
        weights: Of the components, positive, with sum 1.
        means: Of the components.
        covariances: Of the components.
    """

    weights: Float[Tensor, " component"]
    means: Float[Tensor, "component dim"]
    covariances: Float[Tensor, "component dim dim"]

    @cached_property
    def _spectrum(self) -> tuple[DiagonalGaussian, Tensor]:
        values, vectors = torch.linalg.eigh(self.covariances)
        means = torch.einsum("ki,kij->kj", self.means, vectors)
        return DiagonalGaussian(mean=means, variance=values.clamp(min=0)), vectors

    def _rotate(self, x_t: Tensor) -> Tensor:
        return torch.einsum("bi,kij->bkj", x_t, self._spectrum[1])

    def _log_joint(self, x_t: Tensor, at: Level) -> Tensor:
        densities = self._spectrum[0].log_densities(self._rotate(x_t), at).sum(dim=-1)
        return torch.log(self.weights) + densities

    def _posterior(self, x_t: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        rotated, vectors = self._spectrum
        means = rotated.posterior_mean(self._rotate(x_t), at)
        shares = torch.softmax(self._log_joint(x_t, at), dim=-1)
        return shares, torch.einsum("bkj,kij->bki", means, vectors)

    def posterior_mean(
        self, x_t: Float[Tensor, "batch dim"], at: Level
    ) -> Float[Tensor, "batch dim"]:
        """E[x_0 | x_t]."""
        shares, means = self._posterior(x_t, at)
        return torch.einsum("bk,bki->bi", shares, means)

    def posterior_covariance(
        self, x_t: Float[Tensor, "batch dim"], at: Level
    ) -> Float[Tensor, "batch dim dim"]:
        """Cov[x_0 | x_t]: within the components, plus between their means."""
        shares, means = self._posterior(x_t, at)
        off = means - torch.einsum("bk,bki->bi", shares, means)[:, None]
        rotated, vectors = self._spectrum
        values = rotated.posterior_variance(self._rotate(x_t), at)
        within = vectors @ torch.diag_embed(values) @ vectors.mT
        return torch.einsum("bk,bkij->bij", shares, within + off[..., :, None] * off[..., None, :])

    def log_density(self, x_t: Float[Tensor, "batch dim"], at: Level) -> Float[Tensor, " batch"]:
        """The logarithm of p(x_t)."""
        return torch.logsumexp(self._log_joint(x_t, at), dim=-1)


def linear_output_law(
    sampler: Sampler,
    denoise: Denoise,
    schedule: Schedule,
    mean_1: Float[Tensor, " dim"],
    covariance_1: Float[Tensor, "dim dim"],
) -> tuple[Float[Tensor, " dim"], Float[Tensor, "dim dim"]]:
    """Exact mean and covariance of a sampler's output, steps and all, for an affine denoiser.

    On Gaussian data a sampler is an affine map of its start and of its draws. We read the map off
    by sending in zeros and unit vectors, so the sampler's own code is what is measured.

    Args:
        sampler: Affine where `denoise` is: every sampler whose steps do not depend on x.
        denoise: Affine in x_t, as `Gaussian.denoiser`.
        schedule: The noise at each level.
        mean_1: Mean of x_1.
        covariance_1: Covariance of x_1.
    """
    dim = len(mean_1)
    unit = torch.eye(dim).to(mean_1)
    draws: list[int] = []

    def silent(like: Tensor, index: int) -> Tensor:
        draws.append(index)
        return torch.zeros_like(like)

    probes = torch.cat([torch.zeros_like(unit[:1]), unit])
    ends = sampler(denoise, schedule, probes, silent)
    constant, start = ends[:1], ends[1:] - ends[:1]
    mean = constant[0] + mean_1 @ start
    covariance = start.T @ covariance_1 @ start
    if not draws:
        return mean, covariance

    def impulses(like: Tensor, index: int) -> Tensor:
        first = draws.index(index) * dim
        noise = torch.zeros_like(like)
        noise[first : first + dim] = unit
        return noise

    response = sampler(denoise, schedule, torch.zeros_like(unit).repeat(len(draws), 1), impulses)
    response = response - constant
    return mean, covariance + response.T @ response

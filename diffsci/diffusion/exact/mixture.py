"""Mixtures of normal laws: data with several regimes, where nothing is linear.

The component k made x_t with the share w_k, proportional to weight_k N(x_t; c m_k, S_k):

    E[x_0 | x_t]   = sum_k w_k D_k
    Cov[x_0 | x_t] = sum_k w_k (C_k + (D_k - D) (D_k - D)^T)

with the D_k and C_k of each component's own Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level
from diffsci.diffusion.covariance import Covariance, Dense
from diffsci.diffusion.exact.diagonal import DiagonalGaussian
from diffsci.diffusion.exact.gaussian import check_covariance
from diffsci.diffusion.exact.law import Law
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Mixture(Law):
    """A weighted sum of normal laws; with covariances of zero, the law of a list of points.

    Args:
        weights: Of the components, not negative, with sum 1.
        means: Of the components.
        covariances: Of the components.
    """

    weights: Float[Tensor, " component"]
    means: Float[Tensor, "component dim"]
    covariances: Float[Tensor, "component dim dim"]

    def __post_init__(self) -> None:
        least, total = float(self.weights.min()), float(self.weights.sum())
        require(least >= 0, "weights", least, "0 or more")
        require(abs(total - 1) < 1e-5, "weights", f"a sum of {total:.6g}", "a sum of 1")
        check_covariance("covariances", self.covariances)
        # Now, since a cache that is filled while sampling would be out of autograd's reach.
        _ = self._spectrum

    @cached_property
    def _spectrum(self) -> tuple[DiagonalGaussian, Tensor]:
        values, vectors = torch.linalg.eigh(self.covariances)
        means = torch.einsum("ki,kij->kj", self.means, vectors)
        return DiagonalGaussian(mean=means, variance=values.clamp(min=0)), vectors

    def posterior_mean(
        self, x_t: Float[Tensor, "batch dim"], at: Level
    ) -> Float[Tensor, "batch dim"]:
        """E[x_0 | x_t]."""
        shares, means = self._components(x_t, at)
        return torch.einsum("bk,bki->bi", shares, means)

    def posterior_covariance(
        self, x_t: Float[Tensor, "batch dim"], at: Level
    ) -> Float[Tensor, "batch dim dim"]:
        """Cov[x_0 | x_t] as matrices: within the components, plus between their means."""
        shares, means = self._components(x_t, at)
        off = means - torch.einsum("bk,bki->bi", shares, means)[:, None]
        rotated, vectors = self._spectrum
        values = rotated.posterior_variance(self._rotate(x_t), at)
        within = vectors @ torch.diag_embed(values) @ vectors.mT
        return torch.einsum("bk,bkij->bij", shares, within + off[..., :, None] * off[..., None, :])

    def posterior(
        self, x_t: Float[Tensor, "batch dim"], at: Level
    ) -> tuple[Float[Tensor, "batch dim"], Covariance]:
        """E[x_0 | x_t] and Cov[x_0 | x_t]."""
        return self.posterior_mean(x_t, at), Dense(self.posterior_covariance(x_t, at))

    def log_density(self, x_t: Float[Tensor, "batch dim"], at: Level) -> Float[Tensor, " batch"]:
        """The logarithm of p(x_t)."""
        return torch.logsumexp(self._log_joint(x_t, at), dim=-1)

    def noisy(self, at: Level) -> Mixture:
        """The law of x_t at one level, as a law of its own."""
        at = at.to(self.means)
        white = torch.eye(self.means.shape[1]).to(self.means)
        return Mixture(
            weights=self.weights,
            means=at.signal_scale * self.means,
            covariances=at.signal_scale**2 * self.covariances + at.noise_std**2 * white,
        )

    def sample(
        self, unit_noise: Float[Tensor, "batch dim"], uniform: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Draws of x_0.

        Args:
            unit_noise: Standard normal.
            uniform: On [0, 1]: which component each draw comes from.
        """
        edges = torch.cumsum(self.weights, dim=0)[:-1].contiguous()
        component = torch.searchsorted(edges, uniform, right=True)
        independent, vectors = self._spectrum
        chosen = vectors[component]
        drawn = torch.einsum("bij,bi->bj", chosen, unit_noise)
        scaled = torch.sqrt(independent.variance)[component] * drawn
        return self.means[component] + torch.einsum("bij,bj->bi", chosen, scaled)

    def _rotate(self, x_t: Tensor) -> Tensor:
        return torch.einsum("bi,kij->bkj", x_t, self._spectrum[1])

    def _log_joint(self, x_t: Tensor, at: Level) -> Tensor:
        densities = self._spectrum[0].log_densities(self._rotate(x_t), at).sum(dim=-1)
        return torch.log(self.weights) + densities

    def _components(self, x_t: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        rotated, vectors = self._spectrum
        means = rotated.posterior_mean(self._rotate(x_t), at)
        shares = torch.softmax(self._log_joint(x_t, at), dim=-1)
        return shares, torch.einsum("bkj,kij->bki", means, vectors)

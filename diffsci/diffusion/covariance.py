"""The posterior covariance Cov[x_0 | x_t]: what the exact reverse variance is made of.

One step of ancestral sampling draws x_s from a normal law of covariance v I + a^2 Cov[x_0 | x_t].
A denoiser that knows its covariance says so (`WithCovariance`): an exact law, or a trained model
with the table of `variance.py`. For any other one we take the second Tweedie identity, true for
all data,

    Cov[x_0 | x_t] = (d^2 / c) dE[x_0 | x_t] / dx_t,

row by row from the one call's own graph, which is for small problems.

Source: Bao et al. (2022), Analytic-DPM, arXiv:2201.06503; Efron (2011), Tweedie's formula and
selection bias, doi:10.1198/jasa.2011.tm11181.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level
from diffsci.diffusion.basis import Basis
from diffsci.errors import ConfigError

LARGEST = 256
"""Most numbers of an example whose Jacobian is taken."""


class Covariance(ABC):
    """A covariance for each example of a batch."""

    @abstractmethod
    def draw(
        self, unit_noise: Float[Tensor, "batch *shape"], floor: Tensor, scale: Tensor
    ) -> Float[Tensor, "batch *shape"]:
        """A draw of N(0, floor^2 I + scale^2 C) from standard normal numbers.

        Args:
            unit_noise: Standard normal.
            floor: Standard deviation of the part that is white, 0-dimensional.
            scale: Multiplier of C's square root, 0-dimensional.
        """


class WithCovariance(ABC):
    """A denoiser that knows the covariance of its estimate."""

    @abstractmethod
    def __call__(self, x_t: Float[Tensor, "batch *shape"], t: Tensor) -> Tensor:
        """E[x_0 | x_t]."""

    @abstractmethod
    def with_covariance(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> tuple[Tensor, Covariance]:
        """E[x_0 | x_t] and Cov[x_0 | x_t], by one call."""


@dataclass(frozen=True)
class Diagonal(Covariance):
    """Independent elements.

    Args:
        variance: Of each, broadcasting against the field.
    """

    variance: Float[Tensor, "..."]

    def draw(
        self, unit_noise: Float[Tensor, "batch *shape"], floor: Tensor, scale: Tensor
    ) -> Float[Tensor, "batch *shape"]:
        """A draw, element by element."""
        return torch.sqrt(floor**2 + scale**2 * self.variance) * unit_noise


@dataclass(frozen=True)
class Dense(Covariance):
    """A matrix for each example, of its flattened elements; eigenvalues below 0 count as 0."""

    matrix: Float[Tensor, "batch dim dim"]

    def draw(
        self, unit_noise: Float[Tensor, "batch *shape"], floor: Tensor, scale: Tensor
    ) -> Float[Tensor, "batch *shape"]:
        """A draw by the symmetric square root."""
        # What is not finite is told by the sampler, with its step and example; eigh would raise.
        finite = torch.isfinite(self.matrix).all(dim=-1).all(dim=-1)
        values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], self.matrix, 0))
        root = torch.sqrt(floor**2 + scale**2 * values.clamp(min=0)).to(vectors)
        flat = unit_noise.reshape(len(unit_noise), -1)
        drawn: Tensor = vectors @ (root * (vectors.mT @ flat[..., None]).squeeze(-1))[..., None]
        return drawn.reshape(unit_noise.shape)


@dataclass(frozen=True)
class InWaves(Covariance):
    """Independent waves of a basis.

    Args:
        basis: Of the last dims of the fields.
        variance: Of each wave, broadcasting against the field's coefficients.
    """

    basis: Basis
    variance: Float[Tensor, "..."]

    def draw(
        self, unit_noise: Float[Tensor, "batch *shape"], floor: Tensor, scale: Tensor
    ) -> Float[Tensor, "batch *shape"]:
        """A draw by the symmetric square root, so that it resembles the noise it is made of."""
        waves = self.basis.forward(unit_noise)
        root = torch.sqrt(floor**2 + scale**2 * self.variance).to(waves)
        return self.basis.inverse(root * waves)


def with_covariance(
    denoise: object, x_t: Float[Tensor, "batch *shape"], at: Level
) -> tuple[Tensor, Covariance]:
    """E[x_0 | x_t] and Cov[x_0 | x_t] of any denoiser, by one call.

    Args:
        denoise: One that knows its covariance, or one whose examples do not see each other and
            which autograd can follow.
        x_t: Noisy fields.
        at: Their level.

    Raises:
        ConfigError: When the covariance cannot be had.
    """
    if isinstance(denoise, WithCovariance):
        known: tuple[Tensor, Covariance] = denoise.with_covariance(x_t, at)
        return known
    assert callable(denoise)
    dim = math.prod(x_t.shape[1:])
    if dim > LARGEST:
        raise ConfigError(
            f"variance: exact: an example has {dim} numbers, and the denoiser does not know its "
            f"posterior variance; it is taken from the Jacobian up to {LARGEST} numbers only: give "
            "`variance.Calibrated(denoise, table)` with a table from `variance.estimate`"
        )
    mean, jacobian = _jacobian(denoise, x_t, at)
    factor = (at.noise_std**2 / at.signal_scale).to(jacobian)
    # Symmetric for an exact denoiser; for a learned one only nearly.
    return mean, Dense(factor * (jacobian + jacobian.mT) / 2)


def _jacobian(
    denoise: object, x_t: Float[Tensor, "batch *shape"], at: Level
) -> tuple[Tensor, Float[Tensor, "batch dim dim"]]:
    assert callable(denoise)
    # Also inside `inference_mode` or `no_grad`, where sampling usually is.
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        mean = denoise(x, at.t.clone())
        if mean.shape != x.shape:
            found, wanted = list(mean.shape), list(x.shape)
            raise ConfigError(f"denoise: its estimate has shape {found}, x_t has {wanted}")
        if not mean.requires_grad:
            raise ConfigError(
                "variance: exact: the denoiser's estimate carries no gradient to x_t, so its "
                "Jacobian cannot be taken: write it in torch, without detach or no_grad; a guided "
                "denoiser has none: take variance: small"
            )
        columns = mean.reshape(len(mean), -1)
        rows = [
            torch.autograd.grad(columns[:, i].sum(), x, retain_graph=True)[0].reshape(len(x), -1)
            for i in range(columns.shape[1])
        ]
    return mean.detach(), torch.stack(rows, dim=1).detach()

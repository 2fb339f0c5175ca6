"""Correlated normal vectors.

With S = c^2 Sigma + d^2 I:

    E[x_0 | x_t]   = m + c Sigma S^-1 (x_t - c m)
    Cov[x_0 | x_t] = d^2 Sigma S^-1
    flow t -> s    = c_s m + S_s^(1/2) S_t^(-1/2) (x_t - c_t m)

All of these matrices share the eigenvectors of Sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level
from diffsci.diffusion.covariance import Dense
from diffsci.diffusion.exact.diagonal import DiagonalGaussian
from diffsci.diffusion.exact.turned import TurnedGaussian
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Gaussian(TurnedGaussian):
    """Correlated normal vectors.

    Args:
        mean: Of the vector; or one for each example of a batch, as in a forecast.
        covariance: Symmetric and positive semi-definite.
    """

    mean: Float[Tensor, "*batch dim"]
    covariance: Float[Tensor, "dim dim"]

    def __post_init__(self) -> None:
        check_covariance("covariance", self.covariance)
        # Now, since a cache that is filled while sampling would be out of autograd's reach.
        _ = self._spectrum

    @cached_property
    def _spectrum(self) -> tuple[DiagonalGaussian, Tensor]:
        values, vectors = torch.linalg.eigh(self.covariance)
        return DiagonalGaussian(mean=self.mean @ vectors, variance=values.clamp(min=0)), vectors

    @property
    def independent(self) -> DiagonalGaussian:
        """The law of the coordinates along the eigenvectors."""
        return self._spectrum[0]

    def forward(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """The coordinates of x along the eigenvectors."""
        return x @ self._spectrum[1]

    def inverse(self, coordinates: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """The x with these coordinates."""
        return coordinates @ self._spectrum[1].mT

    def covariance_of(self, variance: Float[Tensor, "batch dim"]) -> Dense:
        """The covariance of x whose coordinates have this variance."""
        vectors = self._spectrum[1]
        return Dense(vectors @ torch.diag_embed(variance) @ vectors.mT)

    def posterior_covariance(
        self, x_t: Float[Tensor, "batch dim"], at: Level
    ) -> Float[Tensor, "batch dim dim"]:
        """Cov[x_0 | x_t] as matrices, the same for every x_t of a level."""
        return self.covariance_of(self.independent.posterior_variance(x_t, at)).matrix

    def noisy(self, at: Level) -> Gaussian:
        """The law of x_t at one level, as a law of its own."""
        at = at.to(self.covariance)
        white = torch.eye(len(self.covariance)).to(self.covariance)
        return Gaussian(
            mean=at.signal_scale * self.mean,
            covariance=at.signal_scale**2 * self.covariance + at.noise_std**2 * white,
        )


def check_covariance(name: str, matrices: Float[Tensor, "*batch dim dim"]) -> None:
    """Refuse matrices that are no covariance, but for rounding.

    Raises:
        FieldError: Naming the field.
    """
    rounding = 100 * torch.finfo(matrices.dtype).eps * float(matrices.abs().amax())
    skew = float((matrices - matrices.mT).abs().amax())
    require(skew <= rounding, name, f"an asymmetry of {skew:.3g}", "a symmetric matrix")
    least = float(torch.linalg.eigvalsh(matrices).amin())
    require(least >= -rounding * matrices.shape[-1], name, f"an eigenvalue {least:.3g}", "none < 0")

"""Stationary random fields on a box: independent in waves, so 512 x 512 cells are no matrix.

The covariance of two cells depends on what lies between them alone, and is then diagonal in the
orthonormal waves of `Basis`, with the spectrum on the diagonal. Along dims that are not periodic
the waves are cosines, and the field is stationary but for the mirrors at its edges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.covariance import InWaves
from diffsci.diffusion.exact.diagonal import DiagonalGaussian
from diffsci.diffusion.exact.turned import TurnedGaussian
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class StationaryField(TurnedGaussian):
    """Normal fields with a spectrum; channels are independent of each other.

    Args:
        basis: The waves of the box.
        variance: Of each wave's coefficient. Its mean over the waves is the mean variance of a
            cell, since the waves are orthonormal.
        mean: Of each cell; none for 0.
    """

    basis: Basis
    variance: Float[Tensor, "channel *space"]
    mean: Float[Tensor, "channel *space"] | None = None

    def __post_init__(self) -> None:
        sizes = tuple(self.variance.shape[1:])
        require(sizes == self.basis.sizes, "variance", sizes, f"waves of a box {self.basis.sizes}")
        # Now, since a cache that is filled while sampling would be out of autograd's reach.
        _ = self.independent

    @classmethod
    def by_band(
        cls,
        basis: Basis,
        spectrum: Float[Tensor, "channel band"],
        mean: Float[Tensor, "channel *space"] | None = None,
    ) -> StationaryField:
        """An isotropic field, from the variance of the waves of each band.

        Args:
            basis: The waves of the box.
            spectrum: Variance of one wave, not the sum over the band's.
            mean: Of each cell; none for 0.
        """
        bands = spectrum.shape[1]
        require(bands == basis.bands, "spectrum", bands, f"{basis.bands} bands of this box")
        return cls(basis=basis, variance=basis.by_band(spectrum), mean=mean)

    @cached_property
    def independent(self) -> DiagonalGaussian:
        """The law of the waves' coefficients."""
        mean = torch.zeros_like(self.variance) if self.mean is None else self.forward(self.mean)
        return DiagonalGaussian(mean=mean, variance=self.variance)

    def forward(self, x: Float[Tensor, "*batch_and_space"]) -> Float[Tensor, "*batch_and_space"]:
        """The coefficients of the waves."""
        return self.basis.forward(x)

    def inverse(
        self, coordinates: Float[Tensor, "*batch_and_space"]
    ) -> Float[Tensor, "*batch_and_space"]:
        """The field of these coefficients."""
        return self.basis.inverse(coordinates)

    def covariance_of(self, variance: Float[Tensor, "batch *shape"]) -> InWaves:
        """The covariance of fields whose waves have this variance."""
        return InWaves(self.basis, variance)

    def noisy(self, at: Level) -> StationaryField:
        """The law of x_t at one level, as a law of its own."""
        c = at.to(self.variance).signal_scale
        mean = None if self.mean is None else c * self.mean
        return replace(self, variance=self.independent.noisy(at).variance, mean=mean)

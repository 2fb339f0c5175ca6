"""Variance-exploding levels: x_t = x_0 + sigma(t) eps, a power law in t.

sigma(t)^(1/rho) is linear in t, so that levels uniform in t are the spacing of Karras et al.:
most of them at low noise, where fine scales are decided.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules._ends import check_ends
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class EDM(Schedule):
    """Variance-exploding: signal scale 1, noise from sigma_min to sigma_max by a power law.

    Args:
        sigma_min: Noise at t = 0, in standard deviations of the data; well below the finest
            scale's.
        sigma_max: Noise at t = 1, in standard deviations of the data.
        rho: Exponent; larger values spend more of t at low noise.

    Source:
        Karras et al. (2022), Elucidating the Design Space of Diffusion-Based Generative Models,
        arXiv:2206.00364.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        check_ends(self.sigma_min, self.sigma_max)
        require(1 <= self.rho <= 100, "rho", self.rho, "1 to 100")

    def scales(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(1, sigma(t))`."""
        low, high = self._roots
        return torch.ones_like(t), (low + t * (high - low)) ** self.rho

    def level_of(self, noise_to_signal: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The t at which sigma(t) has the given value, clipped to [0, 1]."""
        low, high = self._roots
        inside = noise_to_signal.clamp(self.sigma_min, self.sigma_max)
        return ((inside ** (1 / self.rho) - low) / (high - low)).clamp(0, 1)

    @property
    def _roots(self) -> tuple[float, float]:
        return self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)

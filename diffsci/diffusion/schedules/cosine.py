"""Variance-preserving levels on a circle: signal_scale = cos(angle), noise_std = sin(angle).

noise_std / signal_scale is the tangent; the angle is linear in t between those whose tangents are
sigma_min and sigma_max, which clips the arc at both ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules._ends import check_ends
from diffsci.diffusion.schedules.base import Schedule


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Variance-preserving: a quarter circle from signal to noise, clipped at both ends.

    Args:
        sigma_min: noise_std / signal_scale at t = 0.
        sigma_max: noise_std / signal_scale at t = 1.

    Source:
        Nichol and Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models,
        arXiv:2102.09672, without its offset.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        check_ends(self.sigma_min, self.sigma_max)

    def scales(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(signal_scale, noise_std)`."""
        low, high = math.atan(self.sigma_min), math.atan(self.sigma_max)
        # The cosine as the sine of the rest of the quarter circle: cos(angle) near pi/2 would lose
        # digits in float32.
        rest = math.atan(1 / self.sigma_max) + (1 - t) * (high - low)
        return torch.sin(rest), torch.sin(low + t * (high - low))

    def level_of(self, noise_to_signal: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The t at which noise_std / signal_scale has the given value, clipped to [0, 1]."""
        low, high = math.atan(self.sigma_min), math.atan(self.sigma_max)
        inside = noise_to_signal.clamp(self.sigma_min, self.sigma_max)
        return ((torch.atan(inside) - low) / (high - low)).clamp(0, 1)

"""The squared error of the noise, weighed less where only imperceptible detail is left to learn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class P2(ByLevel):
    """Perception prioritised: weight SNR / (1 + SNR)^gamma at levels uniform in t.

    Args:
        gamma: 0 is `simplified`; 1, for variance-preserving schedules, weighs by the variance of
            the signal in x_t. The source takes 0.5 and 1.

    Source:
        Choi et al. (2022), Perception Prioritized Training of Diffusion Models, arXiv:2204.00227,
        with its k = 1.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        require(0 <= self.gamma < math.inf, "gamma", self.gamma, "a finite number, 0 or more")

    def levels(
        self, uniform: Float[Tensor, " batch"], schedule: Schedule
    ) -> Float[Tensor, " batch"]:
        """Uniform in [0, 1]."""
        return uniform

    def density(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """1 everywhere."""
        return torch.ones_like(t)

    def weight(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """SNR / (1 + SNR)^gamma."""
        snr = level(schedule, t).snr
        return snr / (1 + snr) ** self.gamma

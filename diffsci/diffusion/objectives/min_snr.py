"""The squared error of x_0, weighed less where the noise is large: a truce between the levels.

Levels of little noise ask for fine detail, those of much noise for the whole, and gradients of the
two conflict. Weights SNR favour the first without bound; cut at gamma they are those of x_0 itself.
"""

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
class MinSNR(ByLevel):
    """Mean squared error of the noise, bounded at low noise: weight min(SNR, gamma), uniform t.

    Args:
        gamma: Largest weight of the squared error of x_0.

    Source:
        Hang et al. (2023), Efficient Diffusion Training via Min-SNR Weighting Strategy,
        arXiv:2303.09556.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        require(0 < self.gamma < math.inf, "gamma", self.gamma, "a finite number above 0")

    def levels(
        self, uniform: Float[Tensor, " batch"], schedule: Schedule
    ) -> Float[Tensor, " batch"]:
        """Uniform in [0, 1]."""
        return uniform

    def density(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """1 everywhere."""
        return torch.ones_like(t)

    def weight(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """The signal-to-noise ratio, at most gamma."""
        return level(schedule, t).snr.clamp(max=self.gamma)

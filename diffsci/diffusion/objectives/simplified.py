"""Step 5's losses with all weights set to 1 on the noise: E |eps - eps_hat|^2, over uniform t."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.diffusion.schedules.base import Schedule


@dataclass(frozen=True, kw_only=True)
class Simplified(ByLevel):
    """Mean squared error of the noise at levels uniform in t: weight SNR.

    Source: Ho et al. (2020), Denoising Diffusion Probabilistic Models, arXiv:2006.11239.
    """

    def levels(
        self, uniform: Float[Tensor, " batch"], schedule: Schedule
    ) -> Float[Tensor, " batch"]:
        """Uniform in [0, 1]."""
        return uniform

    def density(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """1 everywhere."""
        return torch.ones_like(t)

    def weight(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """The signal-to-noise ratio."""
        return level(schedule, t).snr

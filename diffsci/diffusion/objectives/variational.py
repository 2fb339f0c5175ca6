"""The likelihood of the augmented data, in the limit of many steps.

With the exact conditional variance v as the variance of a step, its weight is
a^2 / (2 v) = (SNR_s - SNR_t) / 2; summed over ever smaller steps this is an integral over t of
-(1/2) dSNR/dt |x_0 - x_0_hat|^2. In expectation it does not depend on how t is spread over the SNR.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.objectives._slope import log_sigma_slope
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.diffusion.schedules.base import Schedule


@dataclass(frozen=True, kw_only=True)
class Variational(ByLevel):
    """Log-likelihood of the augmented data: weight -(1/2) dSNR/dt at levels uniform in t.

    Source: Kingma et al. (2021), Variational Diffusion Models, arXiv:2107.00630, eq. 17.
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
        """-(1/2) dSNR/dt, as SNR d log(noise_to_signal)/dt."""
        return level(schedule, t).snr * log_sigma_slope(t, schedule)

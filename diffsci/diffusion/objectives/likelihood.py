"""Gaussian regression with its variance learned: step 5 with the right s_t^2, and no second pass.

The law of x_0 given x_t is taken as normal around the estimate, with a variance for each level and
channel, pixel or wavenumber. Its optimum is the posterior variance E |x_0 - E[x_0 | x_t]|^2, mean
over the data, which is what the exact reverse variance v + a^2 Var[x_0 | x_t] of a step needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.objectives import _log_normal
from diffsci.diffusion.objectives._learned import LearnedVariance
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import require
from diffsci.grid import Grid

Split = Literal["channel", "pixel", "wavenumber"]


@dataclass(frozen=True, kw_only=True)
class Likelihood(ByLevel):
    """Gaussian log-likelihood of v with learned variance per channel, pixel or wavenumber.

    Args:
        per: What has a variance of its own at each level: each `channel`; each `pixel` of it; or
            each band of its `wavenumber`, the one to take for stationary fields.
        p_mean: Mean of log(noise_std / signal_scale).
        p_std: Standard deviation of log(noise_std / signal_scale).

    Source:
        Nichol and Dhariwal (2021), arXiv:2102.09672, learn variances; that the optimum is the
        posterior variance is Bao et al. (2022), arXiv:2201.06503.
    """

    per: Split = "channel"
    p_mean: float = -1.2
    p_std: float = 1.2

    def __post_init__(self) -> None:
        require(self.per in get_args(Split), "per", self.per, f"one of {get_args(Split)}")
        _log_normal.check(self.p_mean, self.p_std)

    def levels(
        self, uniform: Float[Tensor, " batch"], schedule: Schedule
    ) -> Float[Tensor, " batch"]:
        """Log-normal in noise_std / signal_scale, clipped to the schedule's ends."""
        return _log_normal.levels(uniform, schedule, self.p_mean, self.p_std)

    def density(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """Log-normal inside the schedule; what is clipped lies at its ends, beside the density."""
        return _log_normal.density(t, schedule, self.p_mean, self.p_std)

    def weight(self, t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
        """The signal-to-noise ratio plus 1, before the division by exp(u)."""
        return level(schedule, t).snr + 1

    def learned(self, channels: int, grid: Grid) -> LearnedVariance | None:
        """A variance for each level and each channel, pixel or band of waves."""
        return LearnedVariance(self.per, channels, grid)

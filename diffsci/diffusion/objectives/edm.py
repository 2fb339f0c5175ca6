"""Levels where there is something to learn: log-normal around the scale of the data.

The weight SNR + 1 makes the loss a plain mean squared error of v (see parameterisation.py), of unit
size at every level for an untrained network that puts out zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.objectives import _log_normal
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.diffusion.schedules.base import Schedule


@dataclass(frozen=True, kw_only=True)
class EDM(ByLevel):
    """Mean squared error of v at log-normal noise-to-signal ratios: weight SNR + 1.

    Args:
        p_mean: Mean of log(noise_std / signal_scale).
        p_std: Standard deviation of log(noise_std / signal_scale).

    Source:
        Karras et al. (2022), arXiv:2206.00364, table 1, for data of unit variance.
    """

    p_mean: float = -1.2
    p_std: float = 1.2

    def __post_init__(self) -> None:
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
        """The signal-to-noise ratio plus 1."""
        return level(schedule, t).snr + 1

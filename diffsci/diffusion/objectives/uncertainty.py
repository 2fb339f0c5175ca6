"""A loss that counts equally at every level, by dividing it through its own learned mean.

Training is multi-task: each level's error has another size, and the large ones drown the others.
With e^2 exp(-u) + u the optimal exp(u) is the mean error of the level, so what is left to the
network is the relative error. The minimum over the network is that of `edm` at each level; how much
each level pulls, and with it the effective density, is learned.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.objectives import _log_normal
from diffsci.diffusion.objectives._learned import LearnedVariance
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.diffusion.schedules.base import Schedule
from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Uncertainty(ByLevel):
    """Mean squared error of v, each level divided by its learned mean: e^2 exp(-u) + u.

    Args:
        p_mean: Mean of log(noise_std / signal_scale).
        p_std: Standard deviation of log(noise_std / signal_scale).

    Source:
        Karras et al. (2024), Analyzing and Improving the Training Dynamics of Diffusion Models
        (EDM2), arXiv:2312.02696. For latents they take p_mean -0.4 and p_std 1.
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
        """The signal-to-noise ratio plus 1, before the division by exp(u)."""
        return level(schedule, t).snr + 1

    def learned(self, channels: int, grid: Grid) -> LearnedVariance | None:
        """One variance for each level."""
        return LearnedVariance("level", channels, grid)

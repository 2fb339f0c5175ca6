"""Straight lines from data to noise: x_t = (1 - u) x_0 + u eps.

The velocity along a line, eps - x_0, is constant: it is `predict: flow`. The lines are clipped
where noise_std / signal_scale = u / (1 - u) is sigma_min and sigma_max, since at their very ends
there is no noise, or no signal, and nothing to divide by.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules._ends import check_ends
from diffsci.diffusion.schedules.base import Schedule


@dataclass(frozen=True, kw_only=True)
class Rectified(Schedule):
    """Flow matching: straight lines from signal to noise, clipped at both ends.

    Args:
        sigma_min: noise_std / signal_scale at t = 0.
        sigma_max: noise_std / signal_scale at t = 1.

    Source:
        Liu et al. (2023), Flow Straight and Fast: Learning to Generate and Transfer Data with
        Rectified Flow, arXiv:2209.03003; Lipman et al. (2023), Flow Matching for Generative
        Modeling, arXiv:2210.02747.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        check_ends(self.sigma_min, self.sigma_max)

    def scales(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(1 - u, u)`."""
        low, length = self._line
        # Not 1 minus u, which would lose digits near the noisy end.
        signal = 1 / (1 + self.sigma_max) + (1 - t) * length
        return signal, low + t * length

    def level_of(self, noise_to_signal: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The t at which noise_std / signal_scale has the given value, clipped to [0, 1]."""
        low, length = self._line
        inside = noise_to_signal.clamp(self.sigma_min, self.sigma_max)
        return ((inside / (1 + inside) - low) / length).clamp(0, 1)

    @property
    def _line(self) -> tuple[float, float]:
        """Where u starts, and how far it goes."""
        low = self.sigma_min / (1 + self.sigma_min)
        return low, self.sigma_max / (1 + self.sigma_max) - low

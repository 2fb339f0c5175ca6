"""Variance-preserving levels in continuous time: DDPM's linear betas in ever more steps.

With beta(u) = beta_min + u (beta_max - beta_min) and B(u) its integral from 0 to u,
signal_scale^2 = exp(-B) and noise_std^2 = 1 - exp(-B). The path starts at the u_0 > 0 where
noise_std / signal_scale is sigma_min, so that no level is without noise: u = u_0 + t (1 - u_0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules._ends import check_betas, check_start
from diffsci.diffusion.schedules.base import Schedule


@dataclass(frozen=True, kw_only=True)
class VP(Schedule):
    """Variance-preserving: a rate of noising that rises linearly, in continuous time.

    Args:
        beta_min: Rate of noising at the clean end (1000 times DDPM's first beta).
        beta_max: Rate of noising at the noisy end (1000 times DDPM's last beta).
        sigma_min: noise_std / signal_scale at t = 0.

    Source:
        Song et al. (2021), Score-Based Generative Modeling through Stochastic Differential
        Equations, arXiv:2011.13456, appendix B.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    sigma_min: float = 0.002

    def __post_init__(self) -> None:
        check_betas(self.beta_min, self.beta_max)
        check_start(self.sigma_min, self._sigma_max)

    def scales(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(signal_scale, noise_std)`; expm1 keeps small noise exact."""
        start = self._start
        u = start + t * (1 - start)
        integral = u * (self.beta_min + u * (self.beta_max - self.beta_min) / 2)
        return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))

    def level_of(self, noise_to_signal: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The t at which noise_std / signal_scale has the given value, clipped to [0, 1]."""
        inside = noise_to_signal.clamp(self.sigma_min, self._sigma_max)
        integral = torch.log1p(inside**2)
        # The positive root of slope u^2 / 2 + beta_min u = integral, in its form without
        # cancellation.
        slope = self.beta_max - self.beta_min
        u = 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))
        return ((u - self._start) / (1 - self._start)).clamp(0, 1)

    @property
    def _start(self) -> float:
        integral = math.log1p(self.sigma_min**2)
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + math.sqrt(self.beta_min**2 + 2 * slope * integral))

    @property
    def _sigma_max(self) -> float:
        return math.sqrt(math.expm1((self.beta_min + self.beta_max) / 2))

"""Variance-preserving levels along a piece of the logistic curve.

With S the logistic function and z running linearly from z_0 = start / tau to z_1 = end / tau,

    signal_scale^2 = (S(z_1) - S(z)) / (S(z_1) - S(z_0)),    noise_std^2 = 1 - signal_scale^2.

Differences of S cancel near both ends, so we write them as products, by
S(b) - S(a) = sinh((b - a) / 2) / (2 cosh(a / 2) cosh(b / 2)). With z = z_0 + u (z_1 - z_0) and
h = (z_1 - z_0) / 2,

    (noise_std / signal_scale)^2 = ratio sinh(u h) / sinh((1 - u) h),
    ratio = cosh(z_1 / 2) / cosh(z_0 / 2).

u runs between the values where noise_std / signal_scale is sigma_min and sigma_max.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules._ends import check_ends
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Schedule):
    """Variance-preserving: signal variance along a logistic curve, clipped at both ends.

    Args:
        start: Where the curve is entered, at the clean end.
        end: Where it is left, at the noisy end.
        tau: Temperature: smaller values make the curve steeper in its middle.
        sigma_min: noise_std / signal_scale at t = 0.
        sigma_max: noise_std / signal_scale at t = 1.

    Source:
        Jabri et al. (2023), Scalable Adaptive Computation for Iterative Generation,
        arXiv:2212.11972; Chen (2023), On the Importance of Noise Scheduling for Diffusion Models,
        arXiv:2301.10972, algorithm 1.
    """

    start: float = -3.0
    end: float = 3.0
    tau: float = 1.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        check_ends(self.sigma_min, self.sigma_max)
        require(0 < self.tau < math.inf, "tau", self.tau, "a finite number above 0")
        # Beyond 40 the curve is flat to 1e-17.
        require(abs(self.start) <= 40 * self.tau, "start", self.start, "at most 40 tau from 0")
        expected = f"more than start = {self.start}, at most 40 tau from 0"
        require(self.start < self.end <= 40 * self.tau, "end", self.end, expected)

    def scales(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(signal_scale, noise_std)`."""
        (low, rest), half = self._clipped, self._half
        u, left = low + t * (1 - low - rest), rest + (1 - t) * (1 - low - rest)
        z = self.start / self.tau + u * 2 * half
        below = math.sinh(half) * torch.cosh(z / 2)
        signal = math.cosh(self.start / self.tau / 2) * torch.sinh(left * half) / below
        noise = math.cosh(self.end / self.tau / 2) * torch.sinh(u * half) / below
        return torch.sqrt(signal), torch.sqrt(noise)

    def level_of(self, noise_to_signal: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The t at which noise_std / signal_scale has the given value, clipped to [0, 1]."""
        (low, rest), half = self._clipped, self._half
        inside = noise_to_signal.clamp(self.sigma_min, self.sigma_max)
        q = inside**2 / self._ratio
        # sinh(u h) = q sinh((1 - u) h) solved for u, with a sum of positive numbers alone.
        u = torch.log1p(2 * math.sinh(half) * q / (1 + q * math.exp(-half))) / (2 * half)
        return ((u - low) / (1 - low - rest)).clamp(0, 1)

    @property
    def _half(self) -> float:
        return (self.end - self.start) / self.tau / 2

    @property
    def _ratio(self) -> float:
        return math.cosh(self.end / self.tau / 2) / math.cosh(self.start / self.tau / 2)

    @property
    def _clipped(self) -> tuple[float, float]:
        """What is cut off the unit interval of u at the clean and at the noisy end."""
        half = self._half

        def share(q: float) -> float:
            return math.log1p(2 * math.sinh(half) * q / (1 + q * math.exp(-half))) / (2 * half)

        return share(self.sigma_min**2 / self._ratio), share(self._ratio / self.sigma_max**2)

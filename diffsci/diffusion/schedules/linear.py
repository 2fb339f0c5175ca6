"""DDPM's levels: variance-preserving steps whose betas rise linearly, and what lies between them.

Step i of N = `levels` keeps 1 - beta_i of the variance of the signal, so that at u = i / N

    signal_scale^2 = alphabar_i = (1 - beta_1) ... (1 - beta_i),    noise_std^2 = 1 - alphabar_i,

exactly as in DDPM. Between steps B = -log(alphabar) is linear in u: a table of N numbers, inverted
as exactly as it is read. The path starts at the u_0 > 0 where noise_std / signal_scale is
sigma_min, so that no level is without noise: u = u_0 + t (1 - u_0). As N grows, with an error of
order 1 / N, it becomes the schedule `vp`, which is smooth in t.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules._ends import check_betas, check_start
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """Variance-preserving: DDPM's products of 1000 linear betas, interpolated.

    Args:
        beta_min: `levels` times the first beta: 1000 times DDPM's.
        beta_max: `levels` times the last beta: 1000 times DDPM's.
        sigma_min: noise_std / signal_scale at t = 0.
        levels: Steps of the product.

    Source:
        Ho et al. (2020), Denoising Diffusion Probabilistic Models, arXiv:2006.11239.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    sigma_min: float = 0.002
    levels: int = 1000

    def __post_init__(self) -> None:
        check_betas(self.beta_min, self.beta_max)
        expected = f"more than 1 and than beta_max = {self.beta_max}, so that each beta is below 1"
        require(self.levels > max(1, self.beta_max), "levels", self.levels, expected)
        check_start(self.sigma_min, self._sigma_max)

    def scales(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(signal_scale, noise_std)`; expm1 keeps small noise exact."""
        position = (self._start + t * (1 - self._start)) * self.levels
        index = position.detach().to(torch.int64).clamp(0, self.levels - 1)
        sums = self._sums(t)
        total = torch.lerp(sums[index], sums[index + 1], position - index)
        return torch.exp(-total / 2), torch.sqrt(-torch.expm1(-total))

    def level_of(self, noise_to_signal: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The t at which noise_std / signal_scale has the given value, clipped to [0, 1]."""
        total = torch.log1p(noise_to_signal.clamp(self.sigma_min, self._sigma_max) ** 2)
        sums = self._sums(total)
        index = torch.bucketize(total.detach(), sums[1:-1], right=True)
        u = (index + (total - sums[index]) / (sums[index + 1] - sums[index])) / self.levels
        return ((u - self._start) / (1 - self._start)).clamp(0, 1)

    @cached_property
    def _start(self) -> float:
        sums: list[float] = self._sums(torch.zeros((), dtype=torch.float64)).tolist()
        total = math.log1p(self.sigma_min**2)
        index = bisect_right(sums, total, hi=self.levels) - 1
        return (index + (total - sums[index]) / (sums[index + 1] - sums[index])) / self.levels

    @cached_property
    def _sigma_max(self) -> float:
        last = float(self._sums(torch.zeros((), dtype=torch.float64))[-1])
        return math.sqrt(math.expm1(last))

    def _sums(self, like: Tensor) -> Float[Tensor, " levels_and_1"]:
        return _sums(self.beta_min, self.beta_max, self.levels, like.dtype, like.device)


@lru_cache(maxsize=64)
def _sums(
    beta_min: float, beta_max: float, levels: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, " levels_and_1"]:
    """B = -log(alphabar) at u = 0, 1/N, ... 1."""
    # Kept for later calls, so it must not be a tensor of inference mode.
    with torch.inference_mode(False):
        beta = torch.linspace(beta_min, beta_max, levels, dtype=torch.float64) / levels
        sums = torch.cat([beta.new_zeros(1), -torch.log1p(-beta).cumsum(0)])
        return sums.to(device, dtype)

"""PDE-Refiner: estimate the field, add a little less noise than before, estimate it again.

Every next level is made afresh from the estimate, x_s = c_s x_0 + d_s z; of x_t nothing else is
kept. With levels in equal ratios of noise, four calls reach from the amplitude of the field to the
finest of its scales, each call mending those scales that the noise just hides.

What it is for: solvers of deterministic PDEs, whose next state has almost no spread, so that what
counts is that small scales are as accurate as large ones over long rollouts. What it is not for:
spread. Each estimate is a mean, and its noise is independent of all before, so that even with a
perfect model and many steps the law is not that of the data: one scale of normal data ends with
about 0.7 of its std.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Spacing, check_descent
from diffsci.diffusion.samplers.base import Noise, Sampler, Watched


@dataclass(frozen=True, kw_only=True)
class Refiner(Sampler):
    """Stochastic, for deterministic PDEs in 4 calls: accurate small scales, but too little spread.

    Args:
        steps: Jumps from t = 1 to t = 0; also the number of denoiser calls.
        spacing: How the levels are spaced; `log_snr` is in equal ratios.

    Source:
        Lippe et al. (2023), PDE-Refiner, arXiv:2308.05732, algorithm 1 and appendix.
    """

    steps: int = 4
    spacing: Spacing = "log_snr"

    def __post_init__(self) -> None:
        check_descent(self.steps, self.spacing)

    @property
    def order(self) -> int:
        """0: its law does not become that of the data."""
        return 0

    @property
    def calls(self) -> int:
        """One a step."""
        return self.steps

    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """A sample at t = 0; uses draws 1 to `steps` of `noise`."""
        for draw, jump in enumerate(path.jumps, start=1):
            x_0 = denoise(x, jump.now.t)
            x = jump.after.signal_scale * x_0 + jump.after.noise_std * noise(x, draw)
        return x

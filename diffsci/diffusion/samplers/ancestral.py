"""Ancestral sampling: walk the augmentation backwards, one Gaussian regression a step.

From t to s < t, x_s is drawn from N(a x_0 + b x_t, std^2) with the estimate of x_0 in place of x_0.
The coefficients are those of the exact conditional for the whole jump, so any number of steps is
consistent. The true std^2 is v + a^2 Var[x_0 | x_t]: `small` leaves the second term out and loses
spread (exact for a single point as data), `large` takes the step's own innovation and adds spread
(exact for standard normal data of a variance-preserving schedule).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Spacing, check_descent, descent
from diffsci.diffusion.samplers.base import Denoise, Noise, Sampler
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import require

Variance = Literal["small", "large"]


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """Stochastic, first order: draws each cleaner level from its Gaussian regression.

    Args:
        steps: Jumps from t = 1 to t = 0; also the number of denoiser calls.
        variance: Of the regression: `small` is that of x_s given x_t and x_0, `large` that of a
            step.
        spacing: How the levels are spaced.

    Source:
        Turner et al. (2024), arXiv:2402.04384; Ho et al. (2020), arXiv:2006.11239, section 3.2.
    """

    steps: int = 250
    variance: Variance = "small"
    spacing: Spacing = "karras"

    def __post_init__(self) -> None:
        check_descent(self.steps, self.spacing)
        known = get_args(Variance)
        require(self.variance in known, "variance", self.variance, f"one of {known}")

    @property
    def order(self) -> int:
        """The law's variance converges with the first power of the step."""
        return 1

    @property
    def calls(self) -> int:
        """One a step."""
        return self.steps

    def __call__(
        self, denoise: Denoise, schedule: Schedule, x_1: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """A sample at t = 0; uses draws 1 to `steps` of `noise`."""
        x = x_1
        for draw, jump in enumerate(descent(schedule, self.steps, self.spacing, x), start=1):
            x_0 = denoise(x, jump.now.t)
            std = jump.posterior_std if self.variance == "small" else jump.step_std
            x = jump.weight_x_0 * x_0 + jump.weight_x_t * x + std * noise(x, draw)
        return x

"""Ancestral sampling: walk the augmentation backwards, one Gaussian regression a step.

From t to s < t, x_s is drawn from a normal law of mean a x_0 + b x_t, with the estimate of x_0 in
place of x_0, and of covariance v I + a^2 Cov[x_0 | x_t]. The coefficients are those of the exact
conditional for the whole jump, so any number of steps is consistent. Which covariance is taken
decides the spread:

    exact   all of it: for Gaussian data the law is right in any number of steps
    small   without the second term, which loses spread (exact for a single point as data)
    large   the step's own innovation, which adds spread (exact for standard normal data of a
            variance-preserving schedule)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Spacing, check_descent
from diffsci.diffusion.samplers.base import Noise, Sampler, Watched
from diffsci.errors import require

Variance = Literal["small", "large", "exact"]


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """Stochastic, first order: draws each cleaner level from its Gaussian regression.

    Args:
        steps: Jumps from t = 1 to t = 0; also the number of denoiser calls.
        variance: Of the regression: `small` is that of x_s given x_t and x_0, `large` that of a
            step, `exact` that of x_s given x_t.
        spacing: How the levels are spaced.

    Source:
        Turner et al. (2024), arXiv:2402.04384; Ho et al. (2020), arXiv:2006.11239, section 3.2;
        Bao et al. (2022), arXiv:2201.06503, for `exact`.
    """

    steps: int = 250
    variance: Variance = "small"
    spacing: Spacing = "karras"

    def __post_init__(self) -> None:
        check_descent(self.steps, self.spacing)
        known = get_args(Variance)
        require(self.variance in known, "variance", self.variance, f"one of {known}")

    @property
    def needs_covariance(self) -> bool:
        """For the exact variance alone."""
        return self.variance == "exact"

    @property
    def order(self) -> int:
        """The law's variance converges with the first power of the step."""
        return 1

    @property
    def calls(self) -> int:
        """One a step."""
        return self.steps

    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """A sample at t = 0; uses draws 1 to `steps` of `noise`."""
        for draw, jump in enumerate(path.jumps, start=1):
            unit = noise(x, draw)
            if self.variance == "exact":
                x_0, covariance = denoise.with_covariance(x, jump.now)
                fresh = covariance.draw(unit, jump.posterior_std, jump.weight_x_0)
            else:
                x_0 = denoise(x, jump.now.t)
                small = self.variance == "small"
                fresh = (jump.posterior_std if small else jump.step_std) * unit
            x = jump.weight_x_0 * x_0 + jump.weight_x_t * x + fresh
        return x

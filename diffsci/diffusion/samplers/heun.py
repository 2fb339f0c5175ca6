"""Heun's method on the probability flow, in the noise-to-signal ratio.

With y = x / c and sigma = d / c the flow is dy/dsigma = eps(y, sigma). The noise is taken at both
ends of a step and averaged; the first estimate alone would be DDIM. Under the `edm` schedule this
is the deterministic sampler of Karras et al.; since the schedule ends at sigma_min and not at 0,
the last step is corrected like all others.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Level, Spacing, check_descent
from diffsci.diffusion.samplers.base import Noise, Sampler, Watched


@dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """Deterministic, second order, two calls a step: the trapezoidal rule on the probability flow.

    Args:
        steps: Jumps from t = 1 to t = 0; the denoiser is called twice in each.
        spacing: How the levels are spaced.

    Source:
        Karras et al. (2022), arXiv:2206.00364, algorithm 1.
    """

    steps: int = 32
    spacing: Spacing = "karras"

    def __post_init__(self) -> None:
        check_descent(self.steps, self.spacing)

    @property
    def order(self) -> int:
        """Of the path."""
        return 2

    @property
    def calls(self) -> int:
        """Two a step, the last one too."""
        return 2 * self.steps

    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """The end of the probability flow at t = 0; uses no draw of `noise`."""

        def epsilon(x: Tensor, at: Level) -> Tensor:
            return (x - at.signal_scale * denoise(x, at.t)) / at.noise_std

        for jump in path.jumps:
            now, after = jump.now, jump.after
            carried = x / jump.step_scale
            slope = after.noise_std - now.noise_std / jump.step_scale
            first = epsilon(x, now)
            second = epsilon(carried + slope * first, after)
            x = carried + slope * (first + second) / 2
        return x

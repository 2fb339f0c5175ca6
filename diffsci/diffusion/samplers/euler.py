"""Euler's rule on the probability flow, in the noise-to-signal ratio.

With y = x / c and sigma = d / c the flow is dy / dsigma = (y - E[x_0 | x_t]) / sigma, and a step
goes along its slope: y + (sigma_s - sigma_t) (y - x_0) / sigma_t. Multiplied by c_s this is
c_s x_0 + d_s eps, which is `ddim` with eta 0; it is here under the name by which others know it.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Spacing, check_descent
from diffsci.diffusion.samplers.base import Noise, Sampler, Watched


@dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """Deterministic, first order, one call a step: along the slope; the same as ddim with eta 0.

    Args:
        steps: Jumps from t = 1 to t = 0; also the number of denoiser calls.
        spacing: How the levels are spaced.

    Source:
        Karras et al. (2022), arXiv:2206.00364, section 3; that it is DDIM, appendix C.
    """

    steps: int = 50
    spacing: Spacing = "karras"

    def __post_init__(self) -> None:
        check_descent(self.steps, self.spacing)

    @property
    def order(self) -> int:
        """Of the path."""
        return 1

    @property
    def calls(self) -> int:
        """One a step."""
        return self.steps

    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """The end of the probability flow at t = 0; uses no draw of `noise`."""
        for jump in path.jumps:
            now, after = jump.now, jump.after
            y = x / now.signal_scale
            slope = (y - denoise(x, now.t)) / now.noise_to_signal
            x = after.signal_scale * (y + (after.noise_to_signal - now.noise_to_signal) * slope)
        return x

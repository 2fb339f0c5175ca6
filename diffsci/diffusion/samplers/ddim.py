"""DDIM: go to the next level with the clean field and the noise that are estimated now.

x_s = c_s x_0 + sqrt(d_s^2 - k^2) eps + k z, where k = eta sqrt(v) of the noise is drawn afresh.
With eta = 0 this is the probability flow by an exponential Euler step, exact where the estimates
do not change; with eta = 1 it is ancestral sampling with its small variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Spacing, check_descent
from diffsci.diffusion.samplers.base import Noise, Sampler, Watched
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """First order: keeps the estimated noise (eta = 0, deterministic) or renews a share of it.

    Args:
        steps: Jumps from t = 1 to t = 0; also the number of denoiser calls.
        eta: Share of renewed noise: 0 is deterministic, 1 is ancestral.
        spacing: How the levels are spaced.

    Source:
        Song et al. (2021), Denoising Diffusion Implicit Models, arXiv:2010.02502.
    """

    steps: int = 50
    eta: float = 0.0
    spacing: Spacing = "karras"

    def __post_init__(self) -> None:
        check_descent(self.steps, self.spacing)
        require(0 <= self.eta <= 1, "eta", self.eta, "a share from 0 to 1")

    @property
    def order(self) -> int:
        """Of the path for eta = 0, else of the law."""
        return 1

    @property
    def calls(self) -> int:
        """One a step."""
        return self.steps

    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """A sample at t = 0; uses draws 1 to `steps` of `noise` where eta > 0, none otherwise."""
        for draw, jump in enumerate(path.jumps, start=1):
            now, after = jump.now, jump.after
            x_0 = denoise(x, now.t)
            epsilon = (x - now.signal_scale * x_0) / now.noise_std
            fresh = self.eta * jump.posterior_std
            x = after.signal_scale * x_0 + torch.sqrt(after.noise_std**2 - fresh**2) * epsilon
            if self.eta > 0:
                x = x + fresh * noise(x, draw)
        return x

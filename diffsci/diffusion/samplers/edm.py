"""EDM: churn, which raises the noise a little, then a step of Heun's rule down from there.

In y = x / c and sigma = d / c, under any schedule. Before a step the level goes up by a factor
1 + gamma through the augmentation's own forward noise, which keeps the law of y exactly as it is:

    y <- y + sqrt((1 + gamma)^2 - 1) sigma z

The step then comes down along the probability flow, dy / dsigma = (y - x_0) / sigma, by the mean
of the slopes at its ends. What an earlier step did wrong is partly forgotten with the noise that
is renewed; without churn this is `heun`. `noise_inflation` multiplies z: away from 1 it adds the
spread that a learned denoiser lacks, and a perfect one then ends with too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Level, Spacing, check_descent
from diffsci.diffusion.samplers.base import Noise, Sampler, Watched
from diffsci.errors import require

_LARGEST_RISE = math.sqrt(2) - 1
"""Of the noise in one step, as a share of it: no more fresh noise than there is already."""


@dataclass(frozen=True, kw_only=True)
class EDM(Sampler):
    """Stochastic, second order, two calls a step: churns up some noise, then takes a Heun step.

    Args:
        steps: Jumps from t = 1 to t = 0; the denoiser is called twice in each.
        churn: Rise of the noise over all steps, as a share of it; 0 is deterministic. A step has
            churn / steps, at most sqrt(2) - 1, and never goes beyond t = 1.
        churn_from: Lowest noise_std / signal_scale that is raised.
        churn_to: Highest noise_std / signal_scale that is raised.
        noise_inflation: Multiplier of the fresh noise's std.
        spacing: How the levels are spaced.

    Source:
        Karras et al. (2022), arXiv:2206.00364, algorithm 2 (S_churn, S_tmin, S_tmax, S_noise).
    """

    steps: int = 32
    churn: float = 2.5
    churn_from: float = 0.0
    churn_to: float = math.inf
    noise_inflation: float = 1.0
    spacing: Spacing = "karras"

    def __post_init__(self) -> None:
        check_descent(self.steps, self.spacing)
        require(0 <= self.churn < math.inf, "churn", self.churn, "0 or more")
        require(self.churn_from >= 0, "churn_from", self.churn_from, "0 or more")
        wanted = f"more than churn_from = {self.churn_from}"
        require(self.churn_to > self.churn_from, "churn_to", self.churn_to, wanted)
        inflation = self.noise_inflation
        require(0 < inflation < math.inf, "noise_inflation", inflation, "more than 0")
        used = self.churn > 0 or inflation == 1
        require(used, "noise_inflation", inflation, "1 where churn is 0, since no noise is added")

    @property
    def order(self) -> int:
        """Of the law, or of the path without churn; 0 where inflation shifts the limit.

        1 where the churn of a step is at its largest, and so does not fall with more steps.
        """
        if self.noise_inflation != 1:
            return 0
        return 1 if self.churn / self.steps > _LARGEST_RISE else 2

    @property
    def calls(self) -> int:
        """Two a step, the last one too."""
        return 2 * self.steps

    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """A sample at t = 0; a step that raises the noise uses the draw of its number, from 1."""
        for draw, jump in enumerate(path.jumps, start=1):
            y, now = x / jump.now.signal_scale, self._raised(jump.now, path)
            if now.noise_to_signal > jump.now.noise_to_signal:
                added = torch.sqrt(now.noise_to_signal**2 - jump.now.noise_to_signal**2)
                y = y + self.noise_inflation * added * noise(x, draw)
            after, width = jump.after, jump.after.noise_to_signal - now.noise_to_signal
            first = (y - denoise(now.signal_scale * y, now.t)) / now.noise_to_signal
            ahead = y + width * first
            second = (ahead - denoise(after.signal_scale * ahead, after.t)) / after.noise_to_signal
            x = after.signal_scale * (y + width * (first + second) / 2)
        return x

    def _raised(self, now: Level, path: Descent) -> Level:
        sigma = float(now.noise_to_signal)
        if self.churn == 0 or not self.churn_from <= sigma <= self.churn_to:
            return now
        return path.at((1 + min(self.churn / self.steps, _LARGEST_RISE)) * now.noise_to_signal)

"""DPM-Solver++: exponential multistep methods on the estimate of the clean field.

Between levels the probability flow is x_s = (d_s / d_t) x_t + c_s (1 - exp(-h)) x_0, h being the
rise of log(c / d), as long as the estimate of x_0 does not change. It does, and is extrapolated
from the last calls over log(c / d):

    1   not at all: DDIM
    2   linearly, to the middle of the step
    3   by a parabola, whose weighted mean over the step is taken exactly

With 3 the published formula halves the parabola's bend, which leaves order 2; with its exact
integral, as here, it is `ab` with 3 estimates. The `stochastic` form puts such an estimate into the
exact step of the reverse diffusion, x_s = a x_0 + b x_t + sqrt(v) z, as `ancestral` does (which it
is with 1 estimate). Its law is of second order at most, and there the bend is halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Jump, Spacing, check_descent
from diffsci.diffusion.samplers._exponential import Estimate, estimate, shares, start
from diffsci.diffusion.samplers.base import Noise, Sampler, Watched
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class DPMpp(Sampler):
    """Deterministic or stochastic, order 1 to 3, one call a step: DPM-Solver++.

    Args:
        steps: Jumps from t = 1 to t = 0, `multistep` or more; also the number of denoiser calls.
        multistep: How many estimates a step uses, 1 to 3.
        stochastic: Draw fresh noise in each step, instead of following the probability flow.
        spacing: How the levels are spaced.

    Source:
        Lu et al. (2022), DPM-Solver++, arXiv:2211.01095, algorithm 2 and section 5.
    """

    steps: int = 20
    multistep: int = 2
    stochastic: bool = False
    spacing: Spacing = "karras"

    def __post_init__(self) -> None:
        require(1 <= self.multistep <= 3, "multistep", self.multistep, "1, 2 or 3")
        check_descent(self.steps, self.spacing, self.multistep)

    @property
    def order(self) -> int:
        """Of the path; stochastic, of the law."""
        return min(self.multistep, 2) if self.stochastic else self.multistep

    @property
    def calls(self) -> int:
        """One a step."""
        return self.steps

    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """A sample at t = 0; uses draws 1 to `steps` of `noise` if stochastic, else none."""
        known: list[Estimate] = []
        jumps: Sequence[Jump] = path.jumps
        if not self.stochastic:
            x, known, jumps = start(denoise, path, x, self.order)
        rate = 2 if self.stochastic else 1
        for draw, jump in enumerate(jumps, start=1):
            known = [*known, estimate(denoise, x, jump.now)][-self.multistep :]
            x_0 = extrapolated(jump, known, rate)
            if self.stochastic:
                x = (
                    jump.weight_x_0 * x_0
                    + jump.weight_x_t * x
                    + jump.posterior_std * noise(x, draw)
                )
            else:
                shrink = jump.after.noise_std / jump.now.noise_std
                weight = jump.after.signal_scale - jump.now.signal_scale * shrink
                x = shrink * x + weight * x_0
        return x


def extrapolated(jump: Jump, known: Sequence[Estimate], rate: int) -> Float[Tensor, "batch *shape"]:
    """The estimate that stands for all of the step."""
    last = known[-1].x_0
    if len(known) == 1:
        return last
    if len(known) == 2:
        before = Jump(known[0].at, known[1].at).width
        return last + jump.width / (2 * before) * (last - known[0].x_0)
    share = shares(jump, known, rate)
    if rate == 2:
        # The mean of parabola and line. A whole parabola would not raise the order of the law, and
        # takes the noise for bends: measured, 2.3 times the spread in 10 calls.
        share = share + torch.nn.functional.pad(shares(jump, known[1:], rate), (1, 0))
    share = share / share.sum()
    return share[0] * known[0].x_0 + share[1] * known[1].x_0 + share[2] * last

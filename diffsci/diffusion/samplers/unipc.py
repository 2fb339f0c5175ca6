"""UniPC: predict by the last estimates, correct by the next one, which is needed anyway.

A step is taken as by `ab`. The denoiser's estimate at its end serves the next step, and before
that the step is taken again with it as one more support of the polynomial, which gains an order
at no call. The denoiser is not asked again at the corrected x. The last step stays predicted: its
correction would cost a call, and an error of one step alone does not lower the order.

The corrector's integrals are exact. Two estimates predict as in the paper with B(h) = e^h - 1: by
the value of their line at the middle of the step, which misses as little in order and is more
cautious where steps are wide. `multistep` 2 is good from 8 calls on, 3 pays from about 40.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Jump, Spacing, check_descent
from diffsci.diffusion.samplers._exponential import Estimate, estimate, follow, start
from diffsci.diffusion.samplers.base import Noise, Sampler, Watched
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class UniPC(Sampler):
    """Deterministic, order 2 to 4, one call a step: each step is corrected by the next estimate.

    Args:
        steps: Jumps from t = 1 to t = 0, `multistep` or more; also the number of denoiser calls.
        multistep: How many estimates predict a step, 1 to 3; the order is one more.
        spacing: How the levels are spaced.

    Source:
        Zhao et al. (2023), UniPC, arXiv:2302.04867.
    """

    steps: int = 20
    multistep: int = 2
    spacing: Spacing = "karras"

    def __post_init__(self) -> None:
        require(1 <= self.multistep <= 3, "multistep", self.multistep, "1, 2 or 3")
        check_descent(self.steps, self.spacing, self.multistep)

    @property
    def order(self) -> int:
        """Of the path."""
        return self.multistep + 1

    @property
    def calls(self) -> int:
        """One a step."""
        return self.steps

    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """The end of the probability flow at t = 0; uses no draw of `noise`."""
        # Two estimates lose nothing by a start with one: the first correction has both.
        x, known, jumps = start(denoise, path, x, 4 if self.multistep == 3 else 2)
        before: tuple[Tensor, Jump] | None = None
        for jump in jumps:
            new = estimate(denoise, x, jump.now)
            if before is not None:
                x = follow(*before, [*known, new])
            before = x, jump
            known = [*known, new][-self.multistep :]
            x = follow(x, jump, _ahead(jump, known) if len(known) == 2 else known)
        return x


def _ahead(jump: Jump, known: list[Estimate]) -> list[Estimate]:
    """The line through two estimates at the middle of the step, as one that holds throughout."""
    old, new = known
    share = jump.width / (2 * Jump(old.at, new.at).width)
    return [Estimate(new.at, new.x_0 + share * (new.x_0 - old.x_0))]

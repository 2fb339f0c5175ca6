"""Posterior sampling by moment matching, with the exact covariance of the denoiser's estimate.

With D = E[x_0 | x_t] and C = Cov[x_0 | x_t], taken as normal, what y = H x_0 + r adds is

    E[x_0 | x_t, y] = D + C H^T (H C H^T + R)^-1 (y - H D).

C is never formed. By Tweedie's second identity C v = (d^2 / c) J^T v, one pass backward through the
denoiser's own graph, and the system is solved by conjugate residuals, the form of conjugate
gradients whose misfit cannot grow. In units of the noise (R = I, so that no direction has less than
its own length) each iteration takes the step along p that leaves the smallest misfit.

For Gaussian data it is exact, and the samples have the law of the Kalman analysis. For other data
x_0 given x_t is not normal and the result is an approximation: what is observed gets about its
right spread, but of several modes that agree with the observations the wrong ones may be preferred
(docs/guidance.md measures it). A learned Jacobian is only nearly symmetric and may have eigenvalues
below 0, for which the method was not made: a step is never longer than exact covariances allow, and
the misfit still falls, but to a point that is as good as the Jacobian.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.guidance._observing import Misfit, Pull, guided_by
from diffsci.diffusion.guidance.base import ConditionalDenoise, Guidance, Observed
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Posterior(Guidance):
    """Samples given observations, with the exact posterior covariance: right for Gaussian data.

    Args:
        iterations: Most steps of the linear solver, each a pass backward through the network; it
            takes no more than there are observations, which solve it fully.

    Source:
        Rozet et al. (2024), Learning Diffusion Priors from Observations by Expectation
        Maximization (MMPS), arXiv:2405.13712; Boys et al. (2023), arXiv:2310.06721.
    """

    iterations: int = 16
    needs_observed = True

    def __post_init__(self) -> None:
        require(self.iterations >= 1, "iterations", self.iterations, "1 or more")

    @property
    def calls_per_step(self) -> int:
        """One, and `iterations` passes backward through it."""
        return 1

    def __call__(
        self, denoise: ConditionalDenoise, schedule: AnySchedule, observed: Observed | None
    ) -> ConditionalDenoise:
        """The guided denoiser.

        Raises:
            ConfigError: Without observations.
        """
        return guided_by("posterior", denoise, schedule, observed, self._correction)

    def _correction(self, misfit: Misfit, pull: Pull) -> Float[Tensor, "batch channel *space"]:
        """C H^T (H C H^T + R)^-1 (y - H D)."""
        left = misfit.residual / misfit.noise_std
        step, answer = torch.zeros_like(left), torch.zeros_like(left)
        moved = total = torch.zeros_like(misfit.field)
        for _ in range(min(self.iterations, left[0].numel())):
            there = pull(misfit.adjoint(left / misfit.noise_std))
            seen = misfit.operator.apply(there) / misfit.noise_std + left
            turn = -_ratio(_dot(seen, answer), _dot(answer, answer))
            step, answer = left + _over(turn, left) * step, seen + _over(turn, seen) * answer
            moved = there + _over(turn, there) * moved
            size = torch.maximum(_dot(answer, answer), _dot(step, step))
            share = _ratio(_dot(left, answer), size)
            total = total + _over(share, moved) * moved
            left = left - _over(share, answer) * answer
        return total


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """One number for each example."""
    return (a * b).flatten(1).sum(dim=1)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """The ratio, and 0 where nothing is left to divide by; what is not finite stays so."""
    nothing = b <= torch.finfo(b.dtype).tiny
    return torch.where(nothing, torch.zeros_like(b), a / torch.where(nothing, 1.0, b))


def _over(number: Tensor, field: Tensor) -> Tensor:
    """One number for each example, shaped to multiply a field."""
    return number.reshape(-1, *[1] * (field.ndim - 1))

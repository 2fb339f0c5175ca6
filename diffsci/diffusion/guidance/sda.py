"""Score-based data assimilation: the likelihood at the estimate, with variance for its error.

As if H x_0 given x_t were normal about H D with the variance gamma (d / c)^2 in each observation,
whatever H and the data are. In units of x_0, with the Jacobian J = dD / dx_t,

    x_0 = D + (d^2 / c) J^T H^T (y - H D) / (r^2 + gamma (d / c)^2).

The right gamma depends on the data, on H and on the level, so that no value of it gives the
posterior's mean and spread for all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.guidance._observing import Misfit, Pull, guided_by
from diffsci.diffusion.guidance.base import ConditionalDenoise, Guidance, Observed
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class SDA(Guidance):
    """Samples towards observations with a guessed covariance, one number for all levels.

    Args:
        gamma: Variance of the estimate in units of (noise_std / signal_scale)^2; 1 is right for
            data that are known only by x_t, 0 is no variance at all.

    Source:
        Rozet and Louppe (2023), Score-based Data Assimilation, arXiv:2306.10574.
    """

    gamma: float = 1.0
    needs_observed = True

    def __post_init__(self) -> None:
        require(0 <= self.gamma < math.inf, "gamma", self.gamma, "a finite number, 0 or more")

    @property
    def calls_per_step(self) -> int:
        """One, and one pass backward through it."""
        return 1

    def __call__(
        self, denoise: ConditionalDenoise, schedule: AnySchedule, observed: Observed | None
    ) -> ConditionalDenoise:
        """The guided denoiser.

        Raises:
            ConfigError: Without observations.
        """
        return guided_by("sda", denoise, schedule, observed, self._correction)

    def _correction(self, misfit: Misfit, pull: Pull) -> Float[Tensor, "batch channel *space"]:
        at = misfit.at.over(misfit.residual)
        variance = misfit.noise_std**2 + self.gamma * at.noise_to_signal**2
        return pull(misfit.adjoint(misfit.residual / variance))

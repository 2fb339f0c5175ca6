"""Diffusion posterior sampling: the likelihood at the estimate, as if that were x_0 itself.

log p(y | x_t) is taken to be that of y at D = E[x_0 | x_t], and its gradient with respect to x_t
goes through the denoiser. In units of x_0, with the Jacobian J = dD / dx_t,

    x_0 = D + scale (d^2 / c) J^T H^T (y - H D) / r^2.

How uncertain D is does not enter, so that observations are trusted too much at high noise:
ensembles come out far too narrow, whatever the steps. It is here to be compared with. The weight is
that of the likelihood; the authors' code has a tuned number over |y - H D| in place of 1 / r^2. It
is stiff: for data of unit variance it takes some 1 / r^2 steps from sigma = 80 to 0.002, and with
fewer the samples run away.
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
class DPS(Guidance):
    """Samples towards observations without covariance: near them, but with too little spread.

    Args:
        scale: Multiplies the likelihood's own gradient; 1 is that.

    Source:
        Chung et al. (2023), Diffusion Posterior Sampling for General Noisy Inverse Problems,
        arXiv:2209.14687.
    """

    scale: float = 1.0
    needs_observed = True

    def __post_init__(self) -> None:
        require(0 < self.scale < math.inf, "scale", self.scale, "a finite number, more than 0")

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
        return guided_by("dps", denoise, schedule, observed, self._correction)

    def _correction(self, misfit: Misfit, pull: Pull) -> Float[Tensor, "batch channel *space"]:
        weighted = misfit.residual / misfit.noise_std**2
        return self.scale * pull(misfit.adjoint(weighted))

"""Filling in: what is seen is put in place of the estimate, the rest is left to the model.

    x_0 = D + H^T (H H^T)^-1 (y - H D), for an H that picks values out, in any unit.

In each step the seen values stand in x_0, so that the noisy field carries them to the next one and
the model draws what goes with them. What is not seen is never corrected itself: this is not the
posterior. The filled part is drawn towards the seen too late, and the noise of the observations is
not believed: samples have their values exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.guidance._observing import Misfit, Pull, guided_by
from diffsci.diffusion.guidance.base import ConditionalDenoise, Guidance, Observed
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inpaint(Guidance):
    """Keeps what is seen and lets the model fill in the rest: quick, and not the posterior.

    Source:
        Song et al. (2021), arXiv:2011.13456, section 5; here in x_0, without noise on what is seen.
    """

    needs_observed = True

    @property
    def calls_per_step(self) -> int:
        """One."""
        return 1

    def __call__(
        self, denoise: ConditionalDenoise, schedule: AnySchedule, observed: Observed | None
    ) -> ConditionalDenoise:
        """The guided denoiser.

        Raises:
            ConfigError: Without observations; when called, for an operator that does more than
                pick values out.
        """
        counted: list[Tensor] = []

        def replace(misfit: Misfit, pull: Pull) -> Float[Tensor, "batch channel *space"]:
            if not counted:
                counted.append(_weights(misfit))
            weight = counted[0]
            inside = misfit.adjoint(misfit.residual) / torch.where(weight > 0, weight, 1.0)
            return torch.where(weight > 0, inside, torch.zeros_like(inside))

        return guided_by("inpaint", denoise, schedule, observed, replace, graph=False)


def _weights(misfit: Misfit) -> Float[Tensor, "1 channel *space"]:
    """The diagonal of H^T H: squared units where a cell is seen, zero elsewhere.

    Raises:
        ConfigError: When it is more than a diagonal.
    """
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(2):
        x = (torch.rand(misfit.field.shape, generator=generator) + 1).to(misfit.field)
        found.append(misfit.adjoint(misfit.operator.apply(x)) / x)
    bound = 1e4 * torch.finfo(x.dtype).eps * found[0].abs().max()
    off = (found[0] - found[1]).abs().max() > bound
    if off.device.type != "meta" and bool(off):
        raise ConfigError(
            f"guidance inpaint: the operator {misfit.operator.name} does not pick values "
            "out, as `points` and `mask` do, so they cannot be put in place of the estimate: take "
            "one of those, or guidance for any linear operator (`diffsci list guidance`)"
        )
    return found[0][:1]

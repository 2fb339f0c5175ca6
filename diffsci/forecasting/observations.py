"""Observations of physical fields, as a guided sampler sees them: of what the model samples.

A model samples x_0, a scaled state, tendency or residual; a user observes y = H s + r of the
physical state s. From one to the other is affine, s = A x_0 + b, so that y - H b = (H A) x_0 + r:
an observation of x_0 by another linear operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.data.fields import Cases
from diffsci.diffusion.guidance.base import Observed
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.operators.base import Operator
from diffsci.errors import ConfigError
from diffsci.sections import Observing

Restore = Callable[[Tensor], Tensor]
"""The physical state of a sample of the model, an affine map."""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What is observed of some cases: H s + r, r ~ N(0, noise_std^2), in physical units.

    Args:
        operator: The H, on fields `[case, channel, *space]`.
        values: One set for each case and lead; a case without leads has one.
        noise_std: One for all values, or an array that broadcasts against one set.
    """

    operator: Operator
    values: Float[Tensor, "case lead *observation"]
    noise_std: float | Float[Tensor, "..."]

    def take(self, index: list[int] | slice) -> Observations:
        """Those of some cases."""
        return replace(self, values=self.values[index])

    def at_lead(self, lead: int, restore: Restore, mean: Tensor, like: Tensor) -> Observed:
        """What they say of a batch of samples.

        Args:
            lead: Place of the lead.
            restore: The physical state of each sample, but for `mean`.
            mean: Of each channel, `[channel, *1]`, physical. Apart, since pressures of 101325 +- 10
                have few digits left for what is observed.
            like: A batch of samples, for its shape, dtype and device.
        """
        still = restore(torch.zeros_like(like))
        level = self.operator.apply(mean.double().expand(1, *like.shape[1:]).to(like.device))
        known = (self.values[:, lead].to(level) - level).to(like) - self.operator.apply(still)
        std = self.noise_std
        return Observed(
            operator=Through(self.operator, restore, still),
            values=known,
            noise_std=std.to(like) if isinstance(std, Tensor) else std,
        )


@dataclass(frozen=True)
class Through(Operator):
    """An operator on what an affine map makes of a field.

    Args:
        operator: On the map's results.
        restore: The map.
        still: What it makes of zeros.
    """

    operator: Operator
    restore: Restore
    still: Tensor

    def apply(
        self, field: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch *observation"]:
        """H (A x)."""
        return self.operator.apply(self.restore(field) - self.still)

    def adjoint(
        self, values: Float[Tensor, "batch *observation"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "batch channel *space"]:
        """A^T (H^T y); the transpose of the map by automatic differentiation."""
        seen = self.operator.adjoint(values, self.still)
        with torch.enable_grad():
            field = torch.zeros_like(self.still if like is None else like).requires_grad_()
            made = self.restore(field)
        (pulled,) = torch.autograd.grad(made, field, seen)
        return pulled


def checked(observations: Observations, cases: int, leads: int) -> Observations:
    """Observations that fit these cases and leads.

    Raises:
        ConfigError: With the numbers that do not fit.
    """
    found = tuple(observations.values.shape[:2])
    if found != (cases, leads):
        raise ConfigError(
            f"observed: values are of {found[0]} cases and {found[1]} leads, expected {cases} and "
            f"{leads}: the first two axes are case and lead (1 where there are no leads)"
        )
    return observations


def of_truth(
    section: Observing, truth: Float[np.ndarray, "case lead channel *space"], cases: Cases
) -> Observations:
    """A twin experiment's observations: the truth of each case and lead, with errors drawn anew.

    The errors depend on the seed, the case and the lead alone.
    """
    fields = torch.from_numpy(np.ascontiguousarray(truth, dtype=np.float32))
    leads = fields.shape[1]
    exact = section.operator.apply(fields.flatten(0, 1))
    std = section.noise_std
    scale: float | Tensor = std if isinstance(std, float) else _by_channel(std, exact)
    noise = MemberNoise(
        seed=section.seed,
        cases=tuple(f"observed {key}" for key in cases.keys for _ in range(leads)),
        members=(0,) * len(exact),
        leads=tuple(range(leads)) * len(cases),
    )
    values = exact + scale * noise(exact, 0)
    return Observations(
        operator=section.operator,
        values=values.reshape(len(cases), leads, *values.shape[1:]),
        noise_std=scale,
    )


def _by_channel(std: tuple[float, ...], values: Tensor) -> Tensor:
    if values.ndim < 3 or values.shape[1] != len(std):
        channels = values.shape[1] if values.ndim >= 3 else 1
        raise ConfigError(
            f"sample.observed.noise_std: got {len(std)} numbers, expected one, or one for each of "
            f"the {channels} observed channels"
        )
    return torch.tensor(std, dtype=values.dtype).reshape(-1, *[1] * (values.ndim - 2))

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

    @classmethod
    def of(
        cls,
        operator: Operator,
        values: Float[np.ndarray, "case lead *observation"],
        noise_std: float | Float[np.ndarray, "..."],
    ) -> Observations:
        """From numpy arrays, as `.values` of what xarray holds."""
        std = noise_std if isinstance(noise_std, float) else torch.from_numpy(noise_std)
        return cls(operator=operator, values=torch.from_numpy(values), noise_std=std)

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

    @property
    def name(self) -> str:
        """That of the operator: the map is not the user's."""
        return self.operator.name

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


def checked(observations: object, cases: int, leads: int, field: Tensor) -> Observations:
    """Observations that fit these cases and leads.

    Args:
        observations: What a user gave.
        cases: How many there are.
        leads: How many there are; 1 where there are none.
        field: One field of the model, `[1, channel, *space]`.

    Raises:
        ConfigError: With what does not fit.
    """
    if not isinstance(observations, Observations):
        raise ConfigError(
            f"observed: got {type(observations).__name__}, expected "
            "`diffsci.forecasting.observations.Observations`, in physical units"
        )
    values: object = observations.values
    if not isinstance(values, Tensor):
        kind = type(values).__name__
        raise ConfigError(f"observed: values are of {kind}: use `Observations.of` for numpy arrays")
    found, seen = tuple(values.shape), tuple(observations.operator.apply(field).shape[1:])
    if found != (cases, leads, *seen):
        raise ConfigError(
            f"observed: values are of shape {found}, expected {(cases, leads, *seen)}: case, lead "
            "(1 where there are no leads), then what the operator sees of one field"
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
    scale = error_std(section, exact)
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


def error_std(section: Observing, values: Tensor) -> float | Tensor:
    """The errors' standard deviation, broadcasting against observations.

    Raises:
        ConfigError: Where there are not as many as observed channels.
    """
    std = section.noise_std
    if isinstance(std, float):
        return std
    if values.ndim < 3 or values.shape[1] != len(std):
        channels = values.shape[1] if values.ndim >= 3 else 1
        raise ConfigError(
            f"sample.observed.noise_std: got {len(std)} numbers, expected one, or one for each of "
            f"the {channels} observed channels"
        )
    return torch.tensor(std, dtype=values.dtype).reshape(-1, *[1] * (values.ndim - 2))

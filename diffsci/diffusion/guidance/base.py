"""What every guidance is: a denoiser made from a denoiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.operators.base import Operator
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import ConfigError, require

ConditionalDenoise = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""`(x_t, t, condition, scalars) -> E[x_0 | x_t, condition, scalars]`."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Values y = H x_0 + r with r ~ N(0, noise_std^2), in the units of the model's fields.

    Args:
        operator: The H.
        values: The y: one set for each example, or one for all.
        noise_std: Standard deviation of r: one for all, or one for each value, broadcasting.

    Raises:
        ConfigError: For values or a noise_std that are not finite, or no noise at all.
    """

    operator: Operator
    values: Float[Tensor, "batch *observation"]
    noise_std: float | Float[Tensor, "..."]

    def __post_init__(self) -> None:
        std = torch.as_tensor(self.noise_std)
        if "meta" in (std.device.type, self.values.device.type):
            return
        worst = float(std.min())
        known = bool(torch.isfinite(std).all()) and worst > 0
        require(known, "noise_std", worst, "finite numbers, all more than 0")
        missing = int((~torch.isfinite(self.values)).sum())
        if missing:
            raise ConfigError(
                f"observed values: {missing} of {self.values.numel()} are not finite; leave out "
                "what was not observed: with the operator `mask`, seen=torch.isfinite(field) and "
                "values=field.nan_to_num(), or with `points`"
            )


class Guidance(ABC):
    """A family member: frozen dataclass that wraps a conditional denoiser."""

    needs_scalars: bool = False
    """Whether it has a meaning only for data with classes or parameters."""

    needs_observed: bool = False
    """Whether it draws samples towards observations, and so cannot do without."""

    @property
    @abstractmethod
    def calls_per_step(self) -> int:
        """Network evaluations for one call of the wrapped denoiser."""

    @abstractmethod
    def __call__(
        self, denoise: ConditionalDenoise, schedule: AnySchedule, observed: Observed | None
    ) -> ConditionalDenoise:
        """The guided denoiser.

        Args:
            denoise: What is guided.
            schedule: Of the denoiser.
            observed: What is known of the samples; none for guidance that needs none.

        Raises:
            ConfigError: When `observed` is missing, or given where it would be ignored.
        """

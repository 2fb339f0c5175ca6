"""Classifier-free guidance: away from what the model would say without its scalars.

x_0 = x_0(none) + scale (x_0(scalars) - x_0(none)). Zero scalars mean "none": training drops them
for a share of the examples (`train.drop_scalars`), so that one network knows both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsci.diffusion.guidance.base import ConditionalDenoise, Guidance, Observed
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import ConfigError, require


@dataclass(frozen=True, kw_only=True)
class ClassifierFree(Guidance):
    """Strengthens the effect of the scalars, as of a class, by extrapolating from none.

    Args:
        scale: 0 ignores the scalars, 1 is the plain model, more exaggerates them at the cost of
            spread.

    Source:
        Ho and Salimans (2022), Classifier-Free Diffusion Guidance, arXiv:2207.12598.
    """

    scale: float = 1.5
    needs_scalars = True

    def __post_init__(self) -> None:
        require(0 <= self.scale < math.inf, "scale", self.scale, "a finite number, 0 or more")

    @property
    def calls_per_step(self) -> int:
        """With and without the scalars."""
        return 2

    def __call__(
        self, denoise: ConditionalDenoise, schedule: AnySchedule, observed: Observed | None
    ) -> ConditionalDenoise:
        """The guided denoiser.

        Raises:
            ConfigError: For observations, of which it knows nothing; when called without scalars,
                so that there is nothing to guide by.
        """
        if observed is not None:
            raise ConfigError(
                "guidance classifier_free: it guides by scalars and would ignore the observations; "
                "leave them out, or take guidance that needs them (`diffsci list guidance`)"
            )

        def guided(
            x_t: Tensor, t: Tensor, condition: Tensor | None, scalars: Tensor | None
        ) -> Tensor:
            if scalars is None:
                raise ConfigError(
                    "guidance classifier_free: the model has no scalars to guide by; "
                    "leave `sample.guidance` out, or train on data that has a class or parameters"
                )
            none = denoise(x_t, t, condition, torch.zeros_like(scalars))
            return none + self.scale * (denoise(x_t, t, condition, scalars) - none)

        return guided

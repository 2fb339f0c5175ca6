"""What every exact law is: a law of data whose noisy copies are known in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level, level
from diffsci.diffusion.covariance import Covariance, WithCovariance
from diffsci.diffusion.schedules.base import AnySchedule

SomeLaw = TypeVar("SomeLaw", bound="Law")


class Law(ABC):
    """A law of data x_0: a frozen dataclass, in the dtype and on the device of its tensors."""

    @abstractmethod
    def posterior_mean(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> Float[Tensor, "batch *shape"]:
        """E[x_0 | x_t]."""

    @abstractmethod
    def posterior(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> tuple[Float[Tensor, "batch *shape"], Covariance]:
        """E[x_0 | x_t] and Cov[x_0 | x_t]."""

    @abstractmethod
    def log_density(self, x_t: Float[Tensor, "batch *shape"], at: Level) -> Float[Tensor, " batch"]:
        """The logarithm of p(x_t)."""

    @abstractmethod
    def noisy(self, at: Level) -> Law:
        """The law of x_t at one level, as a law of its own."""

    def score(self, x_t: Float[Tensor, "batch *shape"], at: Level) -> Float[Tensor, "batch *shape"]:
        """The gradient of `log_density`, by Tweedie's formula."""
        shaped = over(at, x_t)
        return (shaped.signal_scale * self.posterior_mean(x_t, at) - x_t) / shaped.noise_std**2

    def denoiser(self, schedule: AnySchedule) -> Perfect:
        """The perfect model of this law, as samplers take it; it knows its covariance too."""
        return Perfect(self, schedule)

    def to(self: SomeLaw, like: Float[Tensor, "..."]) -> SomeLaw:
        """The same law in the dtype and on the device of a tensor."""
        this: Any = self
        found = {item.name: getattr(self, item.name) for item in fields(this)}
        moved = {name: v.to(like) for name, v in found.items() if isinstance(v, Tensor)}
        law: SomeLaw = replace(this, **moved)
        return law


@dataclass(frozen=True)
class Perfect(WithCovariance):
    """The denoiser that training aims at, for one law.

    Args:
        law: Of the data.
        schedule: The noise at each level.
    """

    law: Law
    schedule: AnySchedule

    def __call__(self, x_t: Float[Tensor, "batch *shape"], t: Tensor) -> Tensor:
        """E[x_0 | x_t]."""
        return self.law.posterior_mean(x_t, level(self.schedule, t))

    def with_covariance(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> tuple[Tensor, Covariance]:
        """E[x_0 | x_t] and Cov[x_0 | x_t]."""
        return self.law.posterior(x_t, at)


def over(at: Level, x: Float[Tensor, "..."]) -> Level:
    """A level in the dtype of x, shaped to multiply it."""
    return at.to(x).over(x)

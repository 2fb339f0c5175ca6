"""What every guidance is: a denoiser made from a denoiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

ConditionalDenoise = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""`(x_t, t, condition, scalars) -> E[x_0 | x_t, condition, scalars]`."""


class Guidance(ABC):
    """A family member: frozen dataclass that wraps a conditional denoiser."""

    needs_scalars: bool = False
    """Whether it has a meaning only for data with classes or parameters."""

    @property
    @abstractmethod
    def calls_per_step(self) -> int:
        """Network evaluations for one call of the wrapped denoiser."""

    @abstractmethod
    def __call__(self, denoise: ConditionalDenoise) -> ConditionalDenoise:
        """The guided denoiser."""

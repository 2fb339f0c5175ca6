"""What every sampler is: the way from noise at t = 1 to a sample at t = 0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules.base import Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]
"""`denoise(x_t, t) -> E[x_0 | x_t]`, with `t` a scalar tensor or one value per example."""

Noise = Callable[[Tensor, int], Tensor]
"""`noise(like, index)`: standard normal of the shape of `like`, the only randomness.

`index` counts draws: draw 0 made x_1, a sampler takes 1, 2, ... itself.
"""


class Sampler(ABC):
    """A family member: frozen keyword-only dataclass with a field `steps`, stateless.

    Float64 in gives float64 throughout. The result is x at t = 0, whose remaining noise is
    `noise_std(0)`.
    """

    @property
    @abstractmethod
    def order(self) -> int:
        """Order of convergence in 1 / steps: of the path if deterministic, else of the law."""

    @property
    @abstractmethod
    def calls(self) -> int:
        """Exact number of `denoise` calls of one sampling."""

    @abstractmethod
    def __call__(
        self, denoise: Denoise, schedule: Schedule, x_1: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """A sample of x_0 for each example of `x_1`, drawn at `(signal_scale(1), noise_std(1))`."""

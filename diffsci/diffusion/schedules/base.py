"""What every schedule is: the marginal law of the Gaussian augmentation at each level.

x_t = signal_scale(t) x_0 + noise_std(t) eps, for data of about unit variance; t = 0 is almost
clean, t = 1 is pure noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor


class Schedule(ABC):
    """A family member: frozen dataclass, called with levels.

    `noise_std` is positive everywhere on [0, 1], also at t = 0, and the signal-to-noise ratio falls
    strictly, so that every conversion between parameterisations is finite.
    """

    @abstractmethod
    def __call__(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(signal_scale, noise_std)` in the dtype and on the device of `t`."""

    @abstractmethod
    def level_of(self, noise_to_signal: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The t at which noise_std / signal_scale has the given value, clipped to [0, 1]."""

"""What every schedule is: the marginal law of the Gaussian augmentation at each level.

x_t = signal_scale(t) x_0 + noise_std(t) eps, for data of about unit variance; t = 0 is almost
clean, t = 1 is pure noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.errors import require

AnySchedule = Callable[[Tensor], tuple[Tensor, Tensor]]
"""`schedule(t) -> (signal_scale, noise_std)`: a family member, or any function that does this."""


class Schedule(ABC):
    """A family member: frozen dataclass, called with levels.

    `noise_std` is positive everywhere on [0, 1], also at t = 0, and the signal-to-noise ratio falls
    strictly, so that every conversion between parameterisations is finite.
    """

    def __call__(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(signal_scale, noise_std)` in the dtype and on the device of `t`.

        Raises:
            FieldError: For t outside [0, 1].
        """
        check_levels(t)
        return self.scales(t)

    @abstractmethod
    def scales(
        self, t: Float[Tensor, "*levels"]
    ) -> tuple[Float[Tensor, "*levels"], Float[Tensor, "*levels"]]:
        """`(signal_scale, noise_std)` for t in [0, 1]."""

    @abstractmethod
    def level_of(self, noise_to_signal: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The t at which noise_std / signal_scale has the given value, clipped to [0, 1]."""


def check_levels(t: Float[Tensor, "*levels"]) -> None:
    """Refuse levels outside [0, 1]; on a GPU they are not read, since that makes the host wait.

    Raises:
        FieldError: With the first such level.
    """
    if t.device.type != "cpu" or torch.compiler.is_compiling():
        return
    # Also false for NaN. A level that was computed may miss the end by its rounding.
    outside = ~((t >= -_ROUNDING) & (t <= 1 + _ROUNDING))
    if bool(outside.any()):
        value = float(t.detach()[outside].flatten()[0])
        require(False, "t", value, "levels from 0 (almost clean) to 1 (pure noise)")


_ROUNDING = 1e-6

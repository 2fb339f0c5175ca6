"""One forecast, no ensemble: its error, which is least for the conditional mean or median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.objectives.base import Direct


@dataclass(frozen=True, kw_only=True)
class Deterministic(Direct):
    """Error of one forecast by one call: the row that an ensemble has to beat.

    Args:
        error: `squared` is least for the mean of what may come, `absolute` for its median.
    """

    error: Literal["squared", "absolute"] = "squared"

    @property
    def count(self) -> int:
        """A single one."""
        return 1

    def loss(
        self,
        found: Float[Tensor, "member batch channel *space"],
        target: Float[Tensor, "batch channel *space"],
    ) -> Float[Tensor, "batch channel *space"]:
        """The error, squared or not."""
        error = found[0] - target
        return error**2 if self.error == "squared" else error.abs()

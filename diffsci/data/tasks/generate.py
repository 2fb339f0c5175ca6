"""Generate: nothing is given but scalars, perhaps; a state is sampled from its climatology."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.data.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Generate(Task):
    """Sample states from scratch, for a class or physical parameters where the data has them."""

    has_leads = False
    parts = ((0,),)

    @property
    def frames(self) -> int:
        """One."""
        return 1

    @property
    def given_frames(self) -> int:
        """None."""
        return 0

    def target(
        self,
        window: Float[Tensor, "n frame channel *space"],
        condition: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n channel *space"]:
        """The state."""
        return window[:, 0]

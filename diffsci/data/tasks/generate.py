"""Generate: nothing is given but scalars, perhaps; a state is sampled from its climatology."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.data.fields import Fields
from diffsci.data.tasks.base import Task
from diffsci.grid import Grid


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

    def check(self, fields: Fields) -> None:
        """Any data can be generated."""

    def condition_channels(self, channels: int) -> int:
        """None."""
        return 0

    def observe(self, window: Float[Tensor, "n frame channel *space"], grid: Grid) -> None:
        """Nothing."""
        return

    def condition(self, given: Tensor | None, grid: Grid, part: int = 0) -> None:
        """None."""
        return

    def shown(self, given: Tensor | None, grid: Grid) -> None:
        """Nothing."""
        return

    def target(
        self,
        window: Float[Tensor, "n frame channel *space"],
        condition: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n channel *space"]:
        """The state."""
        return window[:, 0]

    def restore(
        self, target: Float[Tensor, "n channel *space"], condition: Tensor | None
    ) -> Float[Tensor, "n channel *space"]:
        """The state."""
        return target

    def advance(self, given: Tensor | None, states: Float[Tensor, "n step channel *space"]) -> None:
        """Nothing to advance."""
        return

"""Trajectory: several consecutive frames, sampled together from nothing.

What it learns is the law of short pieces of trajectories: how states look, and how they follow each
other. Pieces that overlap make a trajectory of any length, and observations of some of it draw the
rest along (`diffsci assimilate`).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.data.fields import Fields
from diffsci.data.tasks.base import Task, windows
from diffsci.errors import DataError, require


@dataclass(frozen=True, kw_only=True)
class Trajectory(Task):
    """Sample several consecutive frames from scratch: the prior of an assimilation.

    Args:
        length: Frames sampled together.
        stride: Steps of the data between them.
    """

    length: int = 16
    stride: int = 1

    has_leads = True
    goes_on = False

    def __post_init__(self) -> None:
        require(self.length >= 1, "length", self.length, "1 or more")
        require(self.stride >= 1, "stride", self.stride, "1 or more")

    @property
    def step(self) -> int:  # type: ignore[override]
        """The stride."""
        return self.stride

    @property
    def parts(self) -> tuple[tuple[int, ...], ...]:  # type: ignore[override]
        """All frames at once."""
        return (tuple(range(1, self.length + 1)),)

    @property
    def frames(self) -> int:
        """Those sampled, and one before them, from which leads are counted."""
        return 1 + self.length * self.stride

    @property
    def given_frames(self) -> int:
        """The frame from which leads are counted; nothing of it is given."""
        return 1

    def check(self, fields: Fields) -> None:
        """Needs enough consecutive, regular steps."""
        if len(fields.times) < 2 or len(windows(fields, self.frames)) == 0:
            raise DataError(
                f"{fields.source}: no {self.frames} consecutive times without a gap among "
                f"{len(fields.times)}; lower `length` or `stride`, or widen the part"
            )

    def target(
        self,
        window: Float[Tensor, "n frame channel *space"],
        condition: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n target *space"]:
        """The states, one after the other along channels."""
        return window[:, self.stride :: self.stride].flatten(1, 2)

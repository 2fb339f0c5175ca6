"""What every task is: which part of a field is given, and which is to be sampled.

A task works on *normalised states*: `[example, frame, channel, *space]` with mean 0 and variance 1
per channel over the training period. It knows nothing of geography or of files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffsci.data.fields import Channel, Fields
from diffsci.grid import Grid


class Task(ABC):
    """A family member: frozen dataclass."""

    has_leads: bool
    """Whether the ensemble has a lead axis, made by rolling the model forward."""

    goes_on: bool = True
    """Whether a forecast goes on from what was sampled, to any lead."""

    per_cell: bool = False
    """Whether targets are scaled cell by cell: what is missing has a climatological pattern."""

    regressed: bool = False
    """Whether targets are what a linear regression on what is given misses."""

    anchored: bool = False
    """Whether that regression knows changes from the last given frame alone, alike in all cells."""

    climate: bool = False
    """Whether mean and spread of each cell over the training part are given too."""

    draws: int = 0
    """Ways to hide cells of each training window; 0 where cells are never hidden."""

    beside: str | None = None
    """Entry or path of a second data set: its field at the same time comes first in what is seen.

    It is on the target's grid, in the same channels.
    """

    masks: str | None = None
    """Entry or path of a data set that says which cells are known."""

    variable: str = "known"
    """Its variable; what is neither 0 nor missing there is known."""

    match: Literal["chance", "time"] = "chance"
    """Whether a mask is that of the same time, or any of them."""

    boundary: int = 0
    """Cells along each open side that are given of every state that is made."""

    step: int = 1
    """Frames of the data from one forecast step to the next."""

    parts: tuple[tuple[int, ...], ...] = ((1,),)
    """Forecast steps from the same origin that each draw makes; after all of them it moves on."""

    @property
    def varies_by(self) -> Literal["values", "states", "times"]:
        """Between what a variable must differ, for there to be something to learn of it."""
        return "states" if self.per_cell else "values"

    @property
    def emits(self) -> int:
        """States that one draw makes."""
        return len(self.parts[0])

    @property
    def block(self) -> int:
        """Forecast steps made from one origin."""
        return len(self.parts) * self.emits

    @property
    @abstractmethod
    def frames(self) -> int:
        """Consecutive frames of one training window."""

    @property
    @abstractmethod
    def given_frames(self) -> int:
        """How many leading frames of a window are given as they are."""

    # From here on: what holds of a task that is given nothing and has no leads, such as `generate`.

    def check(self, fields: Fields) -> None:  # noqa: B027  Any data will do, by default.
        """Refuse data this task has no meaning for.

        Raises:
            DataError: Naming what is missing and the fix.
        """

    def condition_channels(self, channels: int) -> int:
        """Channels of `condition` for a state of so many channels; 0 for none."""
        return 0

    def given_states(self, channels: int) -> tuple[int, int]:
        """First channel of `condition` that is one of a state, and the one after the last."""
        return 0, self.condition_channels(channels)

    def last_given(self, channels: int) -> slice:
        """Channels of `condition` that are the last given frame, where targets follow from it."""
        return slice(0, 0)

    def vectors(self, channels: tuple[Channel, ...]) -> tuple[int, ...]:
        """Numbers of the network's input channels that are components of vectors along the grid.

        The target's channels come first, then those of the condition; both repeat the state's,
        frame by frame.

        Args:
            channels: Of the state.
        """
        count = len(channels)
        frames = self.emits + self.condition_channels(count) // count
        marked = [number for number, channel in enumerate(channels) if channel.vector]
        return tuple(frame * count + number for frame in range(frames) for number in marked)

    def observe(self, window: Float[Tensor, "n frame channel *space"], grid: Grid) -> Tensor | None:
        """What a user would know of a window: the history frames, the coarse field, or nothing."""
        return None

    def hide(
        self,
        window: Float[Tensor, "n frame channel *space"],
        numbers: Int[np.ndarray, " n"],
        masks: Bool[Tensor, "n *space"] | None = None,
    ) -> Float[Tensor, "n frame channel *space"]:
        """A window with NaN where cells are hidden from whoever observes it.

        Args:
            window: Normalised states; NaN where they are missing.
            numbers: By which each example's cells are drawn.
            masks: Cells that are known, where a data set says so.
        """
        return window

    def kept(self, given: Tensor | None, channels: int) -> Bool[Tensor, "n channel *space"] | None:
        """Cells of the state that are given as they are, and so are not asked for; none: no such.

        Args:
            given: As `observe` has it.
            channels: Of the state.
        """
        return None

    def condition(
        self, given: Tensor | None, grid: Grid, part: int = 0
    ) -> Float[Tensor, "n given *space"] | None:
        """The network's condition from what is known, on the target's grid, for one of `parts`."""
        return None

    def given_grid(self, grid: Grid) -> Grid:
        """Where the values sit that a user hands over, for a target on `grid`: the same grid."""
        return grid

    def second(self, fields: Fields) -> Float[np.ndarray, "trajectory time channel *space"] | None:
        """Fields that come first in what is seen, where the task makes them; else none."""
        return None

    def on_grid(self, fields: Fields, grid: Grid) -> Fields:
        """Fields as a user, or a second data set, has them, on the target's grid where they may be.

        Args:
            fields: On a grid of their own.
            grid: The target's.

        Raises:
            DataError: Where they do not cover it.
        """
        return fields

    def shown(self, given: Tensor | None, grid: Grid) -> Float[Tensor, "n channel *space"] | None:
        """The newest state that is known, on the target's grid, for baselines and pictures."""
        return None

    @abstractmethod
    def target(
        self,
        window: Float[Tensor, "n frame channel *space"],
        condition: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n target *space"]:
        """What the model learns of one of `parts`, before scaling: states, tendencies, residuals.

        Of several states, the channels of the first come first.
        """

    def restore(
        self, target: Float[Tensor, "n target *space"], condition: Tensor | None
    ) -> Float[Tensor, "n target *space"]:
        """The states from a sampled target: the inverse of `target`; here that is the states."""
        return target

    def advance(
        self, given: Tensor | None, states: Float[Tensor, "n step channel *space"]
    ) -> Tensor | None:
        """What is known after a block of forecast steps, as `observe` has it."""
        return None


def windows(fields: Fields, frames: int) -> Int[np.ndarray, "window 2"]:
    """Trajectory and first frame of every run of `frames` consecutive frames without a break."""
    times = len(fields.times)
    starts = [
        start
        for start in range(times - frames + 1)
        if not fields.breaks[start + 1 : start + frames].any()
    ]
    trajectories = np.arange(len(fields.trajectories))
    pairs = np.stack(
        np.meshgrid(trajectories, np.array(starts, dtype=np.int64), indexing="ij"), axis=-1
    )
    return pairs.reshape(-1, 2)

"""Forecast: the last frames are given, the next is sampled, and it becomes the last one given.

By default the model learns the tendency, the next state minus the last given one: smooth fields
change little in a step, so that the network is left with what is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.data.fields import Fields
from diffsci.data.tasks.base import Task, windows
from diffsci.errors import DataError, require
from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Forecast(Task):
    """Sample the next state from the last ones, step by step to any lead.

    Args:
        history: Frames given.
        stride: Steps of the data between frames, and from the last given one to the next.
        learn: What is learnt: the change from the last frame, or the state itself.
    """

    history: int = 1
    stride: int = 1
    learn: Literal["tendency", "state"] = "tendency"

    has_leads = True

    def __post_init__(self) -> None:
        require(self.history >= 1, "history", self.history, "1 or more")
        require(self.stride >= 1, "stride", self.stride, "1 or more")
        require(self.learn in ("tendency", "state"), "learn", self.learn, "tendency or state")

    @property
    def frames(self) -> int:
        """The span of the history and one stride more."""
        return self.history * self.stride + 1

    @property
    def given_frames(self) -> int:
        """The span of the history."""
        return (self.history - 1) * self.stride + 1

    def check(self, fields: Fields) -> None:
        """Needs a time axis with enough consecutive, regular steps."""
        if len(fields.times) < 2:
            raise DataError(
                f"{fields.source}: a forecast needs times, and there is one alone; "
                "take another task, or data with a time axis"
            )
        if fields.breaks[1:].mean() > 0.5:
            raise DataError(
                f"{fields.source}: {int(fields.breaks.sum())} of {len(fields.times) - 1} "
                "time steps are irregular; interpolate to regular times"
            )
        if len(windows(fields, self.frames)) == 0:
            raise DataError(
                f"{fields.source}: no {self.frames} consecutive times without a gap among "
                f"{len(fields.times)}; lower `history` or `stride`, or widen the part"
            )

    def condition_channels(self, channels: int) -> int:
        """Those of every history frame."""
        return self.history * channels

    def observe(
        self, window: Float[Tensor, "n frame channel *space"], grid: Grid
    ) -> Float[Tensor, "n history channel *space"]:
        """The history, oldest first."""
        return window[:, : self.given_frames : self.stride]

    def condition(self, given: Tensor | None, grid: Grid) -> Float[Tensor, "n given *space"] | None:
        """The history along channels, oldest first."""
        assert given is not None
        return given.flatten(1, 2)

    def shown(self, given: Tensor | None, grid: Grid) -> Float[Tensor, "n channel *space"] | None:
        """The last frame of the history."""
        assert given is not None
        return given[:, -1]

    def target(
        self, window: Float[Tensor, "n frame channel *space"], condition: Tensor | None
    ) -> Float[Tensor, "n channel *space"]:
        """The next state, or its change."""
        state = window[:, self.frames - 1]
        return state if self.learn == "state" else state - window[:, self.given_frames - 1]

    def restore(
        self, target: Float[Tensor, "n channel *space"], condition: Tensor | None
    ) -> Float[Tensor, "n channel *space"]:
        """The next state."""
        assert condition is not None
        return target if self.learn == "state" else condition[:, -target.shape[1] :] + target

    def advance(
        self, condition: Tensor | None, state: Float[Tensor, "n channel *space"]
    ) -> Float[Tensor, "n given *space"]:
        """The history without its oldest frame, and with the new one."""
        assert condition is not None
        return torch.cat([condition[:, state.shape[1] :], state], dim=1)

"""Forecast: the last frames are given, later ones are sampled, and become the last ones given.

By default the model learns the tendency, the next state minus the last given one: smooth fields
change little in a step, so that the network is left with what is new. From one origin it may make a
block of several steps: all of them in one draw, or one a draw, told which by the lead as a scalar.
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
    """Sample the next states from the last ones, block by block to any lead.

    Args:
        history: Frames given.
        stride: Steps of the data between frames, and from the last given one to the next.
        ahead: Forecast steps made from one origin.
        draw: Whether those are sampled `together`, as one state of so many times the channels, or
            `each` by itself, with the lead as a scalar.
        recall: So many frames before each valid time a frame is given too: 24 gives yesterday's
            value at the same hour, of hourly frames.
        learn: What is learnt: the change from the last frame (`tendency`), the state itself, the
            `residual`, which is what a linear regression misses (it has a mean and forcings of each
            cell, and slopes on the given frames that all cells share), or the `innovation`, which
            is what an autoregression misses: slopes alone, on how the given frames differ from
            the last one, so that it knows no climate and works alike on warmer or colder data; it
            needs several of them.
        climate: Whether mean and spread of each cell over the training part are given too.
        boundary: So many cells along each open side of a limited area are given of every later
            state, by the data or a host model, and are put back in what is made.
    """

    history: int = 1
    stride: int = 1
    ahead: int = 1
    draw: Literal["together", "each"] = "together"
    recall: tuple[int, ...] = ()
    learn: Literal["tendency", "state", "residual", "innovation"] = "tendency"
    climate: bool = False
    boundary: int = 0

    has_leads = True

    def __post_init__(self) -> None:
        for name in ("history", "stride", "ahead"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        known = all(back >= self.ahead for back in self.recall)
        expected = f"numbers of frames, each at least `ahead` ({self.ahead}), which is known then"
        require(known, "recall", self.recall, expected)
        require(self.boundary >= 0, "boundary", self.boundary, "a number of cells")
        alone = not self.regressed and self.emits == 1
        expected = (
            "0 with `learn: residual` or `innovation`, or several states in one draw (`draw: each` "
            "has one)"
        )
        require(alone or not self.boundary, "boundary", self.boundary, expected)
        several = self.history > 1 or bool(self.recall)
        expected = (
            "`tendency`, which is the same where one frame is given; or `history: 2` or `recall`"
        )
        require(several or not self.anchored, "learn", self.learn, expected)

    @property
    def regressed(self) -> bool:  # type: ignore[override]
        """Whether targets are residuals, or innovations."""
        return self.learn in ("residual", "innovation")

    @property
    def anchored(self) -> bool:  # type: ignore[override]
        """Whether they are innovations."""
        return self.learn == "innovation"

    @property
    def varies_by(self) -> Literal["values", "states", "times"]:
        """What stays as it is has no tendency, and a regression misses nothing of it."""
        return "values" if self.learn == "state" else "times"

    @property
    def step(self) -> int:  # type: ignore[override]
        """The stride."""
        return self.stride

    @property
    def parts(self) -> tuple[tuple[int, ...], ...]:  # type: ignore[override]
        """All steps of a block at once, or each by itself."""
        steps = tuple(range(1, self.ahead + 1))
        return (steps,) if self.draw == "together" else tuple((step,) for step in steps)

    @property
    def _known(self) -> int:
        """Frames that are known: the history, and as far back as is recalled."""
        return max(self.history, *self.recall) if self.recall else self.history

    @property
    def frames(self) -> int:
        """The span of the known frames and of a block."""
        return self.given_frames + self.ahead * self.stride

    @property
    def given_frames(self) -> int:
        """The span of the known frames."""
        return (self._known - 1) * self.stride + 1

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
        if self.boundary:
            self._check_sides(fields)
        if len(windows(fields, self.frames)) == 0:
            raise DataError(
                f"{fields.source}: no {self.frames} consecutive times without a gap among "
                f"{len(fields.times)}; lower `history`, `stride`, `ahead` or `recall`, or widen "
                "the part"
            )

    def _check_sides(self, fields: Fields) -> None:
        """Needs an open side, and cells inside.

        Raises:
            DataError: Naming the dim.
        """
        grid = fields.grid
        if not any("open" in sides for sides in grid.boundary):
            told = ", ".join(
                f"{d} {'/'.join(s)}" for d, s in zip(grid.dims, grid.boundary, strict=True)
            )
            raise DataError(
                f"{fields.source}: `boundary: {self.boundary}` gives cells along open sides, and "
                f"there is none ({told}); leave it out"
            )
        for dim, size, sides in zip(grid.dims, grid.sizes, grid.boundary, strict=True):
            if size <= self.boundary * sides.count("open"):
                raise DataError(
                    f"{fields.source}: of {size} cells along {dim}, `boundary: {self.boundary}` "
                    "leaves none inside; lower it"
                )

    def condition_channels(self, channels: int) -> int:
        """Those of every history frame, of every recalled one, and of rims."""
        rims = self.emits if self.boundary else 0
        return (self.history + len(self.recall) * self.emits + rims) * channels

    def last_given(self, channels: int) -> slice:
        """The end of the history."""
        return slice((self.history - 1) * channels, self.history * channels)

    def observe(
        self, window: Float[Tensor, "n frame channel *space"], grid: Grid
    ) -> Float[Tensor, "n known channel *space"]:
        """The known frames, oldest first."""
        return window[:, : self.given_frames : self.stride]

    def condition(
        self, given: Tensor | None, grid: Grid, part: int = 0
    ) -> Float[Tensor, "n given *space"] | None:
        """The history along channels, oldest first, then what is recalled of each step."""
        assert given is not None
        last = given.shape[1] - 1
        back = [last + step - back for back in self.recall for step in self.parts[part]]
        history = given[:, last + 1 - self.history :]
        frames = torch.cat([history, given[:, back]], dim=1) if back else history
        return frames.flatten(1, 2)

    def shown(self, given: Tensor | None, grid: Grid) -> Float[Tensor, "n channel *space"] | None:
        """The last known frame."""
        assert given is not None
        return given[:, -1]

    def target(
        self,
        window: Float[Tensor, "n frame channel *space"],
        condition: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n target *space"]:
        """The next states, or their change from the last given one."""
        last = self.given_frames - 1
        states = window[:, [last + self.stride * step for step in self.parts[part]]]
        if self.learn == "tendency":
            states = states - window[:, last : last + 1]
        return states.flatten(1, 2)

    def restore(
        self, target: Float[Tensor, "n target *space"], condition: Tensor | None
    ) -> Float[Tensor, "n target *space"]:
        """The next states."""
        if self.learn != "tendency":
            return target
        assert condition is not None
        channels = target.shape[1] // self.emits
        last = condition[:, self.last_given(channels)]
        return last.repeat(1, self.emits, *[1] * (target.ndim - 2)) + target

    def advance(
        self, given: Tensor | None, states: Float[Tensor, "n step channel *space"]
    ) -> Float[Tensor, "n known channel *space"]:
        """The known frames without the oldest, and with the new ones."""
        assert given is not None
        return torch.cat([given, states], dim=1)[:, -given.shape[1] :]

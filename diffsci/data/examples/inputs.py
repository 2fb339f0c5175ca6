"""Inputs: what the network is given, made from what is known: frames, forcings, climate, lead.

The order along channels is: what the task makes of the known frames, the rims of the states that
are made, the forcings that are fields (of each valid time), statics, mean and spread of each cell.
Scalars are those of the trajectory, then the forcings that are numbers (of the first valid time),
then the lead where draws differ by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffsci.data.examples.around import Around
from diffsci.data.examples.rims import spread, taken
from diffsci.data.examples.seeing import Seeing, training_numbers
from diffsci.data.fields import Fields
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task, windows
from diffsci.grid import Grid

_BLOCK, _MOST_BYTES = 256, 2**26
"""Windows taken at once, and bytes of them."""


def condition_channels(task: Task, around: Around, channels: int) -> int:
    """Channels of the network's condition, for a state of so many channels."""
    forced = len(around.field_names) * task.emits + around.static_count
    return task.condition_channels(channels) + forced + (2 * channels if task.climate else 0)


def scalar_count(task: Task, around: Around, own: int) -> int:
    """Scalars of the network, for data with so many of its own."""
    return own + len(around.scalar_names) + (len(task.parts) > 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What makes them.

    Args:
        task: Says which frames.
        around: The forcings.
        statistics: Of the training part.
    """

    task: Task
    around: Around
    statistics: Statistics

    @property
    def grid(self) -> Grid:
        """The target's."""
        return self.around.grid

    def condition(
        self,
        given: Tensor | None,
        times: np.ndarray | None,
        part: int = 0,
        edges: Float[Tensor, "n step channel cell"] | None = None,
    ) -> Float[Tensor, "n given *space"] | None:
        """The condition of normalised states, not yet scaled.

        Args:
            given: As `Task.observe` has it.
            times: Valid times of the part's steps, `[n, step]`; none where there are no forcings.
            part: Which of the task's parts.
            edges: Rims of the states that the part makes, where the task is given them.
        """
        frames = self.task.condition(given, self.grid, part)
        if frames is None:
            return None
        more = [frames]
        if self.task.boundary:
            assert edges is not None
            more.append(spread(edges, self.grid, self.task.boundary).flatten(1, 2).to(frames))
        if self.around.field_names:
            assert times is not None
            fields = [torch.from_numpy(self.around.fields(at)) for at in times.T]
            more.append(torch.cat(fields, dim=1).to(frames))
        if self.statistics.statics.size:
            statics = torch.as_tensor(self.statistics.statics).to(frames)
            more.append(statics.expand(len(frames), *statics.shape))
        if self.task.climate:
            climate = torch.as_tensor(self.statistics.climate).to(frames)
            more.append(climate.expand(len(frames), *climate.shape))
        return frames if len(more) == 1 else torch.cat(more, dim=1)

    def forced(self, times: np.ndarray | None, like: Tensor) -> Float[Tensor, "n forcing"]:
        """The forcings that are numbers, at the first of the valid times."""
        if times is None or not self.around.scalar_names:
            return like.new_zeros(len(like), 0)
        return torch.from_numpy(self.around.scalars(times[:, 0])).to(like)

    def scalars(
        self, own: Tensor | None, forced: Float[Tensor, "n forcing"], part: int = 0
    ) -> Float[Tensor, "n scalar"] | None:
        """All scalars of the network; none where there are none."""
        columns = [] if own is None else [own]
        if forced.shape[1]:
            columns.append(forced)
        leads = len(self.task.parts)
        if leads > 1:
            columns.append(forced.new_full((len(forced), 1), 2 * part / (leads - 1) - 1))
        if len(columns) < 2:
            return columns[0] if columns else None
        return torch.cat(columns, dim=1)

    def valid(
        self, times: np.ndarray, starts: Int[np.ndarray, " n"], part: int
    ) -> np.ndarray | None:
        """Valid times of the steps of some windows, `[n, step]`; none where nothing needs them.

        Args:
            times: Of the data.
            starts: Number of each window's first frame.
            part: Which of the task's parts.
        """
        if not self.around.forcings:
            return None
        last = starts + max(self.task.given_frames - 1, 0)
        steps = self.task.step * np.array(self.task.parts[part])
        return np.asarray(times[last[:, None] + steps])

    def pairs(self, fields: Fields) -> Iterator[tuple[int, Pair]]:
        """Targets and conditions of all windows, a block at a time, with the number of the part."""
        starts = windows(fields, self.task.frames)
        steps = np.arange(self.task.frames)
        seeing = Seeing.of(fields, self.task, self.statistics)
        one = 4 * self.task.frames * int(np.prod(fields.values.shape[2:]))
        size = max(1, min(_BLOCK, _MOST_BYTES // one))
        for first in range(0, len(starts), size):
            rows = starts[first : first + size]
            physical = fields.values[rows[:, :1], rows[:, 1:] + steps]
            window = torch.from_numpy(self.statistics.encode(physical))
            seen = seeing(window, rows, training_numbers(rows))
            for part in range(len(self.task.parts)):
                pair = self.pair(window, self.valid(fields.times, rows[:, 1], part), part, seen)
                if fields.gappy:
                    counts = self.counted(torch.from_numpy(np.isfinite(physical)), part)
                    pair = replace(pair, mask=counts)
                yield part, pair

    def pair(
        self,
        window: Float[Tensor, "n frame channel *space"],
        times: np.ndarray | None,
        part: int,
        seen: Float[Tensor, "n shown channel *space"] | None = None,
    ) -> Pair:
        """Target and condition of some windows, neither of them scaled.

        Args:
            window: Normalised states.
            times: As for `condition`.
            part: Which of the task's parts.
            seen: The window as a task may look at it, see `Seeing`; none: it is the window.
        """
        given = self.task.observe(window if seen is None else seen, self.grid)
        condition = self.condition(given, times, part, self._edges(window, part))
        target = self.task.target(window, condition, part)
        return Pair(target=target, condition=condition, forced=self.forced(times, window[:, 0]))

    def _edges(
        self, window: Float[Tensor, "n frame channel *space"], part: int
    ) -> Float[Tensor, "n step channel cell"] | None:
        task = self.task
        if not task.boundary:
            return None
        last = max(task.given_frames - 1, 0)
        steps = [last + task.step * lead for lead in task.parts[part]]
        return taken(window[:, steps], self.grid, task.boundary)

    def counted(
        self, there: Bool[Tensor, "n frame channel *space"], part: int
    ) -> Bool[Tensor, "n target *space"]:
        """Which values of the targets count: those that are there in the states they stand for.

        Args:
            there: Which values of some windows are not missing.
            part: Which of the task's parts.
        """
        task = self.task
        last = max(task.given_frames - 1, 0)
        return there[:, [last + task.step * lead for lead in task.parts[part]]].flatten(1, 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Some examples.

    Args:
        target: Of normalised states, before scaling.
        condition: Of normalised states, before scaling.
        forced: Forcings that are numbers.
        mask: True where the target counts; none where all of it does.
    """

    target: Float[Tensor, "n channel *space"]
    condition: Float[Tensor, "n given *space"] | None
    forced: Float[Tensor, "n forcing"]
    mask: Bool[Tensor, "n target *space"] | None = None

"""Windows: training examples as tensors.

Small data lives in memory as normalised float32 tensors; a batch is then one gather. What a
single-frame task derives from a state (its condition, its scaled target) is made once. Of data that
stays on disk a batch reads its own fields; its numbers are the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffsci.batch import Batch
from diffsci.data.examples.around import Around
from diffsci.data.examples.inputs import Inputs, condition_channels
from diffsci.data.examples.seeing import Seeing, training_numbers
from diffsci.data.fields import Fields
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task, windows
from diffsci.errors import DataError
from diffsci.grid import Grid

_PREPARE_BYTES = 2**30
"""Targets and conditions of a single-frame task are kept up to this size, else made anew."""

_BLOCK = 256


class Examples:
    """Training examples of one part: `len` of them, and any batch of them by index.

    Args:
        fields: The part, in physical units.
        task: What is given and what is to be sampled.
        statistics: Of the training part.
        forcings: As the domain has them.
        leads: Forecast steps of an example, one after the other; those after the first are its
            `later` ones.
    """

    def __init__(
        self,
        fields: Fields,
        task: Task,
        statistics: Statistics,
        forcings: tuple[str, ...] = (),
        leads: int = 1,
    ) -> None:
        task.check(fields)
        self.task = task
        self.statistics = statistics
        self.grid: Grid = fields.grid
        around = Around(forcings=forcings, grid=fields.grid)
        self.inputs = Inputs(task=task, around=around, statistics=statistics)
        self._times = fields.times
        # Frames from one draw to the next; each starts where the one before it ends.
        self._ahead = [lead * task.step * task.block for lead in range(1, leads)]
        frames = task.frames + max(self._ahead, default=0)
        self.windows: Int[np.ndarray, "window 2"] = windows(fields, frames)
        if len(self.windows) == 0:
            less = ", lower train.rollout.leads" if leads > 1 else ""
            raise DataError(
                f"{fields.source}: no window of {frames} frames in {len(fields.times)} times; "
                f"widen the part{less}, or look for gaps with `diffsci check`"
            )
        self.states: Tensor | None = None
        self._values, self._missing = fields.values if fields.on_disk else None, fields.gappy
        self._channels = int(fields.values.shape[2])
        if isinstance(fields.values, np.ndarray):
            self.states = torch.from_numpy(statistics.encode(fields.values))
        self._there = _there(fields)
        self._seeing = Seeing.of(fields, task, statistics)
        self.scalars = scalars_of(fields, statistics)
        # Of each part of the task, whose targets lie one after the other.
        shape = (len(task.parts), -1, *statistics.target_mean.shape[1:])
        mean, std = statistics.target_mean.reshape(shape), statistics.target_std.reshape(shape)
        self._mean = torch.as_tensor(mean, dtype=torch.float32)
        self._scale = torch.as_tensor(1 / std, dtype=torch.float32)
        self._steps = torch.arange(task.frames)
        self._ready: Batch | None = None
        given = condition_channels(task, around, self.channels)
        size = self.nbytes * (self.channels + given) / self.channels
        if task.frames == 1 and not task.draws and 0 < size <= _PREPARE_BYTES:
            self._ready = self._prepare()

    def __len__(self) -> int:
        return len(self.windows) * len(self.task.parts) * max(1, self.task.draws)

    @property
    def channels(self) -> int:
        """Channels of a state."""
        return self._channels

    @property
    def on_disk(self) -> bool:
        """Whether a batch reads its fields."""
        return self.states is None

    @property
    def nbytes(self) -> int:
        """Bytes that the states take in memory."""
        return 0 if self.states is None else self.states.nbytes

    def window(
        self, rows: Int[np.ndarray, "batch 2"]
    ) -> Float[Tensor, "batch frame channel *space"]:
        """Normalised frames of the windows that begin at these trajectories and times."""
        return self._window(rows)[0]

    def seen(self, rows: Int[np.ndarray, "batch 2"]) -> Float[Tensor, "batch shown channel *space"]:
        """What the task may look at of the windows that begin at these trajectories and times."""
        return self._seeing(self.window(rows), rows, training_numbers(rows))

    def _window(self, rows: Int[np.ndarray, "batch 2"]) -> tuple[Tensor, Tensor | None]:
        """With what is there of them, where gaps are read with the values."""
        if self.states is not None:
            trajectory, start = torch.from_numpy(rows).unbind(dim=1)
            return self.states[trajectory[:, None], start[:, None] + self._steps], None
        assert self._values is not None
        physical = self._values[rows[:, :1], rows[:, 1:] + self._steps.numpy()]
        there = None
        if self._missing and self._there is None:
            there = torch.from_numpy(np.isfinite(physical))
        return torch.from_numpy(self.statistics.encode(physical)), there

    @property
    def condition_channels(self) -> int:
        """Channels of the condition; 0 for none."""
        return condition_channels(self.task, self.inputs.around, self.channels)

    @property
    def parameters(self) -> int:
        """Scalars that the data gives each example; 0 for none."""
        return 0 if self.scalars is None else int(self.scalars.shape[1])

    def batch(self, index: Int[np.ndarray, " batch"]) -> Batch:
        """The examples of these numbers: target of unit variance, condition, scalars.

        All windows of the task's first part come first, then those of the next; and all of them
        again for each way to hide cells.
        """
        if self._ready is not None:
            return self._ready.take(torch.from_numpy(np.array(index)))
        if self.task.draws:
            draw, window = np.divmod(index, len(self.windows))
            return self._make(self.windows[window], draw=draw)
        part, window = np.divmod(index, len(self.windows))
        if (part == part[:1]).all():
            return self._led(self.windows[window], int(part[0]) if len(part) else 0)
        order = np.argsort(part, kind="stable")
        made = [self._make(self.windows[window[part == one]], int(one)) for one in np.unique(part)]
        return _joined(made).take(torch.from_numpy(np.argsort(order)))

    def _led(self, rows: Int[np.ndarray, "batch 2"], part: int) -> Batch:
        """With the later draws of its trajectory."""
        later = tuple(self._make(rows + np.array([0, ahead]), part) for ahead in self._ahead)
        first = self._make(rows, part)
        return replace(first, later=later) if later else first

    def _make(
        self,
        rows: Int[np.ndarray, "batch 2"],
        part: int = 0,
        draw: Int[np.ndarray, " batch"] | int = 0,
    ) -> Batch:
        window, there = self._window(rows)
        times = self.inputs.valid(self._times, rows[:, 1], part)
        seen = self._seeing(window, rows, training_numbers(rows, draw))
        pair = self.inputs.pair(window, times, part, seen)
        target = self.statistics.anomaly(pair.target, pair.condition, pair.forced, part)
        own = None if self.scalars is None else self.scalars[torch.from_numpy(rows[:, 0])]
        return Batch(
            target=(target - self._mean[part]) * self._scale[part],
            condition=self.statistics.scale_condition(pair.condition),
            scalars=self.inputs.scalars(own, pair.forced, part),
            mask=self._mask(rows, there, part),
            states=self.task.given_states(self.channels),
            parameters=0 if own is None else own.shape[1],
        )

    def _mask(
        self, rows: Int[np.ndarray, "batch 2"], there: Tensor | None, part: int
    ) -> Tensor | None:
        if there is not None:
            return self.inputs.counted(there, part)
        if self._there is None:
            return None
        trajectory, start = torch.from_numpy(rows).unbind(dim=1)
        still = self._there.shape[:2] == (1, 1)  # One state for all trajectories and times.
        frames = start[:, None] + self._steps
        row, frame = (0 * frames, 0 * frames) if still else (trajectory[:, None], frames)
        return self.inputs.counted(self._there[row, frame], part)

    def _prepare(self) -> Batch:
        return _joined(
            [
                self._make(self.windows[first : first + _BLOCK])
                for first in range(0, len(self.windows), _BLOCK)
            ]
        )


def _there(fields: Fields) -> Tensor | None:
    """Which values are not missing; none where all are, or where that is read with the values."""
    moving = any(channel.missing == "moving" for channel in fields.channels)
    if (fields.on_disk and moving) or fields.there is None:
        return None
    return torch.from_numpy(fields.there)


def _joined(batches: list[Batch]) -> Batch:
    """One batch of all of them, in their order."""
    if len(batches) == 1:
        return batches[0]
    conditions = [batch.condition for batch in batches if batch.condition is not None]
    scalars = [batch.scalars for batch in batches if batch.scalars is not None]
    masks = [batch.mask for batch in batches if batch.mask is not None]
    return Batch(
        target=torch.cat([batch.target for batch in batches]),
        condition=torch.cat(conditions) if conditions else None,
        scalars=torch.cat(scalars) if scalars else None,
        mask=torch.cat(masks) if masks else None,
        states=batches[0].states,
        parameters=batches[0].parameters,
    )


def scalars_of(
    fields: Fields, statistics: Statistics
) -> Float[Tensor, "trajectory parameter"] | None:
    """Normalised scalars of each trajectory; none where there are none."""
    if fields.scalars is None:
        return None
    return torch.from_numpy(statistics.encode_scalars(fields.scalars))

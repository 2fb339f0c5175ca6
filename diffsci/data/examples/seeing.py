"""Seeing: what a task may look at of some windows, before it says what is given.

For most tasks that are the states as they are. Where a task hides cells, those are NaN, and so is
what is missing in the data; where it reads a second data set, the field of that one comes first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffsci.data.fields import Fields
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task


def number_of(key: str) -> int:
    """A number of a case, by which its cells are hidden, whatever other cases there are."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") >> 1


def training_numbers(
    rows: Int[np.ndarray, "n 2"], draw: Int[np.ndarray, " n"] | int = 0
) -> Int[np.ndarray, " n"]:
    """The same of training windows: one for each of them and each way to hide cells."""
    numbers: np.ndarray = (rows[:, 0] << 40) + (rows[:, 1] << 16) + draw
    return numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class Seeing:
    """What a task sees of one part.

    Args:
        task: Says what is hidden, and whether there is a second data set.
        there: Which values are not missing; one state for all where that never moves; none: all.
        beside: Normalised fields of the second data set.
        masks: Cells that are known.
        mask_at: Which of the masks belongs to each time; none where any does.
    """

    task: Task
    there: Bool[np.ndarray, "trajectory time channel *space"] | None
    beside: Float[Tensor, "trajectory time channel *space"] | None
    masks: Bool[np.ndarray, "mask *space"] | None
    mask_at: Int[np.ndarray, " time"] | None

    @classmethod
    def of(cls, fields: Fields, task: Task, statistics: Statistics) -> Seeing:
        """Of some fields."""
        beside = None if fields.beside is None else statistics.encode(fields.beside)
        return cls(
            task=task,
            there=fields.there if task.draws else None,
            beside=None if beside is None else torch.from_numpy(beside),
            masks=fields.masks,
            mask_at=fields.mask_at,
        )

    def __call__(
        self,
        window: Float[Tensor, "n frame channel *space"],
        rows: Int[np.ndarray, "n 2"],
        numbers: Int[np.ndarray, " n"],
    ) -> Float[Tensor, "n shown channel *space"]:
        """Some windows as the task sees them.

        Args:
            window: Normalised states, of one frame each where cells are hidden or there is a
                second data set.
            rows: Trajectory and time of the first frame of each.
            numbers: By which each example's cells are hidden.
        """
        trajectory, time = rows.T
        if self.task.draws:
            if self.there is not None:
                still = self.there.shape[:2] == (1, 1)
                there = (
                    self.there[0 * trajectory, 0 * time] if still else self.there[trajectory, time]
                )
                window = torch.where(torch.from_numpy(there)[:, None], window, torch.nan)
            window = self.task.hide(window, numbers, self._masks(time, numbers))
        if self.beside is None:
            return window
        second = self.beside[torch.from_numpy(trajectory), torch.from_numpy(time)]
        return torch.cat([second[:, None], window], dim=1)

    def _masks(
        self, time: Int[np.ndarray, " n"], numbers: Int[np.ndarray, " n"]
    ) -> Bool[Tensor, "n *space"] | None:
        if self.masks is None:
            return None
        chosen = numbers % len(self.masks) if self.mask_at is None else self.mask_at[time]
        return torch.from_numpy(self.masks[chosen])

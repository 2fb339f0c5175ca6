"""How the forecasts of a task go on from themselves, for training that rolls them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.batch import Batch
from diffsci.data.examples.windows import Examples
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task
from diffsci.grid import Grid
from diffsci.sections import Pipeline
from diffsci.sections.rolling import rolled_leads


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskStepper:
    """Moves examples off the truth; what tasks and statistics do to frames is affine.

    Args:
        task: Whose known frames become the condition.
        statistics: Their scale, and that of the target.
        grid: Of the target.
        known: Frames that the task observes.
    """

    task: Task
    statistics: Statistics
    grid: Grid
    known: int

    @classmethod
    def of(cls, examples: Examples) -> TaskStepper:
        """For the examples of a task that has leads."""
        task = examples.task
        window = torch.zeros(1, task.frames, examples.channels, *examples.grid.sizes)
        known = task.observe(window, examples.grid)
        assert known is not None
        return cls(
            task=task,
            statistics=examples.statistics,
            grid=examples.grid,
            known=known.shape[1],
        )

    def moved(self, batch: Batch, errors: Sequence[Tensor]) -> Batch:
        """Examples whose known frames are off by the last of these errors, newest last."""
        assert batch.condition is not None
        newest = list(errors[-self.known :])
        nothing = [torch.zeros_like(newest[-1])] * (self.known - len(newest))
        frames = self.task.condition(torch.stack([*nothing, *newest], dim=1), self.grid)
        assert frames is not None
        shift = torch.zeros_like(batch.condition)
        shift[:, : frames.shape[1]] = frames
        std = torch.as_tensor(self.statistics.condition_std).to(shift)
        zero, regressed = torch.zeros_like(batch.target), len(self.statistics.slope) > 0
        forced = shift.new_zeros(len(shift), self.statistics.cycle.shape[1] - 1 if regressed else 0)
        # What leads to the truth starts elsewhere, and the regression says something else.
        start = self.task.restore(zero, shift)
        off = self.statistics.anomaly(zero - start, shift, forced)
        off = off - self.statistics.anomaly(zero, torch.zeros_like(shift), forced)
        target = batch.target + off / self._std(off)
        return replace(batch, condition=batch.condition + shift / std, target=target)

    def errors(self, off: Float[Tensor, "batch channel *space"]) -> Sequence[Tensor]:
        """Errors of the frames of a draw whose scaled target is off by so much, oldest first."""
        states = off * self._std(off)
        return states.reshape(len(off), self.task.emits, -1, *off.shape[2:]).unbind(dim=1)

    def _std(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.statistics.target_std).to(like)


def stepper_of(pipeline: Pipeline, examples: Examples) -> TaskStepper | None:
    """What a pipeline's rollouts need; none where it has none."""
    return None if rolled_leads(pipeline) == 1 else TaskStepper.of(examples)

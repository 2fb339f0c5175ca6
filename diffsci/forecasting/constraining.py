"""Constraints in the units of a model: estimates and states of it, brought onto them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.constraints._projection import Projection
from diffsci.constraints.base import Constraint, Equations, Interval, Setting, Subspace
from diffsci.constraints.bounds import Bounds as BoundsConstraint
from diffsci.data.fields import Channel
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task
from diffsci.errors import ConfigError
from diffsci.forecasting.bounds import Bounds
from diffsci.grid import Grid

_ROUNDS = 20
"""Alternations between bounds and the rest for an estimate, which need not be exact."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Constrained:
    """Keeps constraints: in every estimate of the network, and exactly in every state.

    Args:
        projection: In physical units.
        statistics: From these to those of the model.
    """

    projection: Projection
    statistics: Statistics

    @classmethod
    def of(
        cls,
        constraints: Sequence[Constraint],
        channels: tuple[Channel, ...],
        grid: Grid,
        statistics: Statistics,
        task: Task,
    ) -> Constrained | None:
        """None where there are no constraints.

        Args:
            constraints: Members of the family.
            channels: Of a state; bounds that they declare hold beside the constraints.
            grid: Of a state.
            statistics: Of the training part.
            task: Says whether a frame is given.

        Raises:
            ConfigError: For constraints that do not fit the states, the task or each other.
        """
        if not constraints:
            return None
        _check(constraints, statistics, task)
        declared = [
            BoundsConstraint(minimum=low, maximum=high, channels=(channel.name,))
            for channel, (low, high) in zip(channels, Bounds.of(channels).pairs, strict=True)
            if low is not None or high is not None
        ]
        setting = setting_of(channels, grid, statistics)
        return cls(
            projection=Projection.of([*constraints, *declared], setting), statistics=statistics
        )

    def state(
        self,
        states: Float[Tensor, "row step channel *space"],
        known: Tensor | None,
        *,
        rounds: int | None = None,
    ) -> Float[Tensor, "row step channel *space"]:
        """Normalised states that meet all; exactly, where `rounds` are not limited.

        Args:
            states: Normalised.
            known: Normalised frames that are given, newest last; used where a constraint asks.
            rounds: Most alternations between bounds and the rest.
        """
        shape = (-1, *[1] * (states.ndim - 3))
        mean = torch.as_tensor(self.statistics.state_mean).to(states.device).reshape(shape)
        std = torch.as_tensor(self.statistics.state_std).to(states.device).reshape(shape)
        given = None
        if self.projection.needs_given:
            assert known is not None
            given = known[:, -1].double() * std + mean
            given = given.repeat_interleave(states.shape[1], dim=0)
        physical = (states.double() * std + mean).flatten(0, 1)
        if rounds is None:
            kept = self.projection(physical, given)
        else:
            kept = self.projection(physical, given, rounds=rounds, exact=False)
        return ((kept - mean) / std).reshape(states.shape).to(states)

    def estimate(
        self,
        sample: Float[Tensor, "row target *space"],
        restore: Callable[[Tensor], Tensor],
        known: Tensor | None,
        part: int,
    ) -> Float[Tensor, "row target *space"]:
        """An estimate of the scaled target, whose state meets the constraints.

        Args:
            sample: The network's estimate.
            restore: The normalised states of a sample, `[row, step * channel, *space]`.
            known: Normalised frames that are given.
            part: Which of the task's parts.
        """
        channels = len(self.projection.setting.channels)
        states = restore(sample)
        shaped = states.reshape(len(states), -1, channels, *states.shape[2:])
        change = self.state(shaped, known, rounds=_ROUNDS) - shaped
        rows = slice(part * sample.shape[1], (part + 1) * sample.shape[1])
        # What tasks and statistics do to a sample is to scale it, and to add what is known.
        std = torch.as_tensor(self.statistics.target_std[rows]).to(sample)
        return sample + change.reshape(sample.shape) / std


def setting_of(channels: tuple[Channel, ...], grid: Grid, statistics: Statistics) -> Setting:
    """States of a model: a channel may change as much as what is sampled of it."""
    count = len(channels)
    std = np.asarray(statistics.target_std, dtype=np.float64)
    # Of several steps and parts the channels lie one after the other.
    spread = std.reshape(len(std) // count, count, -1)
    return Setting(
        grid=grid,
        channels=tuple(channel.name for channel in channels),
        scale=np.asarray(statistics.state_std) * np.sqrt((spread**2).mean(axis=(0, 2))),
        units=tuple(channel.unit for channel in channels),
    )


def couples(constraints: Sequence[Constraint], setting: Setting) -> bool:
    """Whether one of them holds between channels, such as the components of a flow."""
    space = tuple(range(2, 2 + len(setting.grid.sizes)))
    for each in constraints:
        if isinstance(each, Subspace):
            return True
        if isinstance(each, Equations):
            touched = (each.rows(setting) != 0).any(axis=space)
            if (touched.sum(axis=1) > 1).any():
                return True
    return False


def _check(constraints: Sequence[Constraint], statistics: Statistics, task: Task) -> None:
    if statistics.seen.size or any(word != "forbidden" for word in statistics.missing):
        raise ConfigError(
            "sample.constraints: expected none: the data has cells that are missing, where no "
            "constraint of whole fields can hold"
        )
    asking = [each for each in constraints if each.needs_given]
    if asking and not task.has_leads:
        raise ConfigError(
            "sample.constraints: `value: given` is what the last given frame has, and this task "
            "forecasts nothing; give a number"
        )


def bounds_of(constraints: Sequence[Constraint], channels: tuple[Channel, ...]) -> Bounds:
    """Bounds that stored values keep: those that channels declare, and those of constraints."""
    bounds = Bounds.of(channels)
    for each in constraints:
        if isinstance(each, Interval):
            limits = each.limits(tuple(channel.name for channel in channels))
            pairs = zip(bounds.pairs, limits, strict=True)
            bounds = Bounds(pairs=tuple(_tighter(one, two) for one, two in pairs))
    return bounds


def _tighter(
    one: tuple[float | None, float | None], two: tuple[float | None, float | None]
) -> tuple[float | None, float | None]:
    lows = [low for low in (one[0], two[0]) if low is not None]
    highs = [high for high in (one[1], two[1]) if high is not None]
    return max(lows, default=None), min(highs, default=None)

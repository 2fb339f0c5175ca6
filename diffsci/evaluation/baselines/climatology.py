"""Climatology: what the system usually does at this time of the year and day, whatever today is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from diffsci.errors import require
from diffsci.evaluation.baselines.base import Baseline, Problem, generator, lead_count
from diffsci.evaluation.seasons import Moments, alike

_FEWEST = 10
"""With fewer fields of the season, their own chance would be taken for the climate."""


@dataclass(frozen=True, kw_only=True)
class Climatology(Baseline):
    """Whole training fields drawn at random for each case, of the valid time's season and hour.

    Where times are dates, a field fits a lead when its day of the year is within `window_days` of
    that of the valid time, at the same hour of the day where the data is sub-daily, or in the same
    calendar month where it is monthly. Where fewer than 10 fields fit, and where times are numbers,
    fields are drawn from all training times, the same at every such lead.

    Args:
        window_days: Either way.
    """

    window_days: int = 15
    tasks = ("forecast",)

    def __post_init__(self) -> None:
        require(self.window_days >= 0, "window_days", self.window_days, "0 or more")

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """Training fields, all channels of a member from one moment; a view where leads share."""
        values = problem.train.values
        pool = values.reshape(-1, *values.shape[2:])
        leads = lead_count(problem)
        seasons = self._seasons(problem)
        chosen = []
        for case, key in enumerate(problem.cases.keys):
            random = generator(problem, "climatology", key)
            everything = _draw(random, np.arange(len(pool)), problem.members)
            fitting = seasons[case] if seasons else [None] * leads
            chosen.append(
                [everything if f is None else _draw(random, f, problem.members) for f in fitting]
            )
        rows = np.moveaxis(np.array(chosen), 1, 2)
        if not any(f is not None for case in seasons for f in case):
            drawn = pool[rows[:, :, 0]]
            shape = (*drawn.shape[:2], leads, *drawn.shape[2:])
            return np.broadcast_to(drawn[:, :, None], shape)
        return np.asarray(pool[rows])

    def _seasons(self, problem: Problem) -> list[list[np.ndarray | None]]:
        """Rows of the pool that fit each case and lead; none: too few do. Empty for numbers."""
        train, cases = problem.train, problem.cases
        moments, step = Moments.of(train.times), cases.step
        if moments is None or not isinstance(step, np.timedelta64):
            return []
        trajectories = len(train.values)
        found: list[list[np.ndarray | None]] = []
        for start in cases.times:
            found.append([])
            for ahead in cases.leads:
                fits = alike(moments, start, ahead, step, self.window_days)
                rows = np.flatnonzero(np.tile(fits, trajectories))
                found[-1].append(rows if len(rows) >= _FEWEST else None)
        return found


def _draw(random: np.random.Generator, rows: np.ndarray, members: int) -> Int[np.ndarray, " m"]:
    """Some rows at random; without replacement where there are enough of them.

    A doubled member would narrow the spread.
    """
    return np.asarray(random.choice(rows, members, replace=len(rows) < members))

"""Damped anomaly: today's distance from what is usual fades, and what is usual comes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from diffsci.data.canonical import times as stamps
from diffsci.data.prepared.stored import Stored
from diffsci.evaluation.baselines._damped import damped, training_rows
from diffsci.evaluation.baselines.base import Baseline, Problem
from diffsci.evaluation.seasons import Moments


@dataclass(frozen=True, kw_only=True)
class DampedAnomaly(Baseline):
    """Climatology and a damped anomaly, dressed with the residuals of training windows.

    Climatology is the mean of each cell over the training part, by hour where data is sub-daily
    and by calendar month where it is monthly. The anomaly is damped by a regression, one slope for
    each lead and channel.
    """

    tasks = ("forecast",)

    def fits(self, problem: Problem) -> str | None:
        """Needs a training window of all leads."""
        if len(training_rows(problem.train, 0, problem.cases.leads[-1])) == 0:
            return f"no training window reaches {problem.cases.leads[-1]} steps ahead"
        return None

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """One window's residuals for each member."""
        train, cases = problem.train, problem.cases
        rows = training_rows(train, 0, cases.leads[-1], held=len(cases.leads) + 6)
        monthly = isinstance(cases.step, np.timedelta64) and bool(
            stamps.months_of(cases.step, train.times[0])
        )
        kind = _kinds(train.times, monthly=monthly)
        usual = _means(train.values, kind)
        valid = cases.valid()

        def of_training(lead: int) -> tuple[np.ndarray, np.ndarray]:
            return usual[kind[rows[:, 1] + lead]], usual[kind[rows[:, 1]]]

        def of_cases(lead: int) -> tuple[np.ndarray, np.ndarray]:
            then = valid[:, cases.leads.index(lead)]
            now = cases.times
            return (
                usual[_kinds(then, monthly=monthly)],
                usual[_kinds(now, monthly=monthly)],
            )

        return damped(problem, "damped_anomaly", rows, of_training, of_cases)


def _kinds(times: np.ndarray, *, monthly: bool) -> Int[np.ndarray, " time"]:
    """Number of the climate each time has: its hour or its month, 0 for plain numbers."""
    moments = Moments.of(times)
    if moments is None:
        return np.zeros(len(times), dtype=np.int64)
    return moments.month - 1 if monthly else moments.hour


def _means(
    values: Float[np.ndarray | Stored, "trajectory time channel *space"],
    kind: Int[np.ndarray, " time"],
) -> Float[np.ndarray, "kind channel *space"]:
    """Mean of each kind of time; that of all times where there is none of the kind."""
    everything = values.mean(axis=(0, 1), dtype=np.float64)
    means = np.repeat(everything[None], 24, axis=0)
    for one in np.unique(kind):
        means[one] = values[:, kind == one].mean(axis=(0, 1), dtype=np.float64)
    return means

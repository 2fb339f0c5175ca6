"""Yesterday: the value of a day before the valid time, and part of what changed since."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.baselines._damped import damped, training_rows
from diffsci.evaluation.baselines.base import Baseline, Problem

_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, kw_only=True)
class Yesterday(Baseline):
    """The last known value at the valid hour and a damped difference, dressed with residuals.

    For a lead of up to a day it is x(v - 1 d) + b (x(t) - x(t - 1 d)), with v the valid time and t
    the time of the last given frame; beyond, the last day that is known by then.
    """

    tasks = ("forecast",)

    def fits(self, problem: Problem) -> str | None:
        """Needs sub-daily dates, a day of known frames, and training windows."""
        steps = _steps_a_day(problem)
        if not steps:
            return "the data's times do not divide the day"
        if problem.past((steps,)) is None:
            return "not all cases have a day of frames before them"
        if len(training_rows(problem.train, steps, problem.cases.leads[-1])) == 0:
            return f"no training window has a day before and {problem.cases.leads[-1]} steps after"
        return None

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """One window's residuals for each member."""
        steps = _steps_a_day(problem)
        values = problem.train.values
        held = len(problem.cases.leads) + 6
        rows = training_rows(problem.train, steps, problem.cases.leads[-1], held)

        def back(lead: int) -> int:
            return steps * -(-lead // steps) - lead

        def of_training(lead: int) -> tuple[np.ndarray, np.ndarray]:
            trajectory, time = rows.T
            return values[trajectory, time - back(lead)], values[trajectory, time - steps]

        def of_cases(lead: int) -> tuple[np.ndarray, np.ndarray]:
            found = problem.past((back(lead), steps))
            assert found is not None, "fits() is asked first"
            return found[:, 0], found[:, 1]

        return damped(problem, "yesterday", rows, of_training, of_cases)


def _steps_a_day(problem: Problem) -> int:
    """Data steps in a day; 0 where it is no whole number, or one alone."""
    step = problem.cases.step
    if not isinstance(step, np.timedelta64) or _DAY % step or step >= _DAY:
        return 0
    return int(_DAY / step)

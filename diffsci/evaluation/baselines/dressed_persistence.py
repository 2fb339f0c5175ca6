"""Dressed persistence: the last frame, and how far the training data moved from such frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.baselines._damped import training_rows
from diffsci.evaluation.baselines.base import Baseline, Problem, generator, required


@dataclass(frozen=True, kw_only=True)
class DressedPersistence(Baseline):
    """The last given frame plus the changes of training windows, whole fields of all leads.

    What a single forecast is worth as an ensemble: its own errors of the past, added to it.

    Source:
        Roulston, Smith (2003), Combining dynamical and statistical ensembles,
        doi:10.1034/j.1600-0870.2003.201378.x.
    """

    tasks = ("forecast",)

    def fits(self, problem: Problem) -> str | None:
        """Needs a training window of all leads."""
        if len(training_rows(problem.train, 0, problem.cases.leads[-1])) == 0:
            return f"no training window reaches {problem.cases.leads[-1]} steps ahead"
        return None

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """One window's changes for each member."""
        given = required(problem.given, "dressed_persistence", "the last frame of each case")
        values, leads = problem.train.values, np.array(problem.cases.leads)
        rows = training_rows(problem.train, 0, int(leads[-1]))
        twice = len(rows) < problem.members
        members = np.empty(
            (len(given), problem.members, len(leads), *given.shape[1:]), dtype=values.dtype
        )
        for case, key in enumerate(problem.cases.keys):
            random = generator(problem, "dressed_persistence", key)
            drawn = rows[random.choice(len(rows), problem.members, replace=twice)]
            start = drawn[:, :1], drawn[:, 1:]
            members[case] = given[case] + values[start[0], start[1] + leads] - values[start]
        return members

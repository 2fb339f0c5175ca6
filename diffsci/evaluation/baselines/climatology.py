"""Climatology: what the system usually does, knowing nothing of today."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.baselines.base import Baseline, Problem, generator, lead_count


@dataclass(frozen=True, kw_only=True)
class Climatology(Baseline):
    """Whole training fields drawn at random for each case, the same at every lead."""

    tasks = ("forecast",)

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """Training fields, all channels of a member from one moment; a view along the leads."""
        values = problem.train.values
        pool = values.reshape(-1, *values.shape[2:])
        # Without replacement where there are enough: a doubled member would narrow the spread.
        twice = len(pool) < problem.members
        rows = [
            generator(problem, "climatology", key).choice(len(pool), problem.members, replace=twice)
            for key in problem.cases.keys
        ]
        drawn = pool[np.stack(rows)]
        shape = (*drawn.shape[:2], lead_count(problem), *drawn.shape[2:])
        return np.broadcast_to(drawn[:, :, None], shape)

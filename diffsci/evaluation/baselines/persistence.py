"""Persistence: tomorrow is as today."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.baselines.base import Baseline, Problem, lead_count, required


@dataclass(frozen=True, kw_only=True)
class Persistence(Baseline):
    """The last given frame, unchanged at every lead; one member."""

    tasks = ("forecast",)

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """The given frame as a view repeated along the leads."""
        given = required(problem.given, "persistence", "the last given frame of each case")
        shape = (len(given), 1, lead_count(problem), *given.shape[1:])
        return np.broadcast_to(given[:, None, None], shape)

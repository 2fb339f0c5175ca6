"""Root mean square error of the ensemble mean.

The root is taken last, after the mean over space and cases: a mean of roots would reward forecasts
whose errors vary from case to case. An ensemble of m members has (1 + 1/m) times the squared error
that its mean would have with endless members; no correction is made here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Rmse(Score):
    """Root mean square error of the ensemble mean, area-weighted, root after averaging."""

    goal = "0"
    scope = "cells"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The area mean of the squared error of the ensemble mean."""
        return pairs.average((pairs.members.mean(axis=1) - pairs.truth) ** 2)[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The root of the mean."""
        return np.asarray(np.sqrt(means[..., 0]))

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

"""Precision: are samples like some truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores._samples import covered, points, radii
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Precision(Score):
    """Share of members within the reach of some truth: its distance to its k-th nearest truth.

    Of samples of the truth's own law it is the same as `recall`, and below 1 where cases are few.

    Args:
        neighbours: k.

    Source:
        Kynkäänniemi et al. (2019), Improved precision and recall metric, arXiv:1904.06991, in the
        space of the fields themselves.
    """

    neighbours: int = 3
    goal = "higher"
    bounds = (0.0, 1.0)
    scope = "set"

    def __post_init__(self) -> None:
        require(self.neighbours >= 1, "neighbours", self.neighbours, "1 or more")

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """Share of each case's members; NaN with one case."""
        members, truth = points(pairs)
        cases, count = members.shape[:2]
        if cases < 2:
            return np.full((cases, 1), np.nan)
        reach = radii(truth, self.neighbours)
        found = covered(members.reshape(cases * count, -1), truth, reach)
        return np.asarray(found.reshape(cases, count).mean(axis=1))[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

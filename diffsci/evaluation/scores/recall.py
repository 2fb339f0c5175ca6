"""Recall: are truths like some sample, or does the model leave a part of them out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores._samples import covered, points, radii
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Recall(Score):
    """Share of truths within the reach of some sample: its distance to its k-th nearest sample.

    Samples are one member of each case, as many as there are truths; their mean over members.

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
        """Whether each case's truth is found; NaN with one case."""
        members, truth = points(pairs)
        cases, count = members.shape[:2]
        if cases < 2:
            return np.full((cases, 1), np.nan)
        found = np.zeros(cases)
        for number in range(count):
            samples = np.ascontiguousarray(members[:, number])
            found += covered(truth, samples, radii(samples, self.neighbours)) / count
        return found[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

"""Coverage: how often the truth lies inside the ensemble's central intervals.

With m members the truth has one of m + 1 ranks, and a reliable ensemble makes each as likely. A
rank stands for the share 1 / (m + 1) of the distribution in which it lies, evenly filled; the
central interval of level p covers what of it overlaps with ((1 - p) / 2, (1 + p) / 2). So a
reliable ensemble covers exactly p, whatever its size, also where no pair of members encloses p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score
from diffsci.evaluation.scores.rank_histogram import RankHistogram


@dataclass(frozen=True, kw_only=True)
class Coverage(Score):
    """Mean distance of the covered shares from the levels of central intervals; 0 is reliable.

    Args:
        levels: Of the intervals.

    Source:
        Hamill (2001), Interpretation of rank histograms, Monthly Weather Review 129, 550-560, for
        ranks; the evenly filled rank is the expectation of the randomised PIT of Czado et al.
        (2009), doi:10.1111/j.1541-0420.2009.01191.x.
    """

    levels: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
    goal = "0"
    bounds = (0.0, 1.0)
    scope = "cells"
    anywhere = True

    def __post_init__(self) -> None:
        fits = len(self.levels) > 0 and all(0 < level < 1 for level in self.levels)
        require(fits, "levels", self.levels, "shares between 0 and 1")

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Covered area share of each level; NaN with one member."""
        ranks = RankHistogram().statistics(pairs)
        if ranks.shape[1] == 2:
            return _arrays.beside(np.full((len(ranks), len(self.levels)), np.nan), ranks)
        edges = np.linspace(0, 1, ranks.shape[1] + 1)
        shares = []
        for level in self.levels:
            low, high = (1 - level) / 2, (1 + level) / 2
            overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
            part = np.maximum(overlap, 0) * ranks.shape[1]
            shares.append(ranks @ _arrays.beside(part, ranks))
        return _arrays.lib(ranks).stack(shares, axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """Mean over levels of |covered - level|."""
        return np.asarray(np.abs(means - np.array(self.levels)).mean(axis=-1))

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

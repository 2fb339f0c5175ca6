"""Return level: is what happens once in so many cases as extreme in the forecast as in truth.

In each cell the quantile 1 - 1 / period over the cases, of each member and of the truth alike, so
that both know as little of the tail; averaged over members and over the area.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class ReturnLevel(Score):
    """Return level of members minus that of the truth; above 0 the extremes are too strong.

    NaN where there are fewer cases than the period. The interval is of first order (Bahadur).

    Args:
        period: In cases.

    Source:
        Coles (2001), An introduction to statistical modeling of extreme values, section 3.1.3;
        Bahadur (1966), A note on quantiles in large samples, doi:10.1214/aoms/1177699450.
    """

    period: float = 10.0
    goal = "0"
    bounds = (-math.inf, math.inf)
    scope = "set"

    def __post_init__(self) -> None:
        require(self.period > 1, "period", self.period, "more than 1 case")

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """What each case adds to the level of members, and to that of the truth."""
        cases, count = pairs.members.shape[:2]
        if cases < self.period:
            return np.full((cases, 2), np.nan)
        members = np.zeros(cases)
        for number in range(count):
            members += pairs.average(self._added(pairs.members[:, number])) / count
        return np.stack([members, pairs.average(self._added(pairs.truth))], axis=1)

    def _added(
        self, values: Float[np.ndarray, " case *space"]
    ) -> Float[np.ndarray, " case *space"]:
        """The level in each cell, and by how much each case moves it; their mean is the level."""
        level = 1 - 1 / self.period
        half = min(np.sqrt(level * (1 - level) / len(values)), 1 - level, level) / 2
        low, at, high = np.quantile(
            values, (level - half, level, level + half), axis=0, method="hazen"
        )
        # The inverse of the density, which is all that links a share to a value.
        sparsity = (high - low) / (2 * half)
        beyond = values > at
        return np.asarray(at + (beyond - beyond.mean(axis=0)) * sparsity)

    def lacks(self, statistics: Float[np.ndarray, "case statistic"]) -> str:
        """Where there are fewer cases than the period."""
        if len(statistics) >= self.period:
            return ""
        return f"a level of {self.period:g} cases needs as many, and there are {len(statistics)}"

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """Members minus truth."""
        return np.asarray(means[..., 0] - means[..., 1])

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

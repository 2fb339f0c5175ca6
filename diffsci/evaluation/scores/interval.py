"""Interval score: narrow intervals that the truth does not leave.

The width of the central interval (l, u) of level p, plus 2 / (1 - p) times how far the truth y lies
outside. It is least in expectation at the true quantiles (Winkler 1972).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score
from diffsci.evaluation.scores.quantile import quantiles


@dataclass(frozen=True, kw_only=True)
class Interval(Score):
    """Interval (Winkler) score of the ensemble's central interval; area-weighted.

    Args:
        level: Share that the interval should hold.

    Source:
        Gneiting, Raftery (2007), Strictly proper scoring rules, doi:10.1198/016214506000001437,
        equation 43.
    """

    level: float = 0.9
    goal = "0"
    scope = "cells"
    anywhere = True

    def __post_init__(self) -> None:
        require(0 < self.level < 1, "level", self.level, "a share between 0 and 1")

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The area mean of each case; NaN with one member."""
        if pairs.members.shape[1] == 1:
            return _arrays.beside(np.full((len(pairs.truth), 1), np.nan), pairs.truth)
        outside = 1 - self.level
        low, high = quantiles(pairs.members, (outside / 2, 1 - outside / 2))
        missed = (low - pairs.truth).clip(0) + (pairs.truth - high).clip(0)
        return pairs.average(high - low + 2 / outside * missed)[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

"""Rank histogram: where the truth falls among the sorted members.

If truth and members are draws of one law, each of the m + 1 ranks is equally likely. A U shape: too
little spread; a dome: too much; a slope: a bias. Where the truth equals t members it could be
placed in t + 1 ranks: each gets an equal share, the expectation of breaking ties at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class RankHistogram(Score):
    """Distance of the rank histogram from a flat one, sum of |share - 1/(m+1)|; 0 is reliable.

    Source:
        Hamill (2001), Interpretation of rank histograms for verifying ensemble forecasts,
        Monthly Weather Review 129, 550-560.
    """

    goal = "0"
    scope = "cells"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Area share of each of the m + 1 ranks; their means over cases are the histogram."""
        cases, count = pairs.members.shape[:2]
        truth = pairs.truth[:, None]
        below = (pairs.members < truth).sum(axis=1).reshape(cases, -1)
        ties = (pairs.members == truth).sum(axis=1).reshape(cases, -1)
        share = pairs.weights.reshape(-1) / math.prod(pairs.weights.shape) / (ties + 1)
        # A point adds its share to the ranks below ... below + ties: +share where that run begins,
        # -share after its end, then a cumulative sum.
        steps = _arrays.tallied(below, share, count + 2)
        steps = steps - _arrays.tallied(below + ties + 1, share, count + 2)
        shares: np.ndarray = _arrays.lib(steps).cumsum(steps, axis=1)[:, :-1]
        return shares

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """Sum over ranks of the distance from the flat share; NaN with one member."""
        if means.shape[-1] == 2:
            return np.full(means.shape[:-1], np.nan)
        return np.asarray(np.abs(means - 1.0 / means.shape[-1]).sum(axis=-1))

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

"""Brier score: how good the probability of an event is.

The event is a value above a threshold, and the probability p the share of members above it. The
squared distance of p from what came true, minus p (1 - p) / (m - 1): without this, an ensemble of m
members is punished for being small (Ferro 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import OfEvents, Pairs


@dataclass(frozen=True, kw_only=True)
class Brier(OfEvents):
    """Fair Brier score of exceeding a threshold; area-weighted.

    Source:
        Brier (1950); Ferro (2014), Fair scores for ensemble forecasts, doi:10.1002/qj.2270.
    """

    goal = "0"
    equitable = True
    bounds = (0.0, 1.0)
    scope = "cells"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The area mean of each case."""
        limit = self.limit(pairs)
        count = pairs.members.shape[1]
        share = _arrays.real(pairs.members > limit).mean(axis=1)
        error = (share - _arrays.real(pairs.truth > limit)) ** 2
        if count > 1:
            error = error - share * (1 - share) / (count - 1)
        return pairs.average(error)[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

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
    fewest_members = 2
    bounds = (0.0, 1.0)
    scope = "cells"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Of each case the area means of the score, of the event and of its probability."""
        limit = self.limit(pairs)
        count = pairs.members.shape[1]
        share = _arrays.real(pairs.members > limit).mean(axis=1)
        event = _arrays.real(pairs.truth > limit)
        error = (share - event) ** 2
        if count > 1:
            error = error - share * (1 - share) / (count - 1)
        told = [pairs.average(field) for field in (error, event, share)]
        return _arrays.lib(share).stack(told, axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean of the score itself."""
        return means[..., 0]

    def lacks(self, statistics: Float[np.ndarray, "case statistic"]) -> str:
        """Where the event has one outcome only, 0 would read as a perfect forecast of it."""
        _, occurred, said = statistics.mean(axis=0)
        return self.one_sided(float(occurred), float(said))

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

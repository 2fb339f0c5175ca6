"""Brier score: how good the probability of an event is.

The event is a value above a threshold, and the probability p the share of members above it. The
squared distance of p from what came true, minus p (1 - p) / (m - 1): without this, an ensemble of m
members is punished for being small (Ferro 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _threshold
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Brier(Score):
    """Fair Brier score of exceeding a threshold; area-weighted.

    Args:
        threshold: In the variable's unit; null takes the quantile.
        quantile: Of the training set in each cell.

    Source:
        Brier (1950); Ferro (2014), Fair scores for ensemble forecasts, doi:10.1002/qj.2270.
    """

    threshold: float | None = None
    quantile: float = 0.9
    goal = "0"

    def __post_init__(self) -> None:
        _threshold.check(self.threshold, self.quantile)

    @property
    def needs_train(self) -> bool:  # type: ignore[override]
        """For a quantile."""
        return self.threshold is None

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """The area mean of each case."""
        limit = _threshold.of(pairs, self.threshold, self.quantile, "brier")
        count = pairs.members.shape[1]
        share = (pairs.members > limit).mean(axis=1)
        error = (share - (pairs.truth > limit)) ** 2
        if count > 1:
            error = error - share * (1 - share) / (count - 1)
        return pairs.average(error)[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

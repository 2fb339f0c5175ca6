"""Threshold-weighted CRPS: the CRPS of what lies above a threshold, for extremes.

Values below the threshold t are raised to it, in members and truth alike: the score looks at
nothing that happens below, and stays proper, which the CRPS of cases picked by their truth is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _threshold
from diffsci.evaluation.scores.base import Pairs, Score
from diffsci.evaluation.scores.crps import crps


@dataclass(frozen=True, kw_only=True)
class ThresholdCrps(Score):
    """Fair CRPS of values above a threshold; area-weighted.

    Args:
        threshold: In the variable's unit; null takes the quantile.
        quantile: Of the training set in each cell.

    Source:
        Allen, Ginsbourger, Ziegel (2023), Evaluating forecasts for high-impact events using
        transformed kernel scores, doi:10.1137/22M1532184, with the chaining function max(x, t).
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
        limit = _threshold.of(pairs, self.threshold, self.quantile, "threshold_crps")
        members, truth = np.maximum(pairs.members, limit), np.maximum(pairs.truth, limit)
        return pairs.average(crps(members, truth))[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

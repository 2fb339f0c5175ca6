"""Threshold-weighted CRPS: the CRPS of what lies above a threshold, for extremes.

Values below the threshold t are raised to it, in members and truth alike: the score looks at
nothing that happens below, and stays proper, which the CRPS of cases picked by their truth is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import OfEvents, Pairs
from diffsci.evaluation.scores.crps import crps


@dataclass(frozen=True, kw_only=True)
class ThresholdCrps(OfEvents):
    """Fair CRPS of values above a threshold, or below it; area-weighted.

    Args:
        tail: `lower` looks at what lies below the threshold.

    Source:
        Allen, Ginsbourger, Ziegel (2023), Evaluating forecasts for high-impact events using
        transformed kernel scores, doi:10.1137/22M1532184, with the chaining function max(x, t).
    """

    tail: Literal["upper", "lower"] = "upper"
    goal = "0"
    equitable = True
    fewest_members = 2
    scope = "cells"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The area mean of each case."""
        limit = self.limit(pairs)
        xp = _arrays.lib(pairs.members)
        chain = xp.maximum if self.tail == "upper" else xp.minimum
        members, truth = chain(pairs.members, limit), chain(pairs.truth, limit)
        return pairs.average(crps(members, truth))[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

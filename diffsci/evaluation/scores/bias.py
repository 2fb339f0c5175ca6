"""Bias: the mean of forecast minus truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Bias(Score):
    """Mean of ensemble mean minus truth, area-weighted; positive: the forecast is too high."""

    goal = "0"
    equitable = True
    bounds = (-math.inf, math.inf)
    scope = "cells"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The area mean of the error of the ensemble mean."""
        return pairs.average(pairs.members.mean(axis=1) - pairs.truth)[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

"""Spread over skill: does the ensemble know how wrong its mean is.

If truth and m members are draws of one law with variance s^2, the mean unbiased variance is s^2 and
the squared error of the ensemble mean is s^2 (1 + 1/m). So the ratio of the roots needs the factor
sqrt((m + 1) / m) to be 1 for a perfect ensemble of any size. Below 1: too sure of itself.
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
class SpreadSkill(Score):
    """Spread over error of the ensemble mean, with the (m+1)/m correction: 1 is reliable.

    Source:
        Fortin et al. (2014), Why should ensemble spread match the RMSE of the ensemble mean?,
        doi:10.1175/JHM-D-14-0008.1.
    """

    goal = "1"
    equitable = True
    fewest_members = 2
    scope = "cells"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Area means of the corrected variance (NaN with one member) and of the squared error."""
        count, xp = pairs.members.shape[1], _arrays.lib(pairs.members)
        squared_error = pairs.average((pairs.members.mean(axis=1) - pairs.truth) ** 2)
        if count == 1:
            return xp.stack([xp.full_like(squared_error, math.nan), squared_error], axis=1)
        variance = pairs.average(_arrays.variance(pairs.members)) * (count + 1) / count
        return xp.stack([variance, squared_error], axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The root of the ratio of the means; infinite where there is no error at all."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.sqrt(means[..., 0] / means[..., 1]))

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

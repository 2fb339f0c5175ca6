"""Correlation of each member with the truth, in space: how long a trajectory is followed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Correlation(Score):
    """Pearson correlation in space of each member with the truth, averaged over members and cases.

    The time at which it falls below 0.8 is the high-correlation time of PDE surrogates. A field
    that is the same everywhere has none: NaN.

    Source:
        Lippe et al. (2023), PDE-Refiner, arXiv:2308.05732, for the high-correlation time.
    """

    goal = "1"
    equitable = True
    bounds = (-1.0, 1.0)
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The mean over members of each case."""
        weight = (pairs.weights / math.prod(pairs.weights.shape)).reshape(-1)
        cases, count = pairs.members.shape[:2]
        members = pairs.members.reshape(cases, count, -1)
        truth = pairs.truth.reshape(cases, -1)
        truth = truth - (truth @ weight)[:, None]
        xp, found = _arrays.lib(truth), _arrays.beside(np.zeros(cases), truth)
        for number in range(count):
            member = members[:, number] - (members[:, number] @ weight)[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                product = (member * truth) @ weight
                found += product / xp.sqrt((member**2 @ weight) * (truth**2 @ weight))
        return (found / count)[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

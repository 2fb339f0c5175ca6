"""Quantile score: how good the ensemble's quantiles are, one by one.

The pinball loss of a quantile q of level a is (1[y < q] - a) (q - y): least in expectation at the
true quantile. Twice its mean over all levels is the CRPS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


def quantiles(
    members: Float[Array, "case member *space"], levels: tuple[float, ...]
) -> Float[Array, "level case *space"]:
    """Quantiles of an ensemble whose k-th member has the level k / (m + 1); the ends are kept.

    A reliable truth lies below the k-th member with just that probability (Weibull's plotting
    position), which is not so for the default of numpy.
    """
    return _arrays.quantiles(members, levels)


@dataclass(frozen=True, kw_only=True)
class Quantile(Score):
    """Pinball loss of the ensemble's quantiles, averaged over levels; area-weighted.

    Args:
        levels: Of the quantiles.

    Source:
        Koenker, Bassett (1978), Regression quantiles, doi:10.2307/1913643; Gneiting (2011),
        doi:10.1016/j.ijforecast.2009.12.015.
    """

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    goal = "0"
    scope = "cells"
    anywhere = True

    def __post_init__(self) -> None:
        fits = len(self.levels) > 0 and all(0 < level < 1 for level in self.levels)
        require(fits, "levels", self.levels, "shares between 0 and 1")

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The area mean of each level's loss."""
        found, xp = [], _arrays.lib(pairs.truth)
        for level, at in zip(self.levels, quantiles(pairs.members, self.levels), strict=True):
            found.append(
                pairs.average((_arrays.real(pairs.truth < at) - level) * (at - pairs.truth))
            )
        return xp.stack(found, axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean over levels."""
        return np.asarray(means.mean(axis=-1))

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

"""Structure function: how far apart cells at some distance are, in members and in truth.

S(r) = <(x(s + r) - x(s))^2> is the two-point statistic that needs no window and no closed domain;
for a stationary field it is twice the variance less the autocovariance. As for the spectrum, means
over members and cases come first, then the root mean square over distances of
ln(S of members / S of truth).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError, require
from diffsci.evaluation.scores import _arrays, _lags
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score
from diffsci.evaluation.scores.spectrum import log_distance


def structure_function(
    fields: Float[Array, " field *space"],
    weights: Float[Array, "*space"],
    lags: tuple[int, ...],
    periodic: tuple[bool, ...] = (),
) -> Float[Array, "field lag"]:
    """Mean squared difference of cells that many apart along any dim; NaN where none are.

    Args:
        fields: Any unit; any number of space axes.
        weights: Of the cells.
        lags: Distances in cells.
        periodic: Which axes close on themselves; empty: none.
    """
    found = _arrays.beside(np.full((len(fields), len(lags)), np.nan), fields)
    axes = tuple(range(1, fields.ndim))
    for place, lag in enumerate(lags):
        total, weight = _arrays.beside(np.zeros(len(fields)), fields), 0.0
        for dim, size in enumerate(fields.shape[1:]):
            if lag >= size:
                continue
            around = _lags.goes_around(periodic, dim)
            one, other = _lags.both(fields, dim + 1, lag, around=around)
            share = _lags.weight(weights, dim, lag, around=around)
            total = total + ((one - other) ** 2 * share).sum(axis=axes)
            weight += float(share.sum())
        if weight > 0:
            found[:, place] = total / weight
    return found


@dataclass(frozen=True, kw_only=True)
class Structure(Score):
    """Log distance of the structure functions of members and truth; 0.1 is about 10 %.

    Args:
        lags: Distances, in cells along each dim; those that fit into none are left out.

    Source:
        Kolmogorov (1941); Monin, Yaglom (1975), Statistical Fluid Mechanics, volume 2, section 13.
    """

    lags: tuple[int, ...] = (1, 2, 4, 8, 16)
    goal = "0"
    anywhere = True

    def __post_init__(self) -> None:
        fits = len(self.lags) > 0 and all(lag >= 1 for lag in self.lags)
        require(fits, "lags", self.lags, "numbers of cells, each 1 or more")

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Of each distance that fits, the members' mean, then that of the truth."""
        lags = tuple(lag for lag in self.lags if lag < max(pairs.truth.shape[1:]))
        if not lags:
            raise DataError(f"structure: no pair of cells is {min(self.lags)} apart; leave it out")
        count = pairs.members.shape[1]
        members = _arrays.beside(np.zeros((len(pairs.truth), len(lags))), pairs.truth)
        beside = (pairs.weights, lags, pairs.periodic)
        for number in range(count):
            members += structure_function(pairs.members[:, number], *beside) / count
        truth = structure_function(pairs.truth, *beside)
        return _arrays.lib(truth).concatenate([members, truth], axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """Root mean square of the log ratio."""
        return log_distance(means)

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

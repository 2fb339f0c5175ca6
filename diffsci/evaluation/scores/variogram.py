"""Variogram score: do neighbouring cells differ as they should.

For pairs of cells at some distance, the truth's |y_i - y_j|^p against its mean over members,
squared. A wrong correlation between cells shows, which the energy score hardly sees; a bias common
to all cells does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores import _arrays, _lags
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Variogram(Score):
    """Variogram score of order 1/2 of pairs of cells along each dim, averaged over pairs.

    Args:
        lags: Distances of the pairs, in cells; those that do not fit into a dim are left out.

    Source:
        Scheuerer, Hamill (2015), Variogram-based proper scoring rules,
        doi:10.1175/MWR-D-14-00269.1.
    """

    lags: tuple[int, ...] = (1, 2, 4)
    goal = "0"
    anywhere = True

    def __post_init__(self) -> None:
        fits = len(self.lags) > 0 and all(lag >= 1 for lag in self.lags)
        require(fits, "lags", self.lags, "numbers of cells, each 1 or more")

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The mean over all pairs of cells; the weight of a pair is the mean of its cells'."""
        total, weight = _arrays.beside(np.zeros(len(pairs.truth)), pairs.truth), 0.0
        for dim, size in enumerate(pairs.truth.shape[1:]):
            around = _lags.goes_around(pairs.periodic, dim)
            for lag in self.lags:
                if lag >= size:
                    continue
                truth = _differences(pairs.truth, dim + 1, lag, around=around)
                members = _arrays.lib(truth).zeros_like(truth)
                for number in range(pairs.members.shape[1]):
                    members += _differences(pairs.members[:, number], dim + 1, lag, around=around)
                members /= pairs.members.shape[1]
                share = _lags.weight(pairs.weights, dim, lag, around=around)
                axes = tuple(range(1, truth.ndim))
                total = total + ((truth - members) ** 2 * share).sum(axis=axes)
                weight += float(share.sum())
        return total[:, None] / weight

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """That of the variable: the square of a root."""
        return unit


def _differences(values: Array, axis: int, lag: int, *, around: bool) -> Array:
    one, other = _lags.both(values, axis, lag, around=around)
    return _arrays.lib(one).sqrt(abs(one - other))

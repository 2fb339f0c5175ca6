"""Variance-scaled error: 1 is as good as the truth's own mean over space.

Of each case the root of the squared error of the ensemble mean over the variance of the truth in
space, then the mean over cases: fields of little variance count as much as others, which is how
sets of simulations are scored (Ohana et al. 2024). For a root after the mean see `rmse`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Vrmse(Score):
    """Root mean square error of the ensemble mean over the truth's standard deviation in space.

    A truth that is the same everywhere has no such scale: its case is infinite.

    Source:
        Ohana et al. (2024), The Well, arXiv:2412.00568, section E.
    """

    goal = "0"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The ratio of each case."""
        error = pairs.average((pairs.members.mean(axis=1) - pairs.truth) ** 2)
        space = (-1, *[1] * (pairs.truth.ndim - 1))
        mean = pairs.average(pairs.truth).reshape(space)
        variance = pairs.average((pairs.truth - mean) ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _arrays.lib(error).sqrt(error / variance)[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

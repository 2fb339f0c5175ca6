"""Continuous ranked probability score: how far an ensemble is from the truth, spread included.

CRPS = E|X - y| - E|X - X'| / 2. Over m members the pair term is a sum over m^2 pairs; the fair form
divides it by m (m - 1), which makes its expectation independent of m. Without it a 4-member
ensemble drawn from the truth's own law scores a quarter worse than it should.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


def crps(
    members: Float[Array, "case member *space"],
    truth: Float[Array, " case *space"],
    *,
    fair: bool = True,
) -> Float[Array, " case *space"]:
    """CRPS at each point; the absolute error where there is one member.

    Args:
        members: Physical unit of `truth`.
        truth: Verifying values; a NaN here gives a NaN score, never a skipped point.
        fair: Unbiased in the number of members; else that of the empirical distribution.

    Returns:
        The score in the unit of `truth`; 0 is best; the fair form may be slightly negative.

    Source:
        Ferro (2014), Fair scores for ensemble forecasts, doi:10.1002/qj.2270.
    """
    count = members.shape[1]
    error = abs(members - truth[:, None]).mean(axis=1)
    if count == 1:
        return error
    # Sorting turns the double sum over pairs into one weighted sum: O(m log m), not O(m^2).
    rank = 2.0 * np.arange(1, count + 1) - count - 1
    half_spread = _arrays.combined(rank, _arrays.ordered(members))
    pairs = count * (count - 1) if fair else count * count
    return error - half_spread / pairs


@dataclass(frozen=True, kw_only=True)
class Crps(Score):
    """Continuous ranked probability score, fair in the number of members; area-weighted.

    Args:
        fair: False gives the score of the empirical distribution, which favours larger ensembles.
    """

    fair: bool = True
    fewest_members = 2
    goal = "0"
    scope = "cells"
    anywhere = True

    @property
    def equitable(self) -> bool:  # type: ignore[override]
        """As it is fair."""
        return self.fair

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The area mean of the CRPS of each case."""
        return pairs.average(crps(pairs.members, pairs.truth, fair=self.fair))[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

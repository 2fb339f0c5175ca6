"""Sliced Wasserstein distance: how far samples must be moved to lie as the truths do.

Fields are projected on random directions, where the best way to move points is to keep their order;
the squared distance moved is averaged. It is scaled so that a constant added to all samples is at
that distance. Of finite sets it is above 0 even for samples of the truth's own law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores._samples import points
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class SlicedWasserstein(Score):
    """Sliced 2-Wasserstein distance of the members of all cases from the truths of all cases.

    Args:
        directions: How many projections.
        seed: Of the directions.

    Source:
        Bonneel et al. (2015), Sliced and Radon Wasserstein barycenters of measures,
        doi:10.1007/s10851-014-0506-3.
    """

    directions: int = 64
    seed: int = 0
    goal = "0"
    scope = "set"

    def __post_init__(self) -> None:
        require(self.directions >= 1, "directions", self.directions, "1 or more")

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """The mean squared distance moved to each case's truth."""
        members, truth = points(pairs)
        cases, count, size = members.shape
        samples = members.reshape(cases * count, size)
        found = np.zeros(cases)
        random = np.random.default_rng(self.seed)
        for _ in range(self.directions):
            drawn = np.asarray(random.standard_normal(size))
            direction = drawn / np.linalg.norm(drawn)
            along, order = np.sort(samples @ direction), truth @ direction
            rank = np.argsort(order, kind="stable")
            # Of m members a case, m neighbours in order go to each truth.
            moved = (along.reshape(cases, count) - order[rank][:, None]) ** 2
            found[rank] += moved.mean(axis=1)
        return np.asarray(found[:, None] * size / self.directions)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The root of the mean."""
        return np.asarray(np.sqrt(means[..., 0]))

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit

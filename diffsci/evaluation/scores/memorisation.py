"""Memorisation: are samples new, or copies of training examples.

Each test example has a distance to its nearest training example. Their 1st percentile is what "very
near" means for data that cannot be copies. By construction about 1 % of fresh draws of the same law
come so near; a model that copies shows a larger share. A blurred model shows one too: read it with
the spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import ConfigError, require
from diffsci.evaluation.scores.base import Pairs, Score

_BLOCK = 1 << 22
"""Distances held at once: 32 MiB."""


def nearest(
    points: Float[np.ndarray, "point cell"], train: Float[np.ndarray, "example cell"]
) -> Float[np.ndarray, " point"]:
    """Euclidean distance of each point to its nearest training example."""
    square = (train**2).sum(axis=1)
    rows = max(1, _BLOCK // len(train))
    found = np.empty(len(points))
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        # |a - b|^2 by one matrix product; rounding may leave copies slightly below zero.
        squared = (block**2).sum(axis=1) + (square - 2 * block @ train.T).min(axis=1)
        found[start : start + rows] = np.sqrt(np.maximum(squared, 0.0))
    return found


@dataclass(frozen=True, kw_only=True)
class Memorisation(Score):
    """Share of members nearer to a training example than 1 % of unseen data; 0.01 if none copied.

    Args:
        percentile: Of the test set's distances, taken as the limit.
    """

    percentile: float = 1.0
    goal = "0"
    bounds = (0.0, 1.0)
    scope = "set"
    needs_train = True

    def __post_init__(self) -> None:
        require(0 < self.percentile < 100, "percentile", self.percentile, "between 0 and 100")

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """Share of each case's members below the limit."""
        if pairs.train is None:
            raise ConfigError(
                "memorisation: needs the training set; leave it out of evaluate.scores without one"
            )
        root = np.sqrt(pairs.weights).reshape(-1)
        cases, count = pairs.members.shape[:2]
        train = pairs.train.reshape(len(pairs.train), -1) * root
        # The common mean goes first: it would cost digits in the matrix product.
        centre = train.mean(axis=0)
        limit = np.percentile(
            nearest(pairs.truth.reshape(cases, -1) * root - centre, train - centre), self.percentile
        )
        members = pairs.members.reshape(cases * count, -1) * root
        near = nearest(members - centre, train - centre).reshape(cases, count) < limit
        return np.asarray(near.mean(axis=1, dtype=np.float64))[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

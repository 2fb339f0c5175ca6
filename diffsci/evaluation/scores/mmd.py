"""Maximum mean discrepancy: do samples and truths come from one law, by a kernel.

MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), without pairs of a sample with itself, so that it is
unbiased: about 0 for samples of the truth's own law, and as often below as above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores._samples import distances, points
from diffsci.evaluation.scores.base import Pairs, Score


def median_distance(truth: Float[np.ndarray, "case cell"]) -> float:
    """Median distance of two truths; 1 where all are the same."""
    squared = np.concatenate([block.ravel() for _, block in distances(truth, truth)])
    apart = squared.reshape(len(truth), -1)[~np.eye(len(truth), dtype=bool)]
    return float(np.sqrt(np.median(apart))) or 1.0 if apart.size else 1.0


@dataclass(frozen=True, kw_only=True)
class Mmd(Score):
    """Squared maximum mean discrepancy of members and truths of all cases, Gaussian kernel.

    Of generated samples; distance is that of whole fields, root mean square over the area. The
    interval is of first order: each case counts by what it adds to both of a pair.

    Args:
        bandwidth: Of the kernel exp(-d^2 / (2 h^2)), in median distances of truths.

    Source:
        Gretton et al. (2012), A kernel two-sample test, JMLR 13, 723-773, lemma 6.
    """

    bandwidth: float = 1.0
    goal = "0"
    scope = "set"

    def __post_init__(self) -> None:
        require(self.bandwidth > 0, "bandwidth", self.bandwidth, "above 0")

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """Mean kernel of members, of truths, and of both; NaN with one case."""
        members, truth = points(pairs)
        cases, count = members.shape[:2]
        if cases < 2:
            return np.full((cases, 3), np.nan)
        samples = members.reshape(cases * count, -1)
        width = 2 * (self.bandwidth * median_distance(truth)) ** 2
        within = _sums(samples, samples, width)[0] - 1
        own = _sums(truth, truth, width)[0] - 1
        of_samples, of_truth = _sums(samples, truth, width)
        within = within.reshape(cases, count).mean(axis=1) / (cases * count - 1)
        across = of_samples.reshape(cases, count).mean(axis=1) / cases
        back = of_truth / (cases * count)
        own = own / (cases - 1)
        # A case drawn again counts in both places of a pair: twice its distance from the mean.
        return np.stack(
            [2 * within - within.mean(), 2 * own - own.mean(), across + back - back.mean()], axis=1
        )

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The two within, less twice that across."""
        return np.asarray(means[..., 0] + means[..., 1] - 2 * means[..., 2])

    def unit(self, unit: str) -> str:
        """None."""
        return "1"


def _sums(one: np.ndarray, other: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the kernel over the others, and over the ones."""
    rows, columns = np.empty(len(one)), np.zeros(len(other))
    for place, squared in distances(one, other):
        kernel = np.exp(-squared / width)
        rows[place] = kernel.sum(axis=1)
        columns += kernel.sum(axis=0)
    return rows, columns

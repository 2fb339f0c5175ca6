"""High-correlation time: how long a trajectory is followed.

Of each case the time at which the correlation with the truth first falls below a level, linear
between leads and from 1 at the start; then the mean over cases. A case that is followed to the end
counts with the last lead: of forecasts that are too short for the question, all have that time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score
from diffsci.evaluation.scores.correlation import Correlation


@dataclass(frozen=True, kw_only=True)
class CorrelationTime(Score):
    """Time until the correlation of members with the truth falls below a level, mean over cases.

    Args:
        level: Of the correlation.

    Source:
        Lippe et al. (2023), PDE-Refiner, arXiv:2308.05732, section 4.1.
    """

    level: float = 0.8
    goal = "higher"
    anywhere = True
    timed = True

    def __post_init__(self) -> None:
        require(0 < self.level < 1, "level", self.level, "between 0 and 1")

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The correlation of each case at this lead, mean over members."""
        return Correlation().statistics(pairs)

    def along(
        self, statistics: Float[np.ndarray, "lead case statistic"], leads: tuple[float, ...]
    ) -> Float[np.ndarray, "lead case statistic"]:
        """The time of each case, the same at all leads."""
        known = np.nan_to_num(statistics[..., 0], nan=-1.0)  # Nothing to follow in a flat field.
        times = np.concatenate([[0.0], leads])
        values = np.concatenate([np.ones((1, known.shape[1])), known])
        below = values < self.level
        first = np.where(below.any(axis=0), below.argmax(axis=0), 0)
        case = np.arange(known.shape[1])
        before, after = values[first - 1, case], values[first, case]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (before - self.level) / (before - after)
        found = times[first - 1] + share * (times[first] - times[first - 1])
        found = np.where(first > 0, found, times[-1])
        return np.asarray(np.broadcast_to(found[:, None], statistics.shape)).copy()

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """That of the leads."""
        return unit

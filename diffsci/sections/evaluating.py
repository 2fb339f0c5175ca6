"""Section `evaluate`: scores and baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffsci.errors import require
from diffsci.members import members

if TYPE_CHECKING:
    from diffsci.evaluation.baselines.base import Baseline
    from diffsci.evaluation.scores.base import Score


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Scores and baselines.

    Args:
        scores: Of the family `scores`; empty takes crps, rmse, bias, spread_skill, rank_histogram,
            spectrum, memorisation where no field is given, class_accuracy where there are classes.
        baselines: Of the family `baselines`; empty takes every one that fits the task.
        resamples: Bootstrap resamples of the cases for the intervals.
        confidence: Share of the interval between `low` and `high`.
    """

    scores: tuple[Score, ...] = members("scores")
    baselines: tuple[Baseline, ...] = members("baselines")
    resamples: int = 500
    confidence: float = 0.9

    def __post_init__(self) -> None:
        require(self.resamples >= 1, "resamples", self.resamples, "1 or more")
        require(0 < self.confidence < 1, "confidence", self.confidence, "a share between 0 and 1")

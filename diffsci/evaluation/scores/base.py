"""What every score is: statistics per case, and a function of their means.

Means over cases add up, so chunks, workers and bootstrap resamples all reduce the same way
(the idea is WeatherBench-X's).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Members and truth of one variable at one lead, with what a score may need beside them.

    Args:
        members: Physical units, float64.
        truth: Same unit; never NaN where `weights` is positive.
        weights: Relative cell sizes, mean 1.
        labels: Class of each case, where the data has classes.
        train: Values of the same variable in the training set, for scores that compare with it.
        train_labels: Their classes.
        periodic: Which space axes close on themselves; empty: none.
    """

    members: Float[np.ndarray, "case member *space"]
    truth: Float[np.ndarray, " case *space"]
    weights: Float[np.ndarray, "*space"]
    labels: np.ndarray | None = None
    train: Float[np.ndarray, " example *space"] | None = None
    train_labels: np.ndarray | None = None
    periodic: tuple[bool, ...] = ()

    def average(self, values: Float[np.ndarray, " case *space"]) -> Float[np.ndarray, " case"]:
        """Area-weighted mean over space of each case; the weights have mean 1."""
        space = tuple(range(1, values.ndim))
        return np.asarray((values * self.weights).mean(axis=space), dtype=np.float64)


class Score(ABC):
    """A family member: frozen dataclass."""

    goal: str
    """Where the best value lies: `0`, `1`, or `higher`."""

    needs_labels: bool = False
    """Whether it has a meaning only for data with classes."""

    needs_train: bool = False
    """Whether it compares with the training set."""

    @abstractmethod
    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """What is averaged over cases."""

    @abstractmethod
    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The score from the means of the statistics; leading axes are bootstrap resamples."""

    @abstractmethod
    def unit(self, unit: str) -> str:
        """The score's unit, from the variable's."""

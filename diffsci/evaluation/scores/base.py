"""What every score is: statistics per case, and a function of their means.

Means over cases add up, so chunks, workers and bootstrap resamples all reduce the same way
(the idea is WeatherBench-X's).
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from diffsci.errors import ConfigError, require
from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.families import name_of

Scope = Literal["cells", "field", "set"]
"""What a score must see at once: some rows of cells, the whole fields of a case, or all cases."""

USUAL = ("crps", "rmse", "bias", "spread_skill", "rank_histogram", "coverage", "spectrum")
"""Words of the scores that are taken where none are named."""


@dataclass(frozen=True, kw_only=True)
class Climate:
    """What scores take from the training set, cell by cell; a missing value is left out.

    Args:
        mean: Of each cell.
        quantiles: Level -> that of each cell.
    """

    mean: Float[Array, "*space"]
    quantiles: Mapping[float, Float[Array, "*space"]]

    @classmethod
    def of(
        cls, train: Float[np.ndarray, " example *space"], levels: tuple[float, ...] = ()
    ) -> Climate:
        """Mean and quantiles of training fields."""
        gappy = bool(np.isnan(train).any())
        # A cell without a single value counts in no score.
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="All-NaN|Mean of empty")
            mean = (np.nanmean if gappy else np.mean)(train, axis=0, dtype=np.float64)
            quantile = np.nanquantile if gappy else np.quantile
            found = {level: np.asarray(quantile(train, level, axis=0)) for level in levels}
        return cls(mean=np.asarray(mean), quantiles=found)

    def changed(self, change: Callable[[Array], Array]) -> Climate:
        """Of other cells: some rows, or with a number where there is none."""
        quantiles = {level: change(field) for level, field in self.quantiles.items()}
        return Climate(mean=change(self.mean), quantiles=quantiles)


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
        climate: Of the training set, where it was made once for all blocks; else from `train`.
        latitudes: Of the rows of a sphere in degrees; none elsewhere.
    """

    members: Float[Array, "case member *space"]
    truth: Float[Array, " case *space"]
    weights: Float[Array, "*space"]
    labels: np.ndarray | None = None
    train: Float[np.ndarray, " example *space"] | None = None
    train_labels: np.ndarray | None = None
    periodic: tuple[bool, ...] = ()
    climate: Climate | None = None
    latitudes: Float[np.ndarray, " row"] | None = None

    def rows(self, slab: slice) -> Pairs:
        """Some rows of the first space axis, members in float64; means are of these cells alone."""
        cut = self.cut(slab)
        return replace(cut, members=_arrays.real(cut.members))

    def cut(self, slab: slice) -> Pairs:
        """Some rows of the first space axis, as views."""
        climate = self.climate
        return replace(
            self,
            members=self.members[:, :, slab],
            truth=self.truth[:, slab],
            weights=self.weights[slab],
            train=None if self.train is None else self.train[:, slab],
            climate=None if climate is None else climate.changed(lambda field: field[slab]),
            latitudes=None if self.latitudes is None else self.latitudes[slab],
        )

    def usual(self, score: str) -> Float[Array, "*space"]:
        """Mean of the training set in each cell."""
        return self._climate(score).mean

    def quantile(self, level: float, score: str) -> Float[Array, "*space"]:
        """Quantile of the training set in each cell."""
        if self.climate is not None and level in self.climate.quantiles:
            return self.climate.quantiles[level]
        return self._climate(score, (level,)).quantiles[level]

    def _climate(self, score: str, levels: tuple[float, ...] = ()) -> Climate:
        if self.climate is not None and not levels:
            return self.climate
        if self.train is None:
            raise ConfigError(f"{score}: needs a training set; leave it out")
        return Climate.of(self.train, levels)

    def average(self, values: Float[Array, " case *space"]) -> Float[Array, " case"]:
        """Area-weighted mean over space of each case; the weights have mean 1."""
        space = tuple(range(1, values.ndim))
        return _arrays.real((values * self.weights).mean(axis=space))


class Score(ABC):
    """A family member: frozen dataclass."""

    goal: str
    """Where the best value lies: `0`, `1`, or `higher`."""

    needs_labels: bool = False
    """Whether it has a meaning only for data with classes."""

    needs_train: bool = False
    """Whether it compares with the training set."""

    scope: Scope = "field"
    """`cells` where statistics are means over cells that are scored alone, so that those of a field
    are the means of its slabs'. `set` where the other cases matter."""

    quantile_levels: tuple[float, ...] = ()
    """Quantiles of the training set that it takes."""

    timed: bool = False
    """Whether it is a time: in the unit of the leads, of all leads together."""

    equitable: bool = False
    """Whether its expectation is the same for any number of members, so that unlike ones compare.
    """

    fewest_members: int = 1
    """From how many members on it is equitable: what is made fair by pairs of them needs two."""

    bounds: tuple[float, float] = (0.0, math.inf)
    """Between which the score lies, and so its interval; an unbiased estimate of it may not."""

    anywhere: bool = False
    """Whether `statistics` also takes tensors of torch, on any device; see `_arrays.py`."""

    @abstractmethod
    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """What is averaged over cases."""

    def along(
        self, statistics: Float[np.ndarray, "lead case statistic"], leads: tuple[float, ...]
    ) -> Float[np.ndarray, "lead case statistic"]:
        """Statistics once all leads are known; as they are, but for scores that follow a case."""
        return statistics

    @abstractmethod
    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The score from the means of the statistics; leading axes are bootstrap resamples."""

    def lacks(self, statistics: Float[np.ndarray, "case statistic"]) -> str:
        """Why these cases give no value that means anything, for a log line; empty where they do.

        The value is left empty then, whatever `value` makes of it.
        """
        return ""

    @abstractmethod
    def unit(self, unit: str) -> str:
        """The score's unit, from the variable's."""


@dataclass(frozen=True, kw_only=True)
class OfEvents(Score):
    """A score of values above a threshold.

    Args:
        threshold: In the variable's unit; null takes the quantile.
        quantile: Of the training set in each cell.
    """

    threshold: float | None = None
    quantile: float = 0.9

    def __post_init__(self) -> None:
        require(0 < self.quantile < 1, "quantile", self.quantile, "a share between 0 and 1")
        fits = self.threshold is None or math.isfinite(self.threshold)
        require(fits, "threshold", self.threshold, "a finite number, or null")

    @property
    def needs_train(self) -> bool:  # type: ignore[override]
        """For a quantile."""
        return self.threshold is None

    @property
    def quantile_levels(self) -> tuple[float, ...]:  # type: ignore[override]
        """The one, where there is no threshold."""
        return (self.quantile,) if self.threshold is None else ()

    def wants_threshold(self) -> str:
        """What to do where there is no training set to take a quantile of."""
        word = name_of(self)
        return (
            f"{word}: needs a training set for its quantile {self.quantile:g}, and there is none; "
            f"give a threshold in the variable's unit, such as `--scores {word}:threshold=280`, in "
            f"a pipeline `{{use: {word}, threshold: 280}}`, or leave it out"
        )

    def one_sided(self, occurred: float, said: float) -> str:
        """Why a score of an event says nothing, where there is only one outcome; else empty.

        Args:
            occurred: Mean over space and cases of whether the event came true.
            said: Of its probability.
        """
        # Shares are means of many weights of mean 1, so a share of all is 1 up to rounding.
        if max(occurred, said) <= 1e-9:
            never = "never occurs and is never forecast"
        elif min(occurred, said) >= 1 - 1e-9:
            never = "always occurs and is always forecast"
        else:
            return ""
        limit = "its threshold" if self.threshold is None else f"{self.threshold:g}"
        return f"a value above {limit} {never}"

    def limit(self, pairs: Pairs) -> Float[Array, "*space"]:
        """The threshold in each cell, in the variable's unit.

        Raises:
            ConfigError: Where a quantile is asked for and there is no training set.
        """
        if self.threshold is not None:
            limit = np.full(tuple(pairs.truth.shape[1:]), float(self.threshold))
            return _arrays.beside(limit, pairs.truth)
        if pairs.train is None and pairs.climate is None:
            raise ConfigError(self.wants_threshold())
        return pairs.quantile(self.quantile, name_of(self))

"""Thresholds of events: a number, or a quantile of what the training set has in the same cell."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from diffsci.errors import ConfigError, require
from diffsci.evaluation.scores.base import Pairs


def check(threshold: float | None, quantile: float) -> None:
    """Refuse a quantile that is none."""
    require(0 < quantile < 1, "quantile", quantile, "a share between 0 and 1")
    fits = threshold is None or math.isfinite(threshold)
    require(fits, "threshold", threshold, "a finite number, or null")


def of(
    pairs: Pairs, threshold: float | None, quantile: float, score: str
) -> Float[np.ndarray, "*space"]:
    """The threshold in each cell, in the variable's unit.

    Raises:
        ConfigError: Where a quantile is asked for and there is no training set.
    """
    space = pairs.truth.shape[1:]
    if threshold is not None:
        return np.full(space, float(threshold))
    if pairs.train is None:
        raise ConfigError(
            f"{score}: needs the training set for its quantile {quantile:g}; give `threshold` in "
            "the variable's unit, or leave it out"
        )
    return np.asarray(np.quantile(pairs.train, quantile, axis=0))

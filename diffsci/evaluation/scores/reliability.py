"""Reliability: does what is said to have a probability come true as often.

The event is a value above a threshold, its probability p the share of members above it. Where p was
said, the event came true with some frequency; the frequencies are made monotone in p by pooling
neighbours that are out of order (isotonic regression, PAV). The Brier score then is

    mean (p - e)^2 = miscalibration - discrimination + uncertainty,

where miscalibration is what pooling the probabilities to those frequencies would gain. With m
members p has m + 1 values, so nothing is binned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import OfEvents, Pairs


def pooled(
    frequency: Float[np.ndarray, "*sets value"], weight: Float[np.ndarray, "*sets value"]
) -> Float[np.ndarray, "*sets value"]:
    """Isotonic regression: the nearest sequence that does not fall, by weighted squares.

    Args:
        frequency: By rising value; without meaning where the weight is 0.
        weight: Of each.

    Source:
        The max-min formula of Robertson, Wright, Dykstra (1988), Order restricted statistical
        inference, theorem 1.4.4; what pool-adjacent-violators finds.
    """
    count = weight.shape[-1]
    zero = np.zeros((*weight.shape[:-1], 1))
    mass = np.concatenate([zero, np.cumsum(weight, axis=-1)], axis=-1)
    events = np.concatenate([zero, np.cumsum(weight * frequency, axis=-1)], axis=-1)
    # Mean of each run from a to b, the last axis.
    held = mass[..., None, 1:] - mass[..., :-1, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (events[..., None, 1:] - events[..., :-1, None]) / held
    allowed = np.triu(np.ones((count, count), dtype=bool)) & (held > 1e-15)
    means = np.where(allowed, means, np.inf)
    least = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
    least = np.where(np.isfinite(least) & np.triu(np.ones((count, count), bool)), least, -np.inf)
    found = least.max(axis=-2)
    return np.asarray(np.where(np.isfinite(found), found, 0.0))


def decomposed(
    means: Float[np.ndarray, "*sets statistic"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Miscalibration, discrimination and uncertainty of the Brier score.

    Args:
        means: As `Reliability.statistics` has them, averaged.
    """
    share, events = np.split(means, 2, axis=-1)
    said = np.linspace(0, 1, share.shape[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        frequency = np.where(share > 0, events / share, 0.0)
    right = pooled(frequency, share)
    rate = events.sum(axis=-1)
    # Means of squared distances from the event, up to the one term that is the same in all.
    brier = (share * said**2 - 2 * events * said).sum(axis=-1)
    best = (share * right**2 - 2 * events * right).sum(axis=-1)
    flat = -(rate**2)
    return np.asarray(brier - best), np.asarray(flat - best), np.asarray(rate - rate**2)


@dataclass(frozen=True, kw_only=True)
class Reliability(OfEvents):
    """Miscalibration of the probability of exceeding a threshold (CORP); 0 is reliable.

    The probability k/m of a small ensemble is uncertain itself: a perfect one of m members has a
    miscalibration of about the mean of p (1 - p) / m.

    Source:
        Dimitriadis, Gneiting, Jordan (2021), Stable reliability diagrams for probabilistic
        classifiers, doi:10.1073/pnas.2016191118.
    """

    goal = "0"
    scope = "cells"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Area share of each of the m + 1 probabilities, then of the events where it was said."""
        limit = self.limit(pairs)
        cases, count = pairs.members.shape[:2]
        above = (pairs.members > limit).sum(axis=1).reshape(cases, -1)
        share = pairs.weights.reshape(1, -1) / math.prod(pairs.weights.shape)
        events = share * (pairs.truth > limit).reshape(cases, -1)
        both = [_arrays.tallied(above, one, count + 1) for one in (share, events)]
        return _arrays.lib(share).concatenate(both, axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The miscalibration."""
        return decomposed(means)[0]

    def lacks(self, statistics: Float[np.ndarray, "case statistic"]) -> str:
        """Where the event has one outcome only, 0 would read as a perfect forecast of it."""
        share, events = np.split(statistics.mean(axis=0), 2)
        return self.one_sided(float(events.sum()), float(share @ np.linspace(0, 1, len(share))))

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

"""The loss by level: means over the last hundred steps or so, in bins of log(noise / signal).

The mean loss hides where a model is bad. Each step adds the weighted squared errors of its batch to
the bins of their levels; sums and counts then fade by 1 % a step. The errors of a step travel with
the two numbers that are read in each step anyway, so no device waits and no rank reduces once more,
and the host sums them: for a batch that takes less time than to tell a device what to do.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

BINS = 12
_LOW, _HIGH = math.log(0.002), math.log(80.0)
_WIDTH = (_HIGH - _LOW) / BINS
CENTRES = tuple(math.exp(_LOW + (place + 0.5) * _WIDTH) for place in range(BINS))
"""Of noise_std / signal_scale, evenly in its logarithm; the first and last bin have open ends."""

KEPT = 0.99
_FORGOTTEN = 1e-3

Faded = tuple[float, ...]
"""Sums of the bins, then their counts."""

NOTHING: Faded = (0.0,) * (2 * BINS)


_EDGES = tuple(_LOW + place * _WIDTH for place in range(1, BINS))


def sums(error: Sequence[float], log_sigma: Sequence[float]) -> list[float]:
    """Sum of the errors in each bin, then how many there are."""
    found = [0.0] * (2 * BINS)
    for value, at in zip(error, log_sigma, strict=True):
        place = bisect_right(_EDGES, at)
        found[place] += value
        found[BINS + place] += 1
    return found


def faded(before: Faded, added: list[float]) -> Faded:
    """Sums and counts after one more step."""
    return tuple(KEPT * old + new for old, new in zip(before, added, strict=True))


def means(kept: Faded) -> dict[float, float]:
    """Mean error of each bin that was drawn from lately (in the last 700 steps), by its centre."""
    rows = zip(CENTRES, kept[:BINS], kept[BINS:], strict=True)
    return {centre: total / count for centre, total, count in rows if count > _FORGOTTEN}

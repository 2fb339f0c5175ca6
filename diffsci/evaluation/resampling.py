"""Resampling cases in blocks, as long as the weather lasts.

Forecasts that start one after the other share much of their weather, so their scores are alike. A
bootstrap of single cases takes them as independent, and its intervals are too narrow. Blocks of
neighbouring cases keep what hangs together; the blocks' length is chosen from the autocorrelation
of the scores themselves, and is 1 where there is none. Blocks still see too little of it, the less
the fewer they are: so the resamples are stretched about the mean, until their variance is that of
the mean of an autoregressive series like this one, with Student's quantiles for its uncertainty:
as many degrees of freedom as there would be independent cases.

Of 4000 simulated series of 56, 100 and 200 cases with correlations of 0, 0.3, 0.6 and 0.8 of
neighbours, 95 % intervals of the mean held the truth in 94 to 96 %, of 20 cases in 93 to 95 %.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import stats  # type: ignore[import-untyped]

_ORDERS = 3
"""Largest order of the autoregressive model; one less for each 25 cases that are lacking."""

_FEWEST = 8
"""With fewer cases nothing is known of their correlation: they count as independent."""


def block_length(series: Float[np.ndarray, " case"]) -> int:
    """Length of blocks for the circular bootstrap of the mean of a stationary series.

    Args:
        series: One number a case, in the order of their times.

    Returns:
        1 or more, at most a third of the series.

    Source:
        Politis, White (2004), doi:10.1081/ETC-120028836, as corrected by Patton, Politis, White
        (2009), doi:10.1080/07474930802459016.
    """
    count = len(series)
    centred = series - series.mean()
    if count < _FEWEST or not np.isfinite(centred).all() or not centred.any():
        return 1
    most = math.ceil(min(3 * math.sqrt(count), count / 3))
    quiet = max(5, math.ceil(math.sqrt(math.log10(count))))
    lags = min(count - 1, math.ceil(math.sqrt(count)) + quiet)
    covariance = np.array(
        [(centred[: count - k] * centred[k:]).sum() / count for k in range(lags + 1)]
    )
    small = np.abs(covariance / covariance[0]) < 2 * math.sqrt(math.log10(count) / count)
    # The last lag after which `quiet` lags in a row are no more than chance.
    runs = [k for k in range(lags - quiet + 1) if small[k + 1 : k + 1 + quiet].all()]
    last = runs[0] if runs else int(np.flatnonzero(~small).max())
    window = min(2 * last, lags)
    if window == 0:
        return 1
    lag = np.arange(1, window + 1)
    # A trapezoid: flat up to half the window, then down to zero.
    taper = np.minimum(1.0, 2 * (1 - lag / window)) * covariance[1 : window + 1]
    slope, level = 2 * (taper * lag).sum(), covariance[0] + 2 * taper.sum()
    if level <= 0 or slope <= 0:
        return 1
    length = (2 * slope**2 / (4 / 3 * level**2)) ** (1 / 3) * count ** (1 / 3)
    return int(min(most, max(1, round(length))))


def accuracy(series: Float[np.ndarray, " case"], length: int) -> tuple[float, float]:
    """How many times wider than resamples the mean really scatters, and degrees of freedom.

    Args:
        series: One number a case, in the order of their times.
        length: Of the blocks.

    Source:
        Long-run variance s^2 / (1 - sum of a)^2 of an AR(p) model with p from 1 to 3 by BIC, a by
        Yule-Walker, their sum corrected for its bias by (1 + 4 a) / n, which is that of an AR(1)
        (Shaman, Stine 1988, doi:10.1080/01621459.1988.10478672). An order of 0 is not asked for:
        a weak correlation that a test would not see still takes 4 % off the coverage.
    """
    count = len(series)
    centred = series - series.mean()
    if count < 2 or not np.isfinite(centred).all() or not centred.any():
        return 1.0, math.inf
    if count < _FEWEST:
        return math.sqrt(count / (count - 1)), count - 1.0
    most = min(_ORDERS, max(1, count // 25))
    lags = max(most + 1, length)
    r = np.array([(centred[: count - k] * centred[k:]).sum() / count for k in range(lags)])
    order, shock, total = _autoregression(r, count, most)
    total = min(total + (1 + 4 * total) / count, 0.98)
    # No more than if three cases were independent: a few cannot tell a long memory from chance.
    wanted = min(shock * count / (count - order - 1) / (1 - total) ** 2, count / 3 * float(r[0]))
    k = np.arange(1, length)
    seen = max(r[0] + 2 * ((1 - k / length) * r[1:length]).sum(), 0.1 * r[0])
    independent = min(count, count * r[0] / wanted)
    return float(math.sqrt(wanted / seen)), max(2.0, float(independent - 1 - order))


def stretch(series: Float[np.ndarray, " case"], length: int, confidence: float) -> float:
    """How much farther from a score its resamples should lie; near 1 for many independent cases.

    Args:
        series: One number a case, in the order of their times.
        length: Of the blocks.
        confidence: Of the interval.
    """
    wider, freedom = accuracy(series, length)
    if math.isinf(freedom):
        return wider
    tail = (1 + confidence) / 2
    return float(wider * stats.t.ppf(tail, freedom) / stats.norm.ppf(tail))


def _autoregression(
    r: Float[np.ndarray, " lag"], count: int, most: int
) -> tuple[int, float, float]:
    """Order, variance of the shocks and sum of the coefficients of the best model by BIC."""
    best = (math.inf, 1, float(r[0]), 0.0)
    for order in range(1, most + 1):
        lag = np.abs(np.subtract.outer(np.arange(order), np.arange(order)))
        a = np.linalg.lstsq(r[lag], r[1 : order + 1], rcond=None)[0]
        shock = max(float(r[0] - a @ r[1 : order + 1]), 1e-12 * float(r[0]))
        criterion = count * math.log(shock) + order * math.log(count)
        if criterion < best[0]:
            best = (criterion, order, shock, float(a.sum()))
    return best[1:]


def weights(
    cases: int, resamples: int, length: int, seed: int
) -> Float[np.ndarray, "resample case"]:
    """How much each case counts in each resample; rows sum to 1.

    Args:
        cases: How many.
        resamples: How many.
        length: Of a block of neighbouring cases; the last one is followed by the first.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    if length == 1:
        drawn = random.multinomial(cases, np.full(cases, 1 / cases), size=resamples)
        return np.asarray(drawn / cases)
    blocks = -(-cases // length)
    starts = random.integers(cases, size=(resamples, blocks))
    rows = (starts[:, :, None] + np.arange(length)) % cases
    rows = rows.reshape(resamples, -1)[:, :cases] + cases * np.arange(resamples)[:, None]
    counts = np.bincount(rows.ravel(), minlength=resamples * cases).reshape(resamples, cases)
    return np.asarray(counts / cases)

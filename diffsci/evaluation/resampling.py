"""Resampling cases in blocks, as long as the weather lasts.

Forecasts that start one after the other share much of their weather, so their scores are alike. A
bootstrap of single cases takes them as independent, and its intervals are too narrow. Blocks of
neighbouring cases keep what hangs together; the blocks' length is chosen from the autocorrelation
of the scores themselves, and is 1 where there is none. Blocks still see too little of it, the less
the fewer they are: so the resamples are stretched about the mean, until their variance is that of
the mean of an autoregressive series like this one, with Student's quantiles for its uncertainty.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import stats  # type: ignore[import-untyped]

_ORDERS = 3
"""Largest order of the autoregressive model."""


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
    if count < 8 or not np.isfinite(centred).all() or not centred.any():
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


def stretch(series: Float[np.ndarray, " case"], length: int, confidence: float) -> float:
    """How much farther from a score its resamples should lie; 1 where cases are independent.

    Args:
        series: One number a case, in the order of their times.
        length: Of the blocks.
        confidence: Of the interval.

    Source:
        Long-run variance s^2 / (1 - sum of a)^2 of an AR(p) model, p up to 3 by BIC, a by
        Yule-Walker, their sum corrected for its bias by (1 + 3 a) / n, which is that of an AR(1)
        (Kendall 1954, doi:10.1093/biomet/41.3-4.403). Coverage was measured, see the tests.
    """
    count = len(series)
    centred = series - series.mean()
    if count < 8 or not np.isfinite(centred).all() or not centred.any():
        return 1.0
    lags = max(_ORDERS + 1, length)
    r = np.array([(centred[: count - k] * centred[k:]).sum() / count for k in range(lags)])
    order, shock, total = _autoregression(r, count)
    if order == 0 and length == 1:
        return 1.0
    total = min(total + (1 + 3 * total) / count, 0.98) if order else 0.0
    wanted = shock * count / (count - order - 1) / (1 - total) ** 2
    k = np.arange(1, length)
    seen = max(r[0] + 2 * ((1 - k / length) * r[1:length]).sum(), 0.1 * r[0])
    independent = min(count, max(4.0, count * r[0] / wanted))
    tail = (1 + confidence) / 2
    student = stats.t.ppf(tail, independent - 1) / stats.norm.ppf(tail)
    return float(math.sqrt(max(1.0, wanted / seen)) * student)


def _autoregression(r: Float[np.ndarray, " lag"], count: int) -> tuple[int, float, float]:
    """Order, variance of the shocks and sum of the coefficients of the best model by BIC."""
    best = (math.inf, 0, float(r[0]), 0.0)
    for order in range(_ORDERS + 1):
        a = np.zeros(0)
        if order:
            lag = np.abs(np.subtract.outer(np.arange(order), np.arange(order)))
            a = np.linalg.lstsq(r[lag], r[1 : order + 1], rcond=None)[0]
        shock = float(r[0] - a @ r[1 : order + 1])
        criterion = count * math.log(max(shock, 1e-12 * r[0])) + order * math.log(count)
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

"""Times: dates of any calendar and plain numbers, their step, their gaps, and their names.

A calendar month or year is a regular step although it is not a fixed number of days. What is no
multiple of the step is a break, and no window crosses a break.
"""

from __future__ import annotations

import datetime
from collections import Counter

import cftime
import numpy as np
from jaxtyping import Bool, Int

_NS_RANGE = (np.datetime64("1678-01-01"), np.datetime64("2262-01-01"))
_DAY = 86_400 * 10**9


def is_dates(times: np.ndarray) -> bool:
    """Whether the stamps are dates (of numpy, or of a cftime calendar) rather than numbers."""
    return times.dtype.kind == "M" or (times.dtype == object and _is_cftime(times))


def _is_cftime(times: np.ndarray) -> bool:
    return bool(times.size) and isinstance(times.flat[0], cftime.datetime)


def canonical_stamps(times: np.ndarray) -> np.ndarray:
    """`datetime64[ns]` where the years allow it, else cftime (proleptic Gregorian), or float64."""
    if times.dtype.kind == "M":
        inside = (times >= _NS_RANGE[0]) & (times < _NS_RANGE[1]) | np.isnat(times)
        if inside.all():
            return times.astype("datetime64[ns]")
        plain = [stamp.item() for stamp in times.astype("datetime64[us]")]
        return np.array(
            [
                cftime.DatetimeProlepticGregorian(
                    t.year, t.month, t.day, t.hour, t.minute, t.second, t.microsecond
                )
                for t in plain
            ],
            dtype=object,
        )
    if times.dtype.kind == "m":
        return times.astype("timedelta64[ns]").astype(np.float64) / 1e9
    return times if times.dtype == object else times.astype(np.float64)


def name(stamp: object) -> str:
    """ISO text of a date, shortest text of a number: `2019-03-24T00:00:00`, `12.5`."""
    if isinstance(stamp, np.datetime64):
        return str(stamp.astype("datetime64[s]"))
    if isinstance(stamp, cftime.datetime):
        return str(stamp.isoformat())
    return f"{float(stamp):.10g}"  # type: ignore[arg-type]


def nanoseconds(times: np.ndarray) -> Int[np.ndarray, " time"]:
    """Dates as whole nanoseconds since the first of them, exact for every calendar."""
    if times.dtype.kind == "M":
        since_first: np.ndarray = (times - times[0]).astype("timedelta64[ns]").astype(np.int64)
        return since_first
    since = [stamp - times[0] for stamp in times]
    whole = [(d.days * 86_400 + d.seconds) * 10**6 + d.microseconds for d in since]
    return np.array(whole, dtype=np.int64) * 1000


def _months(times: np.ndarray) -> Int[np.ndarray, " time"]:
    if times.dtype.kind == "M":
        return times.astype("datetime64[M]").astype(np.int64)
    return np.array([12 * stamp.year + stamp.month for stamp in times], dtype=np.int64)


def _commonest(steps: np.ndarray) -> int:
    counts = Counter(steps.tolist())
    most = max(counts.values())
    return int(min(step for step, count in counts.items() if count == most))


def regular_step(
    times: np.ndarray,
) -> tuple[np.timedelta64 | float | None, Bool[np.ndarray, " time"]]:
    """The commonest step, and where a stamp does not follow the one before it at that step.

    Args:
        times: Strictly increasing stamps. The first of them breaks nothing.

    Returns:
        `timedelta64[ns]` for dates, a float for numbers, none for a single stamp; and the breaks.
        For calendar months and years the step is that of the commonest month or year.
    """
    breaks = np.zeros(len(times), dtype=bool)
    if len(times) < 2:
        return None, breaks
    if not is_dates(times):
        steps = np.diff(times)
        step = float(np.median(steps))
        # Output times are often sums of a rounded step: 1e-3 of one is far below a missing frame.
        breaks[1:] = np.abs(steps - step) > 1e-3 * abs(step)
        return step, breaks
    exact = np.diff(nanoseconds(times))
    whole = _commonest(exact)
    breaks[1:] = exact != whole
    if whole >= 27 * _DAY and breaks.any():
        months = np.diff(_months(times))
        count = _commonest(months)
        days = exact[months == count] / _DAY / max(count, 1)
        # Mid-month stamps wander by half a day; a calendar month has 28 to 31 days.
        if count > 0 and days.min() >= 27 and days.max() <= 32:
            breaks[1:] = months != count
    return np.timedelta64(whole, "ns"), breaks


def later(stamp: object, lead: np.timedelta64) -> object:
    """The stamp one lead later, in the same calendar."""
    if isinstance(stamp, cftime.datetime):
        return stamp + datetime.timedelta(
            microseconds=int(lead.astype("timedelta64[us]").astype(int))
        )
    return stamp + lead  # type: ignore[operator]

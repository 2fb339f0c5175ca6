"""Times: dates of any calendar and plain numbers, their step, their gaps, and their names.

A calendar month or year is a regular step although it is not a fixed number of days: as a number it
is so many mean months, such as 365.2425 / 12 days = 2629746 s, by which it is known again. What is
no multiple of the step is a break, and no window crosses a break.
"""

from __future__ import annotations

import datetime
from collections import Counter

import cftime
import numpy as np
from jaxtyping import Bool, Int

_NS_RANGE = (np.datetime64("1678-01-01"), np.datetime64("2262-01-01"))
_DAY = 86_400 * 10**9

_MEAN_MONTH = {
    "julian": 2_629_800, "noleap": 2_628_000, "365_day": 2_628_000,
    "all_leap": 2_635_200, "366_day": 2_635_200, "360_day": 2_592_000,
}  # fmt: skip
"""Seconds of a twelfth of a mean year, by calendar; that of the Gregorian ones is 2629746."""


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
        For calendar months and years the step is so many mean months.
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
            return count * mean_month(times[0]), breaks
    return np.timedelta64(whole, "ns"), breaks


def is_standard(calendar: str | None) -> bool:
    """Whether a calendar's dates are those of numpy."""
    return calendar in (None, "standard", "gregorian", "proleptic_gregorian")


def calendar(stamp: object) -> str:
    """The calendar of a date; `standard` for those of numpy."""
    return str(stamp.calendar) if isinstance(stamp, cftime.datetime) else "standard"


def mean_month(stamp: object) -> np.timedelta64:
    """A twelfth of the mean year of a date's calendar."""
    return np.timedelta64(_MEAN_MONTH.get(calendar(stamp), 2_629_746) * 10**9, "ns")


def months_of(step: np.timedelta64, stamp: object) -> int:
    """How many calendar months a step of `regular_step` is; 0 where it is a fixed time."""
    count, rest = divmod(step, mean_month(stamp))
    return 0 if rest else int(count)


def later(stamp: object, step: np.timedelta64, count: int) -> object:
    """The stamp so many steps later, in the same calendar; months are counted as such."""
    months = months_of(step, stamp)
    if months:
        return add_months(stamp, months * count)
    lead = step * count
    if isinstance(stamp, cftime.datetime):
        return stamp + datetime.timedelta(
            microseconds=int(lead.astype("timedelta64[us]").astype(int))
        )
    return stamp + lead  # type: ignore[operator]


def moved(times: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Times later by spans, which broadcast; dates of calendars of their own stay such."""
    # They are objects, which take differences of Python's.
    ours = spans.astype("m8[us]").astype(object) if times.dtype == "O" else spans
    return np.asarray(times + ours)


def add_months(stamp: object, months: int) -> object:
    """The same day and hour so many months later; the last day of a month stays the last."""
    if isinstance(stamp, cftime.datetime):
        year, month = divmod(12 * stamp.year + stamp.month - 1 + months, 12)
        first = stamp.replace(year=year, month=month + 1, day=1)
        ends = stamp.day == stamp.daysinmonth
        day = first.daysinmonth if ends else min(stamp.day, first.daysinmonth)
        return first.replace(day=day)
    assert isinstance(stamp, np.datetime64)
    month, one = stamp.astype("datetime64[M]"), np.timedelta64(1, "D")
    after = month + np.timedelta64(months, "M")
    days, clock = divmod(stamp - month.astype(stamp.dtype), one.astype("timedelta64[ns]"))
    last, last_after = _days_in(month) - 1, _days_in(after) - 1
    day = last_after if days == last else min(int(days), last_after)
    return after.astype(stamp.dtype) + day * one + clock


def _days_in(month: np.datetime64) -> int:
    after = month + np.timedelta64(1, "M")
    return int((after.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int))


def on_seconds(times: np.ndarray) -> np.ndarray:
    """Dates on whole seconds where all are within a millisecond of one: float days are rounded."""
    if times.dtype.kind == "M":
        exact = times.astype("datetime64[ns]").astype(np.int64)
        whole = (exact + 5 * 10**8) // 10**9 * 10**9
        near = (np.abs(exact - whole) <= 10**6) | np.isnat(times)
        return (
            np.where(np.isnat(times), times, whole.astype("datetime64[ns]"))
            if near.all()
            else times
        )
    flat = times.ravel()
    if not _is_cftime(times) or any(1000 < t.microsecond < 999_000 for t in flat):
        return times
    made = np.empty(flat.shape, dtype=object)
    for i, stamp in enumerate(flat):
        up = stamp + datetime.timedelta(microseconds=1000)
        made[i] = up.replace(microsecond=0)
    return made.reshape(times.shape)

"""Seasons: which dates have the same climate as a given one.

Climate is a function of the day of the year and, where data is sub-daily, of the hour of the day.
Days of the year are counted on a circle of 365 days (360 in the 360-day calendar), so that
31 December and 1 January are neighbours; 29 February counts as 1 March.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import cftime
import numpy as np
from jaxtyping import Bool, Int

from diffsci.data.canonical.times import is_dates, later, months_of

_DAY = np.timedelta64(1, "D")
_DAYS_BEFORE = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Where some dates stand in the year and in the day.

    Args:
        month: From 1.
        day: Of the year, from 0.
        hour: Of the day.
        year_days: Length of the year.
    """

    month: Int[np.ndarray, " time"]
    day: Int[np.ndarray, " time"]
    hour: Int[np.ndarray, " time"]
    year_days: int

    @classmethod
    def of(cls, times: np.ndarray) -> Moments | None:
        """Of `datetime64` or cftime dates; none for plain numbers."""
        if not (times.size and is_dates(times)):
            return None
        stamps: list[cftime.datetime | datetime.datetime] = list(
            times.astype("datetime64[us]").tolist() if times.dtype.kind == "M" else times
        )
        of_360 = getattr(stamps[0], "calendar", "") == "360_day"
        month = np.array([stamp.month for stamp in stamps], dtype=np.int64)
        day = np.array([stamp.day for stamp in stamps], dtype=np.int64)
        return cls(
            month=month,
            day=(30 * (month - 1) if of_360 else _DAYS_BEFORE[month - 1]) + day - 1,
            hour=np.array([stamp.hour for stamp in stamps], dtype=np.int64),
            year_days=360 if of_360 else 365,
        )


def alike(
    moments: Moments, start: object, ahead: int, step: np.timedelta64, window_days: int
) -> Bool[np.ndarray, " time"]:
    """Which moments have the climate of the date `ahead` steps after `start`.

    Args:
        moments: To choose from.
        start: A date of the same calendar.
        ahead: Steps.
        step: Of the data, as `times.regular_step` has it: months match months, days a window,
            shorter steps the hour as well.
        window_days: How far the day of the year may be off, either way.
    """
    wanted = Moments.of(np.array([later(start, step, ahead)]))
    assert wanted is not None, "training times are dates, so those of the cases are"
    if months_of(step, start):
        return np.asarray(moments.month == wanted.month)
    apart = np.abs(moments.day - wanted.day)
    near = np.minimum(apart, np.abs(moments.year_days - apart)) <= window_days
    return np.asarray(near if step >= _DAY else near & (moments.hour == wanted.hour))

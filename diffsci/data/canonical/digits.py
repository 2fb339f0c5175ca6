"""Times whose digits are a date: `day as %Y%m%d.%f`, and months and years in the same way."""

from __future__ import annotations

import cftime
import numpy as np

from diffsci.data.canonical import times as stamps

DAYS = "day as %Y%m%d"
_KINDS = {DAYS: "day", "month as %Y%m": "month", "year as %Y": "year"}
_EXACT = 2**24
"""Beyond it float32 has no odd numbers, such as most dates of eight digits."""


def kind(units: str) -> str:
    """`day`, `month` or `year`, by what the digits are; empty for units of any other form."""
    plain = units.strip().removesuffix(".%f")
    return _KINDS.get(plain, "")


def dates(numbers: np.ndarray, what: str, calendar: str | None = None) -> np.ndarray:
    """Dates of numbers such as 20010131.25, whose digits are year, month and day, and its share.

    Half a month says no more than its month: so CDO writes it, and reads the first day of it.

    Args:
        numbers: The digits.
        what: What they count: `day`, `month` or `year`.
        calendar: Of the dates.

    Raises:
        ValueError: For digits that are no date.
    """
    flat = np.asarray(numbers, np.float64).ravel()
    whole = np.floor(flat)
    rest = flat - whole
    short = numbers.dtype == np.float32 and (np.abs(flat) > _EXACT).any()
    if short or (numbers.dtype == np.float32 and what == "day" and rest.any()):
        raise ValueError("float32 holds no such digits: they were rounded when they were written")
    odd = rest[~np.isin(rest, (0, 0.5) if what == "month" else (0,))]
    if what != "day" and odd.size:
        raise ValueError(f"a share of {odd[0]:g} of a {what} is no date")
    at = whole * {"day": 1, "month": 100, "year": 10_000}[what]
    text = [f"{day + {'day': 0, 'month': 1, 'year': 101}[what]:08.0f}" for day in at]
    # A float64 of eight digits leaves 4e-9 of a day, which is less than a millisecond.
    seconds = np.round(rest * 86_400 if what == "day" else 0 * rest)
    if stamps.is_standard(calendar):
        plain = np.array([f"{t[:-4]}-{t[-4:-2]}-{t[-2:]}" for t in text], "datetime64[s]")
        made = (plain + seconds.astype("timedelta64[s]")).astype("datetime64[ns]")
        return np.asarray(made.reshape(numbers.shape))
    units = "seconds since {}-{}-{}"
    found = [
        cftime.num2date(s, units.format(t[:-4], t[-4:-2], t[-2:]), calendar=calendar)
        for s, t in zip(seconds, text, strict=True)
    ]
    return np.array(found, dtype=object).reshape(numbers.shape)

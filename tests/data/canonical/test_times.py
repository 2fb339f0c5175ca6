"""Calendar arithmetic against xarray's and pandas' own offsets."""

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from diffsci.data.canonical import times as stamps

CALENDARS = ["standard", "noleap", "all_leap", "360_day", "julian"]


def dates(start, freq, periods, calendar):
    return xr.date_range(
        start, freq=freq, periods=periods, calendar=calendar, use_cftime=True
    ).values


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize(
    ("start", "freq", "months"),
    [("1999-11-05", "MS", 1), ("1999-01-31", "ME", 1), ("1999-03-31", "QE-DEC", 3),
     ("1999-12-31", "YE", 12), ("1999-01-01", "YS", 12)],
)  # fmt: skip
def test_months_are_added_as_xarray_adds_them(calendar, start, freq, months):
    start = start.replace("31", "30") if calendar == "360_day" else start
    found = dates(start, freq, 30, calendar)
    assert [stamps.add_months(found[0], months * n) for n in range(30)] == found.tolist()
    assert [stamps.add_months(found[-1], -months * n) for n in range(30)] == found[::-1].tolist()


@pytest.mark.parametrize("start", ["1999-12-01", "2000-02-29", "1969-12-31T18:00", "1600-03-15T12"])
def test_months_of_numpy_dates(start):
    stamp = np.datetime64(start, "ns" if start > "1678" else "us")
    ends = pd.Timestamp(str(stamp)).is_month_end
    for n in range(-40, 40):
        wanted = pd.Timestamp(str(stamp)) + pd.DateOffset(months=n)
        wanted = wanted + pd.offsets.MonthEnd(0) if ends else wanted
        assert stamps.add_months(stamp, n) == np.datetime64(str(wanted))


def test_a_day_that_a_month_lacks_becomes_its_last():
    assert stamps.add_months(np.datetime64("2001-01-30", "ns"), 1) == np.datetime64("2001-02-28")
    late = cftime.DatetimeNoLeap(2000, 8, 30, 6)
    assert stamps.add_months(late, 6) == cftime.DatetimeNoLeap(2001, 2, 28, 6)


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize(("freq", "months"), [("MS", 1), ("QS", 3), ("YS", 12)])
def test_the_step_of_calendar_months_is_known_again(calendar, freq, months):
    found = dates("1999-01-01", freq, 30, calendar)
    step, breaks = stamps.regular_step(found)
    assert not breaks.any()
    for n in (1, 7, 29):
        assert stamps.later(found[0], step, n) == found[n]
    fixed = calendar == "360_day" or (freq == "YS" and calendar in ("noleap", "all_leap"))
    if not fixed:
        assert stamps.months_of(step, found[0]) == months
    # 1e-9: a mean year of 30 of them.
    years = (found[-1] - found[0]).total_seconds() / (29 * months / 12)
    assert step / np.timedelta64(1, "s") * 12 / months == pytest.approx(years, rel=5e-3)


def test_a_mean_month_is_a_twelfth_of_the_gregorian_year():
    month = stamps.mean_month(np.datetime64("2000-01-01", "ns"))
    assert 12 * month == np.timedelta64(int(365.2425 * 86400), "s")


@pytest.mark.parametrize("hours", [6, 24, 31 * 24, 365 * 24])
def test_fixed_steps_are_no_months(hours):
    step = np.timedelta64(hours, "h").astype("timedelta64[ns]")
    start = np.datetime64("2000-01-01", "ns")
    assert stamps.months_of(step, start) == 0
    assert stamps.later(start, step, 5) == start + 5 * step


def test_float_days_are_put_on_whole_seconds():
    exact = np.datetime64("1999-12-31", "ns") + np.arange(200) * np.timedelta64(1, "h")
    rounded = exact + np.arange(200) * np.timedelta64(311, "ns") - np.timedelta64(30, "us")
    assert np.array_equal(stamps.on_seconds(rounded), exact)
    halves = exact + np.timedelta64(500, "ms")
    assert np.array_equal(stamps.on_seconds(halves), halves)
    before = np.array([cftime.DatetimeNoLeap(2000, 1, 1, 5, 59, 59, 999998)], dtype=object)
    assert stamps.on_seconds(before)[0] == cftime.DatetimeNoLeap(2000, 1, 1, 6)

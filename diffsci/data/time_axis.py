"""The time axis of a data set: decoded where the entry helps, refused where it is out of order."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool

from diffsci.data import times as stamps
from diffsci.data.catalog import Entry
from diffsci.data.problems import Report


def decoded(ds: xr.Dataset, entry: Entry, report: Report, *, dates: bool) -> xr.Dataset:
    """The data set with dates (or plain numbers), by the entry's `time:` where the file is silent.

    Raises:
        DataError: When dates are wanted and neither file nor entry says how to read the numbers.
    """
    time = ds["time"]
    if stamps.is_dates(time.values):
        if not dates:
            report.stop(
                "time",
                "its times are dates, expected numbers such as seconds",
                "read it with `domain: {use: weather}`, or write its times as numbers",
                coordinate="time",
            )
        return ds
    if not dates or entry.time is None:
        if dates:
            report.stop(
                "time-units",
                f"times are plain numbers ({stamps.name(time.values.flat[0])}, ...) without units"
                if time.dtype.kind in "fiu"
                else f"times are of type {time.dtype}",
                "write `time: {units: hours since 2000-01-01, calendar: standard}` in "
                f"{entry.yaml}",
                coordinate="time",
            )
        return ds
    told = {"units": entry.time.units, "calendar": entry.time.calendar}
    bare = xr.Dataset(coords={"time": ("time", time.values, told)})
    try:
        return ds.assign_coords(time=xr.decode_cf(bare)["time"])
    except (ValueError, OverflowError) as error:
        report.stop(
            "time-units", f"`time: {told}` does not fit: {error}", f"correct it in {entry.yaml}",
            coordinate="time",
        )  # fmt: skip


def ordered(ds: xr.Dataset, report: Report) -> xr.Dataset:
    """The data set, its times told where they are missing, twice there, or not increasing."""
    times = ds["time"].values
    if (
        times.dtype.kind == "M"
        and np.isnat(times).any()
        or times.dtype.kind == "f"
        and np.isnan(times).any()
    ):
        report.stop(
            "time-missing", "some times are missing (NaT)", "fill them in", coordinate="time"
        )
    times = stamps.canonical_stamps(times)
    if len(times) < 2:
        return ds
    position = stamps.nanoseconds(times) if stamps.is_dates(times) else times
    values, first, counts = np.unique(position, return_index=True, return_counts=True)
    if len(values) < len(position):
        twice = [stamps.name(times[i]) for i in first[counts > 1]]
        report.add(
            "time-duplicate",
            f"{len(twice)} stamps are there more than once: {_some(twice)}",
            "keep one of each, such as `ds.drop_duplicates('time')`",
            coordinate="time",
        )
    back = np.flatnonzero(np.diff(position) < 0)
    if len(back):
        pairs = [f"{stamps.name(times[i + 1])} after {stamps.name(times[i])}" for i in back]
        report.add(
            "time-unsorted",
            f"times go back {len(back)} times: {_some(pairs)}",
            "sort them, such as `ds.sortby('time')`",
            coordinate="time",
        )
    return ds


def tell_gaps(times: np.ndarray, breaks: Bool[np.ndarray, " time"], report: Report) -> None:
    """Warn of missing or irregular steps: no window crosses them."""
    gaps = np.flatnonzero(breaks)
    if len(gaps):
        pairs = [f"{stamps.name(times[i - 1])} to {stamps.name(times[i])}" for i in gaps]
        report.add(
            "gap",
            f"{len(gaps)} steps are not the regular one: {_some(pairs)}",
            "nothing to do if they are meant: no window crosses them",
            coordinate="time",
        )


def _some(words: list[str]) -> str:
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")

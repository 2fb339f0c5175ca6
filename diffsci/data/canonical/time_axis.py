"""The time axis of a data set: decoded where the entry helps, refused where it is out of order.

A file counts time since a date. Its own words are taken where they can be read; the entry's `time:`
is for files that say nothing, or what nobody can read, and must not contradict them. Months and
years since a date are counted in the calendar: they have no fixed length.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Bool

from diffsci.data.canonical import axes, digits, vectors
from diffsci.data.canonical import times as stamps
from diffsci.data.canonical.names import NAMES
from diffsci.data.catalog import Entry, TimeAxis
from diffsci.data.checks.problems import Report
from diffsci.errors import DataError

_SINCE = re.compile(r"(\w+?)s?\s+since\s+(.+)", re.IGNORECASE)
_YEAR_0 = re.compile(r"0+-")
_TEXT = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?)?)?")
_MONTHS = {"month": 1, "mon": 1, "year": 12, "yr": 12}


class _UndatedError(ValueError):
    """Times that cannot be read, with what to do.

    Args:
        reason: Why.
        fix: What to do; `ENTRY` stands for the catalog entry.
    """

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


def dated(ds: xr.Dataset, entry: Entry, path: Path) -> xr.Dataset:
    """Every variable that counts time since a date, as dates; the time axis also by the entry.

    Args:
        ds: As opened, its times not decoded.
        entry: Its `time:` is for the time axis.
        path: For messages.

    Raises:
        DataError: When the time axis cannot be understood, or entry and file contradict each other.
    """
    axis = _axis(ds, entry)
    for key, variable in list(ds.variables.items()):
        units, name = variable.attrs.get("units"), str(key)
        told = entry.time if name == axis else None
        if variable.dtype.kind in "SUO" and variable.ndim == 1 and name.lower() in NAMES["time"]:
            read = _from_texts(np.asarray(variable.values))
            if read is not None:
                ds = ds.drop_vars(name).assign_coords({name: (variable.dims, read)})
        if variable.dtype.kind not in "fiu" or (told and not _says_dates(told.units)):
            continue
        try:
            if told:
                made = _by_entry(variable, told, entry, path, name)
            elif isinstance(units, str) and _says_dates(units):
                made = _decode(variable, units, variable.attrs.get("calendar"))
            else:
                continue
        except (ValueError, OverflowError, KeyError) as error:
            if isinstance(error, DataError):
                raise
            if name != axis:
                continue  # No axis: it stays a number, and is told where it is asked for.
            said = f"`time: {told.units}`, {told.calendar}" if told else repr(units)
            fix = "correct the times' units and calendar, or say them by `time:` in ENTRY"
            fix = error.fix if isinstance(error, _UndatedError) else fix
            raise DataError(
                f"{path}: {name}: {said} cannot be understood ({error}); "
                f"{fix.replace('ENTRY', entry.yaml)}"
            ) from error
        ds = ds.assign_coords({name: made}) if name in ds.coords else ds.assign({name: made})
    return ds


def _says_dates(units: str) -> bool:
    return "since" in units or bool(digits.kind(units))


def _axis(ds: xr.Dataset, entry: Entry) -> str | None:
    """The file's own name of its time axis."""
    new = {old: name for old, name in entry.rename.items() if old in ds.variables or old in ds.dims}
    try:
        quiet = Report(entry.location, [])
        named = axes.promoted(vectors.flattened(axes.under(ds, new), quiet))
        found = axes.find(named, "time", quiet)
    except ValueError:  # Told again, and by name, when the domain looks for its axes.
        return None
    return {name: old for old, name in new.items()}.get(str(found), found)


def _by_entry(
    variable: xr.Variable, told: TimeAxis, entry: Entry, path: Path, name: str
) -> xr.Variable:
    """The stamps as the entry counts them, which must be those of the file where it has any."""
    made = _decode(variable, told.units, told.calendar)
    units, calendar = variable.attrs.get("units"), variable.attrs.get("calendar")
    if not isinstance(units, str) or "since" not in units or not made.size:
        return made
    try:
        own = _decode(variable, units, calendar or told.calendar)
    except (ValueError, OverflowError, KeyError):
        return made
    first, other = made.values.flat[0], own.values.flat[0]
    same = stamps.calendar(first) == stamps.calendar(other) and np.array_equal(
        made.values, own.values
    )
    if not same:
        raise DataError(
            f"{path}: {name}: the file says {units!r}{f', {calendar}' if calendar else ''} "
            f"({stamps.name(other)}, ...), `time:` says {told.units!r}, {told.calendar} "
            f"({stamps.name(first)}, ...); take `time:` out of {entry.yaml}, or correct it"
        )
    return made


def _decode(variable: xr.Variable, units: str, calendar: str | None) -> xr.Variable:
    """Numbers as dates.

    Raises:
        ValueError: When units or calendar are not understood.
    """
    found = _SINCE.fullmatch(units.strip())
    numbers, what = np.asarray(variable.values), digits.kind(units)
    kept = {k: v for k, v in variable.attrs.items() if k not in ("units", "calendar")}
    if what:
        return xr.Variable(variable.dims, digits.dates(numbers, what, calendar), kept)
    if found is None:
        raise ValueError(f"{units!r} is not of the form `hours since 2000-01-01`")
    months = _MONTHS.get(found[1].lower(), 0) * np.array_equal(numbers, np.round(numbers))
    try:
        if months:
            made = _whole_months(months * numbers, found[2], calendar)
        else:  # A part of a month is one only in a calendar whose months are all alike.
            made = _read(numbers, units, calendar)
    except (ValueError, OverflowError, KeyError) as error:
        raise _reason(found[1], found[2], calendar or "standard") or error from error
    made = stamps.on_seconds(made) if numbers.dtype.kind == "f" and not months else made
    return xr.Variable(variable.dims, made, kept)


def _whole_months(numbers: np.ndarray, since: str, calendar: str | None) -> np.ndarray:
    start = _read(np.zeros(1), f"days since {since}", calendar)
    flat = [stamps.add_months(start[0], int(n)) for n in numbers.flat]
    return np.array(flat, dtype=start.dtype).reshape(numbers.shape)


def _reason(unit: str, since: str, calendar: str) -> _UndatedError | None:
    """What is wrong with times that are often met; none for others."""
    if _YEAR_0.match(since):
        said = f"{unit}s since 0001-{_YEAR_0.sub('', since, count=1)}"
        return _UndatedError(
            f"the calendar {calendar} has no year 0",
            f"write `time: {{units: '{said}', calendar: {calendar}}}`, say, in ENTRY",
        )
    if unit.lower() in _MONTHS:
        return _UndatedError(
            "months and years have no fixed length, not all numbers are whole, and programs differ "
            "in what a part of one is",
            "count them in days, such as by `cdo settunits,days IN OUT`",
        )
    return None


def _from_texts(values: np.ndarray) -> np.ndarray | None:
    """Dates of texts such as `2005-08-28_06:00:00`; none where one of them is no date."""
    texts = [v.decode("ascii", "replace") if isinstance(v, bytes) else str(v) for v in values]
    plain = [text.strip().removesuffix("Z").replace("_", "T") for text in texts]
    if not plain or not all(_TEXT.fullmatch(text) for text in plain):
        return None
    try:
        return np.array(plain, "datetime64[ns]")
    except ValueError:
        return None


def _read(numbers: np.ndarray, units: str, calendar: str | None) -> np.ndarray:
    attributes = {"units": units} | ({"calendar": calendar} if calendar else {})
    dims = [f"dim_{i}" for i in range(numbers.ndim)]
    bare = xr.Dataset({"stamp": (dims, numbers, attributes)})
    with warnings.catch_warnings():
        # Dates before 1582 in the standard calendar become cftime objects, as they should.
        warnings.filterwarnings("ignore", message="Unable to decode time axis")
        return np.asarray(xr.decode_cf(bare, decode_timedelta=False)["stamp"].values)


def decoded(ds: xr.Dataset, entry: Entry, report: Report, *, dates: bool) -> xr.Dataset:
    """The data set, known to have dates (or plain numbers; time differences become seconds).

    Raises:
        DataError: When it has the other.
    """
    time = ds["time"]
    if stamps.is_dates(time.values):
        if not dates:
            report.stop(
                "time",
                "its times are dates, expected numbers such as seconds",
                f"write `time: {{units: UNIT}}` in {entry.yaml}, with the unit in which the file "
                "counts them, or read it with `domain: {use: weather}`",
                coordinate="time",
            )
        return ds
    if dates:
        report.stop(
            "time-units",
            _undated(time),
            f"write `time: {{units: {_likely(time)}, calendar: standard}}` in {entry.yaml}"
            if time.dtype.kind in "fiu"
            else "write them as 2000-01-31T06:00:00, or as numbers with units, in the file",
            coordinate="time",
        )
    if time.dtype.kind == "m":
        seconds = stamps.canonical_stamps(time.values)
        return ds.assign_coords(time=("time", seconds, {**time.attrs, "units": "s"}))
    return ds


def _likely(time: xr.DataArray) -> str:
    """Units that numbers without any may have: digits such as 20000131 are told as such."""
    try:
        likely = bool((digits.dates(time.values, "day") > np.datetime64("1700")).all())
    except (ValueError, OverflowError):
        likely = False
    return f"{digits.DAYS}.%f" if likely else "hours since 2000-01-01"


def _undated(time: xr.DataArray) -> str:
    """What times are that are no dates."""
    if time.dtype.kind not in "fiu":
        return f"times are no dates, but of type {time.dtype} ({time.values.flat[0]!r}, ...)"
    units = f"in {time.attrs['units']!r}" if "units" in time.attrs else "without units"
    return f"times are plain numbers ({stamps.name(time.values.flat[0])}, ...) {units}"


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

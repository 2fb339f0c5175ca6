"""Initial conditions from a user's file: the frames of each start, held to the model's by name.

A start is found by its time, and the frames before it by the model's own step, so that a file with
more times, or with gaps elsewhere, serves as it is. Case and key are those that the same frames of
the catalog would have: the members are the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from diffsci.data import reader
from diffsci.data.canonical import axes
from diffsci.data.canonical import times as stamps
from diffsci.data.catalog import Entry
from diffsci.data.fields import Fields
from diffsci.errors import DataError
from diffsci.forecasting.given import Given, together
from diffsci.forecasting.requests.conditions import given_for, given_of
from diffsci.forecasting.requests.matching import canonical_of, fields_of
from diffsci.forecasting.requests.plainly import plainly
from diffsci.forecasting.requests.plausible import WITHIN
from diffsci.forecasting.surrogate import Surrogate

_ISO = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.0+)?)?)?)?)?)?"
    r"(?:Z|[+]00:?00)?"
)

_SHOWN = 4
"""Spans of missing frames that a message lists."""


def given_from(
    model: Surrogate,
    entry: Entry,
    starts: Sequence[str],
    leads: int,
    known: Entry | None = None,
    within: float = WITHIN,
) -> Given:
    """What a file gives the model.

    Args:
        model: What it is for.
        entry: The file, as the catalog or a bare path has it.
        starts: Times of the last given frames; empty takes the latest possible one of a forecast,
            and every time of other tasks.
        leads: Forecast steps.
        known: Entry of the training data, whose renaming holds for the names that the file has.
        within: Standard deviations that the mean of a field may lie from that of training.

    Raises:
        DataError: Naming what is missing or does not fit: names, units, grid, levels, frames.
    """
    raw = reader.open_raw(entry)
    try:
        with plainly(entry, raw):
            raw = _renamed(raw, entry, known)
            entry = replace(entry, rename={})
            if model.pipeline.data.task.condition_channels(len(model.channels)) == 0:
                return _of_scalars(model, raw, entry, starts)
            canonical = canonical_of(model, raw, entry)
            if not model.pipeline.data.task.has_leads:
                return given_of(model, _at(model, canonical, starts, entry), leads, within)
            places = _places(model, canonical, starts, entry, leads)
            parts = [fields_of(model, canonical.isel(time=place), entry) for place in places]
            return together([given_of(model, part, leads, within) for part in parts])
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{entry.location}: cannot be read to the end ({type(error).__name__}: {error}); "
            "fetch it again"
        ) from error
    finally:
        raw.close()


def _renamed(raw: xr.Dataset, entry: Entry, known: Entry | None) -> xr.Dataset:
    """Under the model's names: by the file's own entry, else by that of the training data."""
    wanted = dict(entry.rename)
    if known is not None and not wanted:
        have = {str(name) for name in (*raw.variables, *raw.dims)}
        there = known.rename.items()
        wanted = {old: new for old, new in there if old in have and new not in have}
    made = axes.under(raw, wanted)
    made.set_close(raw.close)
    return made


def _of_scalars(model: Surrogate, raw: xr.Dataset, entry: Entry, starts: Sequence[str]) -> Given:
    """Samples for the classes or parameters of a file; its samples' labels key the noise."""
    if starts:
        raise DataError("--start: this model generates samples, which have no start; leave it out")
    if not model.scalar_names:
        raise DataError(
            f"{entry.location}: this model is given nothing, so no file can say anything to it; "
            "leave --from out"
        )
    try:
        given = given_for(model, raw.drop_dims([d for d in raw.dims if d != "sample"]).load(), 1)
    except DataError as error:
        raise DataError(str(error).replace("condition: ", f"{entry.location}: ", 1)) from None
    if "sample" in raw.coords and raw["sample"].size == len(given.cases):
        labels = raw["sample"].values
        keys = tuple(f"sample={label}" for label in labels)
        cases = replace(given.cases, keys=keys, trajectories=labels)
        given = replace(given, cases=cases)
    return given


def _at(model: Surrogate, canonical: xr.Dataset, starts: Sequence[str], entry: Entry) -> Fields:
    """The fields at some times, or at all."""
    if starts:
        times = _times(canonical)
        canonical = canonical.isel(time=[_found(text, times, entry) for text in starts])
    return fields_of(model, canonical, entry)


def _times(canonical: xr.Dataset) -> np.ndarray:
    return stamps.canonical_stamps(canonical["time"].values)


def _places(
    model: Surrogate, canonical: xr.Dataset, starts: Sequence[str], entry: Entry, leads: int
) -> list[list[int]]:
    """Where the frames of each start lie along the file's times, and those that edges are taken of.

    Raises:
        DataError: For a start that is not there, or a frame of it that is missing.
    """
    times, task = _times(canonical), model.pipeline.data.task
    frames = (task.given_frames, leads * task.step if task.boundary else 0)
    if starts:
        chosen = [_found(text, times, entry) for text in starts]
        if len(set(chosen)) < len(chosen):
            raise DataError(f"--start: {', '.join(starts)}: one start is there twice")
        return [_history(model, times, last, frames, entry) for last in sorted(chosen)]
    for last in range(len(times) - 1, -1, -1):
        found = [_place(times, stamp, model) for stamp in _needed(model, times[last], frames)]
        if None not in found:
            return [[place for place in found if place is not None]]
    return [_history(model, times, len(times) - 1, frames, entry)]


def _needed(model: Surrogate, last: object, frames: tuple[int, int]) -> list[object]:
    """Times of the frames up to a start, and of so many after it, oldest first."""
    before, after = frames
    if frames == (1, 0) or model.step is None:
        return [last]
    back = range(before - 1, -1 - after, -1)
    if model.time_unit:
        return [float(last) - model.step * count for count in back]  # type: ignore[arg-type]
    step = np.timedelta64(int(model.step), "ns")
    return [stamps.later(last, step, -count) for count in back]


def _place(times: np.ndarray, wanted: object, model: Surrogate) -> int | None:
    """The number of the frame at a time; of monthly data, that of the month."""
    step = model.step or 0.0
    if model.time_unit or not stamps.is_dates(times):
        near = np.flatnonzero(np.abs(times - wanted) <= 1e-3 * step)
    elif stamps.months_of(np.timedelta64(int(step), "ns"), wanted):
        names = [stamps.name(stamp)[:7] for stamp in times]
        near = np.flatnonzero(np.array(names) == stamps.name(wanted)[:7])
    else:
        near = np.flatnonzero(times == wanted)
    return int(near[0]) if len(near) else None


def _history(
    model: Surrogate, times: np.ndarray, last: int, frames: tuple[int, int], entry: Entry
) -> list[int]:
    needed = _needed(model, times[last], frames)
    found = [_place(times, stamp, model) for stamp in needed]
    if None in found:
        lacking = sum(place is None for place in found)
        raise DataError(
            f"{entry.location}: a forecast from {stamps.name(times[last])} needs "
            f"{frames[0]} frames up to it{_after(frames[1])}, {_step(model)} apart, and "
            f"{_spans(needed, found)} {'is' if lacking == 1 else 'are'} missing"
            f"{f', {lacking} in all' if lacking > 1 else ''}; "
            f"{_range(times)}: add the frames, or take another --start"
        )
    return [place for place in found if place is not None]


def _spans(needed: list[object], found: list[int | None]) -> str:
    """The frames that are not there, those in a row as a span."""
    rows: list[list[object]] = [[]]
    for stamp, place in zip(needed, found, strict=True):
        if place is None:
            rows[-1].append(stamp)
        elif rows[-1]:
            rows.append([])
    ends = [(row[0], row[-1]) for row in rows if row]
    spans = [
        stamps.name(first) if first is last else f"{stamps.name(first)} to {stamps.name(last)}"
        for first, last in ends
    ]
    shown = spans[:_SHOWN]
    return ", ".join(shown) + (f" and {len(spans) - _SHOWN} more spans" if spans[_SHOWN:] else "")


def _after(frames: int) -> str:
    return f" and the edges of {frames} after it (task.boundary)" if frames else ""


def _step(model: Surrogate) -> str:
    step = model.step or 0.0
    return f"{step:g} {model.time_unit}" if model.time_unit else f"{step / 3.6e12:g} h"


def _range(times: np.ndarray) -> str:
    return f"the file has {len(times)} times from {stamps.name(times[0])} to " + stamps.name(
        times[-1]
    )


def _found(text: str, times: np.ndarray, entry: Entry) -> int:
    """The number of the frame that a user's text names.

    Raises:
        DataError: When it is not understood, or no frame is there.
    """
    dated = stamps.is_dates(times)
    wanted = _iso(text) if dated else _number(text)
    if wanted is None:
        form = "a date such as 2026-01-01T00" if dated else "a number, as the file's times are"
        raise DataError(f"--start {text}: expected {form}; {_range(times)}")
    if isinstance(wanted, str):
        near = [place for place, stamp in enumerate(times) if stamps.name(stamp) == wanted]
    else:
        gap = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        near = np.flatnonzero(np.abs(times - wanted) <= 1e-3 * gap).tolist()
    if not near:
        place = int(np.searchsorted([stamps.name(t) for t in times] if dated else times, wanted))
        beside = " and ".join(stamps.name(t) for t in times[max(place - 1, 0) : place + 1])
        raise DataError(
            f"--start {text}: {entry.location} has no such time; {_range(times)}, nearest {beside}"
        )
    return int(near[0])


def _iso(text: str) -> str | None:
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = (part or "" for part in match.groups())
    if int(month or 1) not in range(1, 13) or int(day or 1) not in range(1, 32):
        return None
    date = f"{year}-{month or '01'}-{day or '01'}"
    return f"{date}T{hour or '00'}:{minute or '00'}:{second or '00'}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

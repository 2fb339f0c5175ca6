"""Accumulations: sums over a declared interval, and sums since the start of a run, differenced.

A running sum (`accumulated: running`) becomes the sum over each step of the data: the change since
the time before, or, where the sum has begun anew, all of it. It begins anew at declared hours
(`resets: 24h`), else where any cell falls by more than rounding makes it fall. What falls by less
is noise of packing: the step counts as 0 there, and the noise is told. The first time, and each
time after a gap, has no time before it, and is left out, for all variables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data import lazy
from diffsci.data.canonical import times as stamps
from diffsci.data.canonical.intervals import RUNNING, in_words, seconds
from diffsci.data.checks.problems import Report
from diffsci.data.entry import Entry

log = logging.getLogger(__name__)

_NOISE = 0.01
"""A fall by less, as a share of the largest sum there is, is noise; packing has 16 bits or more."""


def resolved(ds: xr.Dataset, names: list[str], entry: Entry, report: Report) -> xr.Dataset:
    """With sums over steps in place of running sums, computed where they are read.

    Args:
        ds: With ascending times.
        names: Its fields.
        entry: Says what is accumulated.
        report: Where faults are told.

    Raises:
        DataError: For a running sum without two times at the regular step.
    """
    told = {name: entry.variables[name].accumulated for name in names if name in entry.variables}
    for name, word in told.items():
        if word is not None and word != RUNNING:
            ds[name].attrs["cell_methods"] = _sum_over(seconds(word) or 0)
    running = [name for name, word in told.items() if word == RUNNING]
    if not running:
        return ds
    times = stamps.canonical_stamps(ds["time"].values)
    step, breaks = stamps.regular_step(times)
    kept = np.flatnonzero(~breaks[1:]) + 1
    if not len(kept) or not isinstance(step, np.timedelta64):
        report.stop(
            "accumulation",
            f"a running sum needs two times at a regular step, and there are {len(times)} times",
            f"give the file more times, or take `accumulated:` out of {entry.yaml}",
            variable=running[0],
        )
    lost = len(times) - 1 - len(kept)
    more = f", and {lost} after gaps," if lost else ""
    log.info("data: %s: the first time%s is left out: sums begin there", entry.location, more)
    made = {}
    for name in running:
        resets = entry.variables[name].resets
        anew = None if resets is None else _clock(times) % (seconds(resets) or 1) == 0
        made[name] = _differences(ds[name], name, kept, anew, times, report)
        made[name].attrs["cell_methods"] = _sum_over(int(step / np.timedelta64(1, "s")))
    ds = ds.isel(time=slice(1, None) if not lost else kept)
    return ds.assign({name: (v.dims, v, v.attrs) for name, v in made.items()})


def _sum_over(length: int) -> str:
    return f"time: sum (interval: {in_words(length)})"


def _clock(times: np.ndarray) -> np.ndarray:
    """Whole seconds since midnight UTC."""
    if times.dtype.kind == "M":
        since = times - times.astype("datetime64[D]")
        return np.asarray(since / np.timedelta64(1, "s"), dtype=np.int64)
    return np.array([3600 * t.hour + 60 * t.minute + t.second for t in times.tolist()])


def _differences(
    running: xr.DataArray,
    name: str,
    kept: np.ndarray,
    anew: np.ndarray | None,
    times: np.ndarray,
    report: Report,
) -> xr.Variable:
    """The sum over each step that is kept.

    Args:
        running: The running sum.
        name: Of the variable.
        kept: Numbers of the times.
        anew: Whether the sum begins anew after each time; none finds it out.
        times: All of them.
        report: Where noise is told, once.
    """
    source, axis = running.variable, running.dims.index("time")
    shape = tuple(len(kept) if n == axis else size for n, size in enumerate(source.shape))
    kind = np.result_type(source.dtype, np.float32)
    tell = _teller(name, times, report)

    def read(key: lazy.Key) -> np.ndarray:
        along = key[axis]
        chosen = kept[along] if isinstance(along, slice) else kept[along : along + 1]
        made = np.empty([len(chosen) if n == axis else s for n, s in enumerate(shape)], dtype=kind)
        places = np.moveaxis(made, axis, 0)
        # Runs of consecutive times are read at once.
        for run in np.split(np.arange(len(chosen)), np.flatnonzero(np.diff(chosen) != 1) + 1):
            if not len(run):
                continue
            whole: list[Any] = [slice(None)] * source.ndim
            whole[axis] = slice(int(chosen[run[0]]) - 1, int(chosen[run[-1]]) + 1)
            sums = np.moveaxis(np.asarray(source[tuple(whole)].values, dtype=kind), axis, 0)
            for row, place in enumerate(run):
                number = int(chosen[place])
                started = None if anew is None else bool(anew[number - 1])
                places[place] = _step(sums[row], sums[row + 1], started, number, tell)
        inner = tuple(
            (k if n != axis else slice(None) if isinstance(k, slice) else 0)
            for n, k in enumerate(key)
        )
        return made[inner]

    return lazy.variable(
        tuple(str(dim) for dim in source.dims), shape, kind, read, dict(running.attrs)
    )


def _step(
    before: np.ndarray,
    now: np.ndarray,
    started: bool | None,
    number: int,
    tell: Callable[[str, int, float], None],
) -> np.ndarray:
    """The sum over one step."""
    change = now - before
    fall = float(-np.nanmin(change)) if np.isfinite(change).any() else 0.0
    small = fall <= _NOISE * float(np.nanmax(np.abs(before))) if fall > 0 else True
    if started or (started is None and not small):
        change, fall = now, float(-np.nanmin(now)) if np.isfinite(now).any() else 0.0
    elif started is False and not small:
        tell("accumulation", number, fall)
    elif fall > 0:
        tell("noise", number, fall)
    return np.where(change < 0, 0, change)


def _teller(name: str, times: np.ndarray, report: Report) -> Callable[[str, int, float], None]:
    """Tells each kind of fault once, by its first time."""
    known: set[str] = set()

    def tell(code: str, number: int, fall: float) -> None:
        if code in known:
            return
        known.add(code)
        where = f"time={stamps.name(times[number])}"
        if code == "noise":
            report.add(
                code,
                f"the running sum falls by up to {fall:.2g} there, by less than "
                f"{_NOISE:.0%} of what it has come to: noise of packing",
                "nothing to do: such steps count as 0",
                variable=name,
                coordinate=where,
            )
        else:
            report.add(
                code,
                f"the running sum falls by {fall:.2g} there, where `resets:` says it does not "
                "begin anew",
                "correct `resets:`, or leave it out, so that it is found out",
                variable=name,
                coordinate=where,
            )

    return tell

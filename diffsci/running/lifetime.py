"""When a run last showed that it was alive, for the seconds of stages that nobody could end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffsci.running import journal

_WITHIN = 5.0
"""Seconds between a line and the time of its file; some disks count two, a busy machine more."""


def last_sign(path: Path) -> float | None:
    """When a stage of the run told or saved something last, in seconds since 1970."""
    lines = journal.read(path / journal.NAME)
    times = [lines[-1].time / 1000] if lines else []
    if times and not _own_times(path / journal.NAME, times[0]):
        return times[0]
    # Not the folder of checkpoints itself: clearing it of debris would look like life.
    for place in (path / ".forecast.zarr.work", *(path / "checkpoints").glob("step-*")):
        with suppress(OSError):  # pruned meanwhile
            times.append(place.stat().st_mtime)
    return max(times, default=None)


def last_told(path: Path, record: Mapping[str, Any]) -> float | None:
    """When the run told, saved or recorded something last; none where nothing says it.

    By what is written in its files, as the times of the files may be those of a copy.

    Args:
        path: Its folder.
        record: Its `run.json`; empty where that is lost.
    """
    times = [record.get("told")]
    if (path / journal.NAME).exists():  # by which it is known whether the others' times are its own
        times.append(last_sign(path))
    for stage in record.get("stages", {}).values():
        if "begun" in stage:
            times.append(stage["begun"] + stage.get("seconds_of_call", 0.0))
    return max((float(each) for each in times if each is not None), default=None)


def of_call(stage: Mapping[str, Any], until: float | None) -> float:
    """Seconds from where a call began with a stage until then."""
    begun = stage.get("begun")
    return 0.0 if begun is None or until is None else max(0.0, until - begun)


def _own_times(file: Path, last: float) -> bool:
    """Whether files have the times of this run, and not those of a copy of its folder.

    Each line of the journal is written when it is made. One that training will tell again was cut
    off since: its time is then that of the cut, and the lines alone tell.
    """
    return abs(file.stat().st_mtime - last) < _WITHIN

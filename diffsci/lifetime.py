"""When a run last showed that it was alive, for the seconds of stages that nobody could end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffsci import journal


def last_sign(path: Path) -> float | None:
    """When a stage of the run told or saved something last, in seconds since 1970."""
    lines = journal.read(path / journal.NAME)
    times = [lines[-1].time / 1000] if lines else []
    # Not the folder of checkpoints itself: clearing it of debris would look like life.
    for place in (path / ".forecast.zarr.work", *(path / "checkpoints").glob("step-*")):
        with suppress(OSError):  # pruned meanwhile
            times.append(place.stat().st_mtime)
    return max(times, default=None)


def of_call(stage: Mapping[str, Any], until: float | None) -> float:
    """Seconds from where a call began with a stage until then."""
    begun = stage.get("begun")
    return 0.0 if begun is None or until is None else max(0.0, until - begun)

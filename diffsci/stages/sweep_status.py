"""What a sweep's folder says of its points, while it goes on or after it ended; only reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffsci.running.locking import Holder, holder
from diffsci.stages.status import Status, status_of

RECORD, PAGE, TABLE = "sweep.json", "compare.html", "sweep.csv"
"""Files of a sweep's folder."""

_ORDER = ("running", "damaged", "failed", "killed", "stopped")
"""What one point is, all of them are; the first of these that there is."""


def is_sweep(folder: Path) -> bool:
    """Whether it is the folder of a sweep, and not of a run."""
    return (folder / RECORD).exists() and not (folder / "run.json").exists()


def status_of_sweep(folder: Path) -> Status:
    """Read a sweep's folder; a faulty one is told, never raised."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        told = {name: dict(entry) for name, entry in record.get("points", {}).items()}
        name = str(record.get("name", ""))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        todo = f"remove {folder / RECORD} and give the sweep's command again: points that are done "
        return Status(
            folder=str(folder),
            damaged=(f"{folder / RECORD}: cannot be read ({error})",),
            todo=f"{todo}are found",
        )
    runs = {point: _run(folder / point) for point in told}
    points = {point: _point(entry, runs[point], folder / point) for point, entry in told.items()}
    found = [entry["status"] for entry in points.values()]
    held = holder(folder)
    state = next((each for each in _ORDER if each in found), "stopped")
    if held is not None and held.alive:
        state = "running"  # also while the next point has not written anything yet
    elif all(each in ("waiting", "new") for each in found):
        state = "new" if held is None else _of_dead(held)
    elif all(each == "done" for each in found):
        state = "done"
    elif held is not None and state == "stopped":
        state = _of_dead(held)
    return Status(
        folder=str(folder),
        name=name,
        status=state,
        points=points,
        holder=held,
        last=max((run.last for run in runs.values() if run and run.last), default=None),
        todo=_todo(state, folder, points, written=held is not None and held.alive),
    )


def _of_dead(held: Holder) -> str:
    """What a sweep is whose process left its lock as it was."""
    return "stopped" if held.ended else "killed"


def _run(folder: Path) -> Status | None:
    return status_of(folder) if (folder / "run.json").exists() else None


def _point(entry: dict[str, Any], run: Status | None, folder: Path) -> dict[str, Any]:
    """One point: what its own folder says, which is later than what the sweep wrote down."""
    overrides = [str(text) for text in entry.get("overrides", ())]
    status = str(entry.get("status", "waiting")) if run is None else run.status
    if run is None and (held := holder(folder)) is not None and held.alive:
        status = "running"  # it has not written its record yet
    found: dict[str, Any] = {"status": status, "overrides": overrides}
    if run is not None:
        found |= {"step": run.step, "steps": run.steps, "cause": run.cause}
    return found


def _todo(state: str, folder: Path, points: dict[str, dict[str, Any]], *, written: bool) -> str:
    if written:
        return "nothing; it is being written"
    if state == "done":
        place = next((folder / name for name in (PAGE, TABLE) if (folder / name).exists()), None)
        return f"read {place}" if place else "nothing; it is done"
    again = f"`diffsci run PIPELINE --out {folder}`, with the sweep's file, goes on"
    if state == "running":
        names = [name for name, point in points.items() if point["status"] == "running"]
        return f"only {', '.join(names)} is being written, and not the sweep: {again}"
    bad = [name for name, point in points.items() if point["status"] in ("failed", "damaged")]
    if not bad:
        return again
    return f"see `diffsci status {folder / bad[0]}`, mend what failed, then {again}"

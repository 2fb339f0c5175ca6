"""What a run folder says of its run, while it goes on, after it ended, or damaged; only reads."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffsci import journal
from diffsci.errors import DiffsciError
from diffsci.locking import Holder, holder
from diffsci.run_folder import STAGES, RunFolder
from diffsci.training.damage import NUMBERS, damage_of


@dataclass(frozen=True, kw_only=True)
class Status:
    """A run as its folder shows it.

    Args:
        folder: The run folder.
        name: Of the run.
        status: `new`, `running`, `killed`, `stopped`, `failed`, `done`, or `damaged`.
        stages: Status and seconds of each stage of the pipeline.
        step: Steps that were told of or saved; none before the first.
        steps: All steps.
        loss: The last one told.
        validation: The last one told.
        checkpoint: Name of the newest checkpoint that is whole.
        damaged: What is wrong with others, or with the record.
        holder: Who holds the lock, or was killed while holding it.
        last: When the run told something last, in seconds since 1970.
        todo: What to do next.
    """

    folder: str
    name: str = ""
    status: str = "damaged"
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    validation: float | None = None
    checkpoint: str | None = None
    damaged: tuple[str, ...] = ()
    holder: Holder | None = None
    last: float | None = None
    todo: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def lines(self, now: float | None = None) -> list[str]:
        """For people."""
        told = [f"{self.folder}: {self.status}"]
        for name, stage in self.stages.items():
            told.append(f"  {name:<9} {stage['status']}, {stage['seconds']:.0f} s")
        if self.step is not None:
            parts = [f"step {self.step} of {self.steps}"]
            parts += [] if self.loss is None else [f"loss {self.loss:.4f}"]
            parts += [] if self.validation is None else [f"validation {self.validation:.4f}"]
            told.append(f"  training  {', '.join(parts)}")
        if self.checkpoint is not None:
            told.append(f"  saved     {self.checkpoint}")
        told += [f"  damaged   {text}" for text in self.damaged]
        if self.holder is not None:
            state = "holds the lock" if self.holder.alive else "has ended without a word"
            told.append(f"  writer    {self.holder} {state}")
        if self.last is not None:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.last))
            ago = max(0.0, (time.time() if now is None else now) - self.last)
            told.append(f"  last told {stamp}, {ago:.0f} s ago")
        return [*told, f"  next      {self.todo}"]


def status_of(path: Path) -> Status:
    """Read one run folder; a faulty one is told, never raised."""
    held = holder(path)
    newest, damaged = _newest(path / "checkpoints")
    lines = journal.read(path / journal.NAME)
    found: dict[str, Any] = {
        "folder": str(path),
        "checkpoint": None if newest is None else newest.name,
        "holder": held,
        "last": _last(path, lines),
    }
    found |= _training(newest, lines)
    try:
        record = RunFolder.read(path).record
    except DiffsciError as error:
        todo = (
            "wait" if held and held.alive else "restore run.json from a copy, or use another --out"
        )
        return Status(**found, damaged=(*damaged, str(error)), todo=todo)
    plain = record.get("config", {})
    wanted = [name for name in STAGES if plain.get(name) is not None]
    none = {"status": "not begun", "seconds": 0.0}
    known = {name: record["stages"].get(name, none) for name in wanted}
    state = str(record.get("status", "new"))
    if state == "running" and not (held and held.alive):
        state = "killed"
    return Status(
        **found,
        name=str(record.get("name", "")),
        status=state,
        stages={
            name: {"status": each.get("status"), "seconds": each.get("seconds", 0.0)}
            for name, each in known.items()
        },
        steps=(plain.get("train") or {}).get("steps"),
        damaged=damaged,
        todo=_todo(state, path, held),
    )


def _newest(folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The newest whole checkpoint, and what is wrong with those after it."""
    damaged: list[str] = []
    try:
        places = sorted(folder.glob("step-*"), reverse=True)
    except OSError as error:
        return None, (f"{folder}: {error.strerror}",)
    for place in places:
        damage = damage_of(place)
        if damage is None:
            return place, tuple(damaged)
        if place.exists():  # else it was pruned while it was read
            damaged.append(f"{place.name}: {damage}")
    return None, tuple(damaged)


def _training(newest: Path | None, lines: list[journal.Line]) -> dict[str, Any]:
    """Step, loss and validation: of the journal, or of the checkpoint where that is later."""
    found: dict[str, Any] = {}
    saved = _numbers(newest)
    if saved:
        found["step"] = saved.get("step")
        for name, rows in (("loss", "losses"), ("validation", "validations")):
            if saved.get(rows):
                found[name] = saved[rows][-1][1]
    for line in lines:
        later = line.of_training and line.step >= (found.get("step") or 0)
        found |= {"step": line.step} if later else {}
        for name, key in (("loss", "train/loss"), ("validation", "val/loss")):
            found |= {name: line.values[key]} if later and key in line.values else {}
    return found


def _numbers(place: Path | None) -> dict[str, Any]:
    if place is None:
        return {}
    try:
        told = json.loads((place / NUMBERS).read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _last(path: Path, lines: list[journal.Line]) -> float | None:
    """When something was told or saved last."""
    times = [lines[-1].time / 1000] if lines else []
    for file in (path / "run.json", path / "checkpoints", path / ".forecast.zarr.work"):
        try:
            times.append(file.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)


def _todo(state: str, path: Path, held: Holder | None) -> str:
    if held is not None and held.alive:
        return "nothing; it is being written"
    if state == "done":
        report = path / "report.html"
        return f"read {report}" if report.exists() else "nothing; it is done"
    again = f"`diffsci run {path / 'config.yaml'} --out {path}` goes on"
    return f"mend what failed, then {again}" if state == "failed" else again

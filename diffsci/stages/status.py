"""What a run folder says of its run, while it goes on, after it ended, or damaged; only reads."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffsci.errors import DiffsciError
from diffsci.forecasting.model_sums import broken as broken_model
from diffsci.points import told as told_of
from diffsci.running import journal
from diffsci.running.folder import PRODUCTS, STAGES, RunFolder
from diffsci.running.lifetime import last_sign, last_told, of_call
from diffsci.running.locking import Holder, holder
from diffsci.running.versions import plugins_of
from diffsci.stages.status_next import Seen, next_of
from diffsci.stages.training.chosen import CHOSEN, described
from diffsci.training.damage import NUMBERS, newest_whole


@dataclass(frozen=True, kw_only=True)
class Status:
    """A run as its folder shows it.

    Args:
        folder: The run folder.
        name: Of the run.
        status: `new`, `running`, `killed`, `stopped`, `failed`, `done`, or `damaged`.
        stages: Status of each stage of the pipeline, its `seconds` over all calls of `run`, up to
            now where it goes on, and `seconds_of_call`, those of the last one.
        step: Steps that were told of or saved; none before the first.
        steps: All steps.
        ended: What ended training before its last step: `patience` or `hours`.
        loss: The last one told.
        loss_step: The step it is of.
        validation: The last one told.
        validation_step: The step it is of.
        cause: What it failed by, where it has.
        chosen: Which average is the model, once training is done.
        checkpoint: Name of the newest checkpoint that is whole.
        damaged: What is wrong with others, or with the record.
        holder: Who holds the lock, or was killed while holding it.
        last: When the run told something last, in seconds since 1970.
        processes: How many trained together, as far as is recorded.
        points: Of a sweep: status and overrides of each point, and its steps; empty for a run.
        todo: What to do next.
    """

    folder: str
    name: str = ""
    status: str = "damaged"
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    step: int | None = None
    steps: int | None = None
    ended: str | None = None
    loss: float | None = None
    loss_step: int | None = None
    validation: float | None = None
    validation_step: int | None = None
    cause: str | None = None
    chosen: str | None = None
    checkpoint: str | None = None
    damaged: tuple[str, ...] = ()
    holder: Holder | None = None
    last: float | None = None
    processes: int = 1
    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    todo: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def lines(self, now: float | None = None) -> list[str]:
        """For people."""
        told = [f"{self.folder}: {self.status}"]
        told += [] if self.cause is None else [f"  cause     {self.cause}"]
        for name, stage in self.stages.items():
            told.append(f"  {name:<9} {stage['status']}, {_seconds(stage)}")
        told += _lines_of(self.points)
        if self.processes > 1:
            told.append(f"  processes {self.processes}, which trained together")
        if self.step is not None:
            parts = [steps_told(self.step, self.steps)]
            parts += [] if self.ended is None else [f"ended by train.{self.ended}"]
            for word, value, step in (
                ("loss", self.loss, self.loss_step),
                ("validation", self.validation, self.validation_step),
            ):
                of = "" if step in (None, self.step) else f" at step {step}"
                parts += [] if value is None else [f"{word} {value:#.4g}{of}"]
            told.append(f"  training  {', '.join(parts)}")
        if self.chosen is not None:
            told.append(f"  model     the average {self.chosen}")
        if self.checkpoint is not None:
            told.append(f"  saved     {self.checkpoint}")
        told += [f"  damaged   {text}" for text in self.damaged]
        if self.holder is not None:
            state = self.holder.ended or "has ended without a word"
            state = "holds the lock" if self.holder.alive else state
            told.append(f"  writer    {self.holder} {state}")
        if self.last is not None:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.last))
            ago = max(0.0, (time.time() if now is None else now) - self.last)
            told.append(f"  last told {stamp}, {ago:.0f} s ago")
        return [*told, f"  next      {self.todo}"]


def _lines_of(points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One for each point of a sweep."""
    width = max(map(len, points), default=0)
    told = []
    for name, point in points.items():
        step = point.get("step")
        steps = "" if step is None else f", {steps_told(step, point['steps'])}"
        differs = told_of(point["overrides"])
        told.append(f"  {name:<{width}}  {point['status']}{steps}{differs and f'  ({differs})'}")
        told += [f"  {'':<{width}}  cause: {point['cause']}"] if point.get("cause") else []
    return told


def steps_told(step: int, steps: int | None) -> str:
    """How far training is; of a run whose record is lost nobody knows how far it is to go."""
    return f"step {step}" if steps is None else f"step {step} of {steps}"


def _seconds(stage: Mapping[str, Any]) -> str:
    """Over all calls, and of the last one where there were several."""
    total, last = stage["seconds"], stage["seconds_of_call"]
    return f"{total:.0f} s" + (f", {last:.0f} s of them in the last call" if last < total else "")


def is_run(path: Path) -> bool:
    """Whether a folder is a run's, of which the record may be lost."""
    return any((path / name).exists() for name in ("run.json", journal.NAME, "checkpoints"))


def status_of(path: Path) -> Status:
    """Read one run folder; a faulty one is told, never raised."""
    held = holder(path)
    newest, damaged = newest_whole(path / "checkpoints")
    lines = journal.read(path / journal.NAME)
    found: dict[str, Any] = {
        "folder": str(path),
        "checkpoint": None if newest is None else newest.name,
        "holder": held,
        "last": last_told(path, {}),
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
    state = str(record.get("status", "new"))
    if state == "running" and not (held and held.alive):
        state = "stopped" if held and held.ended else "killed"
    found["last"] = last_told(path, record)
    lost = () if held and held.alive else _lost(path, record["stages"], wanted)
    broken = None if held and held.alive else broken_model(path / "model")
    until = time.time() if state == "running" else last_sign(path)
    stages = {name: _stage(record["stages"].get(name), state, until) for name in wanted}
    processes = int(record.get("processes", 1))
    return Status(
        **found,
        name=str(record.get("name", "")),
        status=state,
        cause=record.get("error") if state == "failed" else None,
        stages=stages,
        chosen=_chosen(path) if stages.get("train", {}).get("status") == "done" else None,
        steps=(plain.get("train") or {}).get("steps"),
        damaged=(*damaged, *([] if broken is None else [broken]), *lost),
        processes=processes,
        todo=next_of(
            Seen(
                path=path,
                state=state,
                held=held,
                newest=newest,
                processes=processes,
                untrained=_untrained(found, stages),
                broken=broken,
                lost=lost,
                plugins=plugins_of(record.get("versions", {})),
            )
        ),
    )


def _stage(entry: dict[str, Any] | None, state: str, until: float | None) -> dict[str, Any]:
    """One stage; of one that no process works on any more it is not said that it is running."""
    if entry is None:
        return {"status": "not begun", "seconds": 0.0, "seconds_of_call": 0.0}
    status, before = entry.get("status"), entry.get("seconds", 0.0)
    if status != "running":
        return {
            "status": status,
            "seconds": before,
            "seconds_of_call": entry.get("seconds_of_call", before),
        }
    now = of_call(entry, until)
    state = state if state in ("running", "killed") else "stopped"
    return {"status": state, "seconds": round(before + now, 3), "seconds_of_call": round(now, 3)}


def _lost(path: Path, stages: Mapping[str, Any], wanted: Sequence[str]) -> tuple[str, ...]:
    """Products that are not there any more, of stages that are recorded as done."""
    done = [name for name in wanted if stages.get(name, {}).get("status") == "done"]
    gone = [path / product for name in done for product in PRODUCTS[name]]
    return tuple(f"{place}: is missing" for place in gone if not place.exists())


def _chosen(path: Path) -> str | None:
    try:
        return described(json.loads((path / CHOSEN).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # of an older version


def _untrained(found: dict[str, Any], stages: dict[str, dict[str, Any]]) -> bool:
    """Whether training was begun, and has left nothing to go on from."""
    train = stages.get("train", {"status": "done"})["status"]
    return found["checkpoint"] is None and train not in ("done", "not begun")


def _training(newest: Path | None, lines: list[journal.Line]) -> dict[str, Any]:
    """Step, loss and validation: of the journal, or of the checkpoint where that is later."""
    found: dict[str, Any] = {}
    saved = _numbers(newest)
    if saved:
        found["step"] = saved.get("step")
        found["ended"] = saved.get("ended") if saved.get("ended") != "steps" else None
        for name, rows in (("loss", "losses"), ("validation", "validations")):
            if saved.get(rows):
                found |= {f"{name}_step": saved[rows][-1][0], name: saved[rows][-1][1]}
    for line in lines:
        later = line.of_training and line.step >= (found.get("step") or 0)
        if later and line.step != found.get("step"):
            found |= {"step": line.step, "ended": None}
        for name, key in (("loss", "train/loss"), ("validation", "val/loss")):
            if later and key in line.values:
                found |= {f"{name}_step": line.step, name: line.values[key]}
    return found


def _numbers(place: Path | None) -> dict[str, Any]:
    if place is None:
        return {}
    try:
        told = json.loads((place / NUMBERS).read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}

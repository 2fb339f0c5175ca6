"""A sweep: the runs of all its points, one after another, each a run of its own, and one table.

    runs/<name>/sweep.json      points, what makes them differ, what became of them
                sweep.csv       one line a point: its keys, status, seconds, scores of the model
                compare.html    the finished runs side by side
                <point>/        the run folder of a point

A point that fails is recorded and the next one begins; the same command tries it again and leaves
what is done.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from diffsci import config, families, pipeline, tracking
from diffsci.errors import ConfigError, DiffsciError, StorageError
from diffsci.evaluation import compare as comparison
from diffsci.evaluation.rows import overall, read_rows
from diffsci.files import write_text
from diffsci.points import Point
from diffsci.sections import Runtime
from diffsci.stages import far_jobs
from diffsci.stages import jobs as jobs_of
from diffsci.tracker import Tracker

log = logging.getLogger(__name__)

RECORD, TABLE, PAGE = "sweep.json", "sweep.csv", "compare.html"


def run(
    loaded: config.Loaded,
    out: Path | None = None,
    dry_run: bool = False,
    only: Sequence[str] = (),
    allow: Sequence[str] = (),
    jobs: int = 1,
    command: Callable[[Path, str], Sequence[str]] | None = None,
) -> Path:
    """Run every point that is not done.

    Args:
        loaded: A pipeline with points.
        out: The sweep's folder; by default `runs/<name>`.
        dry_run: Build and check every point, and read no data.
        only: Names of points; none takes all.
        allow: As `pipeline.run` takes it, for every point.
        jobs: Points at once, each in a process of its own; with `runtime.dask`, on its workers.
        command: Arguments of Python that run one point, from the sweep's folder and its name;
            needed for several jobs.

    Returns:
        The sweep's folder.

    Raises:
        ConfigError: For a faulty point, before the first one is begun.
        DiffsciError: At the end, where points failed: the first one's kind of error, naming all.
    """
    folder = out or Path("runs") / loaded.pipeline.name
    if (folder / "run.json").exists():
        raise StorageError(f"{folder}: holds a single run; give the sweep another `name=` or --out")
    children = [(point, loaded.at(point)) for point in _chosen(loaded.points, only)]
    if dry_run:
        for point, child in children:
            pipeline.run(child, folder / point.name, dry_run=True)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    record = _record(folder, loaded)
    tracker = _tracker(loaded, record)
    failed: dict[str, DiffsciError] = {}
    tags = {"mlflow.parentRunId": tracker.run_id} if tracker.run_id else {}
    try:
        if jobs > 1:
            assert command is not None
            _write(folder, loaded.points, record, failed)  # the run that theirs are nested in
            names = [point.name for point, _ in children]
            begin = partial(command, folder)
            ends = _side_by_side(loaded.pipeline.runtime, names, begin, folder, jobs)
        else:
            ends = _in_turn(children, folder, tags, allow)
        for name, error in ends:
            if error is not None:
                failed[name] = error
                log.error("sweep: %s failed: %s", name, error)
            _write(folder, loaded.points, record, failed)
        done = [point.name for point in loaded.points if point.name not in failed]
        _compare(folder, done, tracker)
    except BaseException:
        tracker.finish("KILLED")
        raise
    tracker.finish("FAILED" if failed else "FINISHED")
    _raise(failed, len(children))
    return folder


def _raise(failed: Mapping[str, DiffsciError], count: int) -> None:
    """The error of all points that failed, of the first one's kind; nothing where none did."""
    if failed:
        first = next(iter(failed.values()))
        told = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise jobs_of.kind_of(first.exit_code)(
            f"{len(failed)} of {count} points of the sweep failed ({told}); the same command tries "
            "them again"
        )


def _in_turn(
    children: Sequence[tuple[Point, config.Loaded]],
    folder: Path,
    tags: Mapping[str, str],
    allow: Sequence[str],
) -> Iterator[tuple[str, DiffsciError | None]]:
    """Each point when it has ended, with what it failed by."""
    for number, (point, child) in enumerate(children, start=1):
        log.info("sweep: point %d of %d, %s", number, len(children), point.name)
        try:
            pipeline.run(child, folder / point.name, tags=tags, allow=allow)
        except DiffsciError as error:
            yield point.name, error
        else:
            yield point.name, None


def _side_by_side(
    runtime: Runtime,
    names: Sequence[str],
    command: Callable[[str], Sequence[str]],
    folder: Path,
    jobs: int,
) -> Iterator[tuple[str, DiffsciError | None]]:
    """The same, several at once: in processes here, or on the workers of a dask cluster."""
    if runtime.dask is None:
        threads = max(1, (os.cpu_count() or 1) // min(jobs, len(names)))
        own = runtime.threads != "auto" or "OMP_NUM_THREADS" in os.environ
        return jobs_of.run(names, command, folder, jobs, None if own else threads)

    def alone(name: str) -> list[str]:
        """Its samples are made where it is, not by workers that all may have a point in hand."""
        return [*command(name), "runtime.dask=null"]

    return far_jobs.run(names, alone, folder, jobs, runtime.dask)


def _chosen(points: tuple[Point, ...], only: Sequence[str]) -> tuple[Point, ...]:
    """Those of these names, in the order of the file."""
    known = [point.name for point in points]
    for name in only:
        if name not in known:
            near = families.did_you_mean(name, known)
            raise ConfigError(f"--point {name}: no such point{near}; there are {', '.join(known)}")
    return tuple(point for point in points if not only or point.name in only)


def _record(folder: Path, loaded: config.Loaded) -> dict[str, Any]:
    """What is kept of the sweep itself."""
    file = folder / RECORD
    try:
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError as error:
        raise StorageError(f"{file}: cannot be read ({error}); remove it to begin anew") from None
    name = before.get("name", loaded.pipeline.name)
    if name != loaded.pipeline.name:
        raise StorageError(f"{folder}: holds the sweep {name!r}; choose another folder with --out")
    record = {"key": secrets.token_hex(8), **before, "name": name}
    write_text(file, json.dumps(record, indent=2) + "\n")
    return record


def _tracker(loaded: config.Loaded, record: dict[str, Any]) -> Tracker:
    """The run of MLflow that those of the points are nested in."""
    data, task = loaded.pipeline.data, families.name_of(loaded.pipeline.data.task)
    tracker = tracking.start(
        loaded.pipeline.tracking,
        run_name=loaded.pipeline.name,
        experiment=f"{Path(str(data.entry or data.source)).name}-{task}",
        params={"sweep": {point.name: " ".join(point.overrides) for point in loaded.points}},
        tags={"diffsci.pipeline": loaded.pipeline.name, "diffsci.stage": "sweep"},
        key=record["key"],
        run_id=record.get("mlflow", {}).get("run_id"),
    )
    if tracker.run_id:
        record["mlflow"] = {"run_id": tracker.run_id, "address": tracker.address}
    return tracker


def _write(
    folder: Path,
    points: tuple[Point, ...],
    record: dict[str, Any],
    failed: dict[str, DiffsciError],
) -> None:
    """The record and the table, as far as the sweep has come."""
    rows = [_row(folder, point, failed.get(point.name)) for point in points]
    record["points"] = {
        point.name: {"overrides": list(point.overrides), "status": row["status"]}
        for point, row in zip(points, rows, strict=True)
    }
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    varied = [key for point in points for key in _values(point)]
    columns = list(dict.fromkeys(["point", *varied, *(key for row in rows for key in row)]))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    for row in rows:
        lines.writerow([row.get(column, "") for column in columns])
    write_text(folder / TABLE, text.getvalue())


def _row(folder: Path, point: Point, error: DiffsciError | None) -> dict[str, str]:
    """One line of the table."""
    row = {"point": point.name, **_values(point)}
    place = folder / point.name
    run = json.loads((place / "run.json").read_text()) if (place / "run.json").exists() else {}
    row["status"] = "failed" if error is not None else run.get("status", "waiting")
    for stage, entry in run.get("stages", {}).items():
        row[f"{stage}_seconds"] = f"{entry['seconds']:.1f}"
    if (place / "scores.csv").exists():
        for variable, scores in overall(read_rows(place / "scores.csv")).get("model", {}).items():
            for score, value in scores.items():
                row[f"{variable}.{score}"] = "" if value is None else f"{value:.6g}"
    return row


def _values(point: Point) -> dict[str, str]:
    """What makes a point differ, as a user would write it."""
    pairs = (text.partition("=") for text in point.overrides)
    read = {key: json.loads(text) for key, _, text in pairs}
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in read.items()
    }


def _compare(folder: Path, names: list[str], tracker: Tracker) -> None:
    """The page of those with scores, where there are two."""
    scored = [folder / name for name in names if (folder / name / "scores.csv").exists()]
    if len(scored) > 1:
        log.info("sweep: %s", comparison.compare(scored, folder / PAGE))
        tracker.artifact(folder / PAGE)
    tracker.artifact(folder / TABLE)
    log.info("sweep: %s", folder / TABLE)

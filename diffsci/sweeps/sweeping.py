"""A sweep: the runs of all its points, one after another, each a run of its own, and one table.

    runs/<name>/sweep.json      points, what makes them differ, what became of them
                sweep.csv       one line a point: its keys, status, seconds, scores of the model
                compare.html    the finished runs side by side
                <point>/        the run folder of a point

A point that fails is recorded and the next one begins; the same command tries it again and leaves
what is done.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from diffsci import config, families, pipeline
from diffsci.errors import ConfigError, DiffsciError, StorageError, line_of
from diffsci.evaluation import compare as comparison
from diffsci.files import write_text
from diffsci.messages import counted
from diffsci.points import Point
from diffsci.running.locking import lock
from diffsci.sections import Runtime
from diffsci.stages import far_jobs
from diffsci.stages import jobs as jobs_of
from diffsci.stages.sweep_status import PAGE, RECORD, TABLE
from diffsci.stages.training import from_point
from diffsci.stages.turns import Turns
from diffsci.sweeps import failures
from diffsci.sweeps.table import SweepTable
from diffsci.tracking import opening as tracking
from diffsci.tracking.tracker import Tracker

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2


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
    for point, child in children:
        from_point.check(loaded.points, point, child)
    if dry_run:
        names = {point.name for point, _ in children}
        for point, child in children:
            made = from_point.source_of(child) in names  # by then
            one = from_point.within(child, None if made else folder)
            pipeline.run(one, folder / point.name, dry_run=True)
        return folder
    children = [(point, from_point.within(child, folder)) for point, child in children]
    _recorded(folder, loaded)
    failures.require_own(children, folder, allow)
    if not _is_first():
        _follow_first(children, folder, allow)
        return folder
    # A point that is run alone, by hand or by --jobs, leaves the folder to others beside it.
    with nullcontext() if only else lock(folder, loaded.pipeline.name):
        _run(loaded, children, folder, allow, jobs, command)
    return folder


def _is_first() -> bool:
    """Whether this process writes: of several that were started at once, the first one."""
    return os.environ.get("RANK", "0") == "0"


def _follow_first(
    children: Sequence[tuple[Point, config.Loaded]], folder: Path, allow: Sequence[str]
) -> None:
    """Train each point with the first process, which alone tells and writes what became of it.

    A point that failed is no failure of this process: a launcher would end the first one by it,
    which has the table to write, and tells what it failed by.
    """
    for _, error in _in_turn(children, folder, {}, allow):
        if error is not None and len(children) == 1:
            raise error


def _run(
    loaded: config.Loaded,
    children: Sequence[tuple[Point, config.Loaded]],
    folder: Path,
    allow: Sequence[str],
    jobs: int,
    command: Callable[[Path, str], Sequence[str]] | None,
) -> None:
    """The points, one after another or several at once, and what is written of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    record = _recorded(folder, loaded)
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    tracker = _tracker(loaded, record)
    table = SweepTable(folder, loaded, record)
    table.write()  # its MLflow run, too, which those of the points are nested in
    try:
        if jobs > 1:
            assert command is not None
            begin = partial(command, folder)
            ends = _side_by_side(loaded.pipeline.runtime, children, begin, folder, jobs)
        else:
            tags = {"mlflow.parentRunId": tracker.run_id} if tracker.run_id else {}
            ends = _in_turn(children, folder, tags, allow)
        _follow(ends, len(children), table, tracker)
        if len(children) == len(loaded.points):  # what lies beside a few may be half-way
            _compare(folder, [name for name in table.names if name not in table.failed], tracker)
    except BaseException:
        tracker.finish("KILLED")
        raise
    tracker.finish("FAILED" if table.failed else "FINISHED")
    failures.of_end(table.failed, table.points, len(children), folder)


def _follow(
    ends: Iterable[tuple[str, DiffsciError | None]],
    count: int,
    table: SweepTable,
    tracker: Tracker,
) -> None:
    """Tell and write down what became of each point, as it ends, and of all at the end."""
    for ended, (name, error) in enumerate(ends, start=1):
        if error is None:
            log.info("sweep: %s is done, %d of %s ended", name, ended, _have(count))
        else:
            table.failed[name] = error
            log.error("sweep: %s failed: %s", name, error)
        table.write()
        tracker.note(table.note())
    if count > 1 or len(table.points) == 1:  # of a point alone, the others may be half-way
        for line in table.lines():
            log.info("%s", line)


def _have(count: int) -> str:
    return f"{counted(count, 'point')} {'has' if count == 1 else 'have'}"


def _in_turn(
    children: Sequence[tuple[Point, config.Loaded]],
    folder: Path,
    tags: Mapping[str, str],
    allow: Sequence[str],
) -> Iterator[tuple[str, DiffsciError | None]]:
    """Each point when it has ended, with what it failed by."""
    for number, (point, child) in enumerate(_ordered(children, folder), start=1):
        log.info("sweep: point %d of %d, %s", number, len(children), point.name)
        try:
            pipeline.run(child, folder / point.name, tags=tags, allow=allow)
        except DiffsciError as error:
            yield point.name, error
        except Exception as error:  # such as memory that is gone: the next point may be smaller
            log.debug("traceback of what %s failed by", point.name, exc_info=error)
            yield point.name, DiffsciError(f"unexpected {line_of(error)}")
        else:
            yield point.name, None


def _ordered(
    children: Sequence[tuple[Point, config.Loaded]], folder: Path
) -> Iterator[tuple[Point, config.Loaded]]:
    """The points as they come; what another process writes comes when that has ended."""
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    if several or len(children) == 1:  # all in one order; one by its name is refused at once
        yield from children
        return
    known = {child[0].name: child for child in children}
    turns = Turns(list(known), folder, from_point.sources(children))
    while turns.left:
        if name := turns.next():
            yield known[name]
            turns.ended(name)
        else:
            time.sleep(_POLL_SECONDS)


def _side_by_side(
    runtime: Runtime,
    children: Sequence[tuple[Point, config.Loaded]],
    command: Callable[[str], Sequence[str]],
    folder: Path,
    jobs: int,
) -> Iterator[tuple[str, DiffsciError | None]]:
    """The same, several at once: in processes here, or on the workers of a dask cluster."""
    names, after = [point.name for point, _ in children], from_point.sources(children)
    if runtime.dask is None:
        threads = max(1, (os.cpu_count() or 1) // min(jobs, len(names)))
        own = runtime.threads != "auto" or "OMP_NUM_THREADS" in os.environ
        return jobs_of.run(names, command, folder, jobs, None if own else threads, after)

    def alone(name: str) -> list[str]:
        """Its samples are made where it is, not by workers that all may have a point in hand."""
        return [*command(name), "runtime.dask=null"]

    return far_jobs.run(names, alone, folder, jobs, runtime.dask, after)


def _chosen(points: tuple[Point, ...], only: Sequence[str]) -> tuple[Point, ...]:
    """Those of these names, in the order of the file."""
    known = [point.name for point in points]
    for name in only:
        if name not in known:
            near = families.did_you_mean(name, known)
            raise ConfigError(f"--point {name}: no such point{near}; there are {', '.join(known)}")
    return tuple(point for point in points if not only or point.name in only)


def _recorded(folder: Path, loaded: config.Loaded) -> dict[str, Any]:
    """What is kept of the sweep itself; only reads.

    Raises:
        StorageError: For a record that cannot be read, or of another sweep.
    """
    file = folder / RECORD
    try:
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError as error:
        raise StorageError(f"{file}: cannot be read ({error}); remove it to begin anew") from None
    name = before.get("name", loaded.pipeline.name)
    if name != loaded.pipeline.name:
        raise StorageError(f"{folder}: holds the sweep {name!r}; choose another folder with --out")
    return {"key": secrets.token_hex(8), **before, "name": name}


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


def _compare(folder: Path, names: list[str], tracker: Tracker) -> None:
    """The page of those with scores, where there are two."""
    scored = [folder / name for name in names if (folder / name / "scores.csv").exists()]
    if len(scored) > 1:
        log.info("sweep: %s", comparison.compare(scored, folder / PAGE))
        tracker.artifact(folder / PAGE)
    tracker.artifact(folder / TABLE)
    log.info("sweep: %s", folder / TABLE)

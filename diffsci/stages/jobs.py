"""Points of a sweep in processes of their own, several at once.

Each is `diffsci run FILE --point NAME`, as a user would start it elsewhere, and ends with the
sweep. What it tells is appended to `<point>.log` in the sweep's folder; its exit code and the last
line say what became of it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from diffsci.errors import (
    ConfigError,
    DataError,
    DiffsciError,
    NumericsError,
    StorageError,
)
from diffsci.running import parent, stopping
from diffsci.stages.turns import Turns

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05


def kind_of(code: int) -> type[DiffsciError]:
    """The kind of error that an exit code stands for."""
    kinds = (ConfigError, DataError, NumericsError, StorageError)
    return next((kind for kind in kinds if kind.exit_code == code), DiffsciError)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A point that was begun.

    Args:
        process: It.
        told: Where it tells what.
        since: Bytes that calls before had told there.
    """

    process: subprocess.Popen[bytes]
    told: Path
    since: int


def run(
    names: Sequence[str],
    command: Callable[[str], Sequence[str]],
    folder: Path,
    jobs: int,
    threads: int | None,
    after: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, DiffsciError | None]]:
    """Each point as it ends, with what it failed by.

    Args:
        names: Of the points.
        command: Arguments of Python that run one.
        folder: Of the sweep.
        jobs: Processes at once.
        threads: Of each; none where the pipeline says so.
        after: As `Turns` has it.

    Raises:
        Stopped: When a signal asked for it; the points have then ended in the same way.
    """
    turns, running = Turns(names, folder, after), dict[str, _Job]()
    # One thread a core for all of them together, where nobody asked for another number.
    more = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    with parent.lifeline() as line, _ended_with(running):
        while turns.left or running:
            while len(running) < jobs and not stopping.wanted() and (name := turns.next()):
                log.info("sweep: %s is begun, see %s", name, folder / f"{name}.log")
                with appending(folder / f"{name}.log") as (told, since):
                    process = subprocess.Popen(
                        [sys.executable, *command(name)],
                        stdout=told,
                        stderr=subprocess.STDOUT,
                        stdin=line,
                        env=more | os.environ | parent.ASKED,
                        start_new_session=True,  # Ctrl-C comes to them once, from here
                    )
                running[name] = _Job(process=process, told=folder / f"{name}.log", since=since)
            if stopping.wanted():
                _stop(running)
            ended = [name for name, job in running.items() if job.process.poll() is not None]
            for name in ended:
                job = running.pop(name)
                turns.ended(name)
                code = job.process.returncode
                stopping.boundary(f"sweep: {name} has ended", stopping.wanted() if code else 0)
                yield name, error_of(code, job.told, job.since)
            time.sleep(_POLL_SECONDS)
    stopping.boundary("sweep: all points have ended")


@contextmanager
def appending(file: Path) -> Iterator[tuple[IO[bytes], int]]:
    """A log to write on, after a line with the time where calls before wrote; and its bytes."""
    with file.open("ab") as told:
        if told.tell():
            stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            told.write(f"\n-- begun again {stamp}\n".encode())
            told.flush()
        yield told, told.tell()


def _stop(running: dict[str, _Job]) -> None:
    """Ask all to end as this process was asked to, and wait until they have."""
    for job in running.values():
        job.process.send_signal(signal.SIGTERM)
    for job in running.values():
        job.process.wait()
    running.clear()
    stopping.boundary("sweep: stopped, and its points with it")


@contextmanager
def _ended_with(running: dict[str, _Job]) -> Iterator[None]:
    """No process of the block outlives it: what it has done is in its checkpoints."""
    try:
        with stopping.patiently():
            yield
    finally:
        for job in running.values():
            job.process.terminate()
        for job in running.values():
            job.process.wait()


def error_of(code: int, file: Path, since: int = 0) -> DiffsciError | None:
    """What a point failed by; none where it did not.

    Args:
        code: Its exit code.
        file: What it told.
        since: Bytes of it that calls before had told.
    """
    if code == 0:
        return None
    lines = file.read_bytes()[since:].decode("utf-8", "replace").strip().splitlines()
    told = [line for line in lines if line.startswith("error: ")] or lines[-1:]
    text = told[-1].removeprefix("error: ") if told else "it said nothing"
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        more = ", perhaps since the machine's memory was used up" if name == "SIGKILL" else ""
        text = f"was killed by {name}{more}"
    return kind_of(code)(f"{text} (see {file})")

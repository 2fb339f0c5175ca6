"""Points of a sweep in processes of their own, several at once.

Each is `diffsci run FILE --point NAME`, as a user would start it elsewhere. What it tells goes to
`<point>.log` in the sweep's folder; its exit code and the last line say what became of it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffsci import stopping
from diffsci.errors import (
    ConfigError,
    DataError,
    DiffsciError,
    NumericsError,
    StorageError,
)

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05


def kind_of(code: int) -> type[DiffsciError]:
    """The kind of error that an exit code stands for."""
    kinds = (ConfigError, DataError, NumericsError, StorageError)
    return next((kind for kind in kinds if kind.exit_code == code), DiffsciError)


def run(
    names: Sequence[str],
    command: Callable[[str], Sequence[str]],
    folder: Path,
    jobs: int,
    threads: int | None,
) -> Iterator[tuple[str, DiffsciError | None]]:
    """Each point as it ends, with what it failed by.

    Args:
        names: Of the points.
        command: Arguments of Python that run one.
        folder: Of the sweep.
        jobs: Processes at once.
        threads: Of each; none where the pipeline says so.

    Raises:
        Stopped: When a signal asked for it; the points have then ended in the same way.
    """
    waiting, running = list(names), dict[str, subprocess.Popen[bytes]]()
    # One thread a core for all of them together, where nobody asked for another number.
    more = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    with _ended_with(running):
        while waiting or running:
            while waiting and len(running) < jobs and not stopping.wanted():
                name = waiting.pop(0)
                log.info("sweep: %s is begun, see %s", name, folder / f"{name}.log")
                with (folder / f"{name}.log").open("wb") as told:
                    running[name] = subprocess.Popen(
                        [sys.executable, *command(name)],
                        stdout=told,
                        stderr=subprocess.STDOUT,
                        stdin=subprocess.DEVNULL,
                        env=more | os.environ,
                        start_new_session=True,  # Ctrl-C comes to them once, from here
                    )
            if stopping.wanted():
                _stop(running)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                code = running.pop(name).returncode
                stopping.boundary(f"sweep: {name} has ended", stopping.wanted() if code else 0)
                yield name, error_of(code, folder / f"{name}.log")
            time.sleep(_POLL_SECONDS)
    stopping.boundary("sweep: all points have ended")


def _stop(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Ask all to end as this process was asked to, and wait until they have."""
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    for process in running.values():
        process.wait()
    running.clear()
    stopping.boundary("sweep: stopped, and its points with it")


@contextmanager
def _ended_with(running: dict[str, subprocess.Popen[bytes]]) -> Iterator[None]:
    """No process of the block outlives it: what it has done is in its checkpoints."""
    try:
        with stopping.patiently():
            yield
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def error_of(code: int, file: Path) -> DiffsciError | None:
    """What a point failed by, from its exit code and what it told; none where it did not."""
    if code == 0:
        return None
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    told = [line for line in lines if line.startswith("error: ")] or lines[-1:]
    text = told[-1].removeprefix("error: ") if told else "it said nothing"
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        more = ", perhaps since the machine's memory was used up" if name == "SIGKILL" else ""
        text = f"was killed by {name}{more}"
    return kind_of(code)(f"{text} (see {file})")

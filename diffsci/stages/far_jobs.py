"""Points of a sweep on the workers of a dask cluster, which see the same files.

Each is the command that `jobs.py` begins here, begun by a worker. Which worker takes a point is
for the cluster to say; one whose worker dies is given to another, and goes on from its checkpoint.
"""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffsci.errors import DiffsciError
from diffsci.running import parent, stopping
from diffsci.stages.cluster import connected, event
from diffsci.stages.jobs import appending, error_of
from diffsci.stages.turns import Turns

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


def run(
    names: Sequence[str],
    command: Callable[[str], Sequence[str]],
    folder: Path,
    jobs: int,
    address: str,
    after: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, DiffsciError | None]]:
    """Each point as it ends, with what it failed by.

    Args:
        names: Of the points.
        command: Arguments of Python that run one, as seen from this folder.
        folder: Of the sweep.
        jobs: Points at once.
        address: Of the scheduler, or `local`.
        after: As `Turns` has it.

    Raises:
        ConfigError: When there is no such cluster.
        Stopped: When a signal asked for it; the points have then ended in the same way.
    """
    turns, running = Turns(names, folder, after), dict[str, Any]()
    with connected(address) as client, stopping.patiently():
        stop = event(f"diffsci-{secrets.token_hex(8)}", client)
        try:
            while turns.left or running:
                while len(running) < jobs and (name := turns.next()):
                    log.info("sweep: %s is begun, see %s", name, _told(folder, name))
                    given = (list(command(name)), str(_told(folder, name).resolve()))
                    running[name] = client.submit(
                        _point, *given, str(Path.cwd()), stop.name, pure=False
                    )
                if stopping.wanted():
                    stop.set()
                    client.gather(list(running.values()), errors="skip")
                    stopping.boundary("sweep: stopped, and its points with it")
                for name in [name for name, future in running.items() if future.done()]:
                    turns.ended(name)
                    yield name, _ended(running.pop(name), _told(folder, name))
                time.sleep(0.1)
        finally:
            stop.set()


def _ended(future: Any, told: Path) -> DiffsciError | None:  # noqa: ANN401  dask has no types
    """What a point failed by; none where it is done."""
    try:
        code, since = future.result()
        return error_of(code, told, since)
    except Exception as error:  # of the cluster, or of the worker before the point was begun
        return DiffsciError(f"its worker failed ({type(error).__name__}: {error})")


def _told(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def _point(arguments: list[str], told: str, here: str, stop: str) -> tuple[int, int]:
    """The exit code of a point, on a worker, and where in `told` it began to tell.

    It is asked to end when `stop` is set, and ends with the worker.
    """
    asked = event(stop)
    with parent.lifeline() as line:
        with appending(Path(told)) as (file, since):
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=line,
                cwd=here,
                env=os.environ | parent.ASKED,
            )
        while process.poll() is None:
            if asked.is_set():
                process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
    return process.returncode, since

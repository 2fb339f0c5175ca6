"""The MLflow UI on this project's store: this machine only, and two processes instead of ten."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO

from diffsci.errors import ConfigError, StorageError
from diffsci.tracking.store import ARTIFACTS, CHARTS, PORT, newest_experiment, repair

START_SECONDS = 120.0

HINT = "(if the page shows traces and prompts, switch it to 'Model training' at the top left)"


def serve(port: int = PORT, *, say: Callable[[str], None] = print) -> None:
    """Serve `mlflow.db` of the working directory until Ctrl-C.

    Args:
        port: On 127.0.0.1; no other machine can reach it.
        say: Told the address, once it answers.

    Raises:
        ConfigError: When the port is no port, or in use.
        StorageError: When there is no store here, or the server does not come up.
    """
    database = Path("mlflow.db").resolve()
    if not database.is_file():
        raise StorageError(
            f"there is no mlflow.db in {database.parent}: change to the folder in which "
            "`diffsci run` was called, or run a pipeline first"
        )
    _check_port(port)
    try:
        repair(database)
        newest = newest_experiment(database)
    except Exception as error:  # sqlite3's errors share no base with a message of their own
        raise StorageError(f"{database} is not an MLflow store: {error}") from None
    base = f"http://127.0.0.1:{port}"
    page = f"{base}/#/experiments" + (f"/{newest}/{CHARTS}" if newest else "")
    with tempfile.TemporaryFile() as output:
        server = _start(database, port, output)
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            _wait_until_it_answers(server, base, output)
            say(f"MLflow UI: {page}\n{HINT}\nCtrl-C ends it")
            if server.wait() != 0:
                raise StorageError(f"the MLflow server ended by itself: {_last_lines(output)}")
        except KeyboardInterrupt:
            say("MLflow UI ended")
        finally:
            _end(server)
            signal.signal(signal.SIGTERM, previous)


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port: got {port}, expected a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"--port: {port} cannot be used ({error.strerror}); choose another one, such as "
                f"`diffsci ui --port {port + 1 if port < 65535 else 5001}`"
            ) from None


def _start(database: Path, port: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--backend-store-uri", f"sqlite:///{database}"]
    command += ["--artifacts-destination", str(database.parent / ARTIFACTS)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", f"127.0.0.1:{port},localhost:{port}"]
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    # What is set for the tracking of runs may point at another store.
    kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(
        command,
        cwd=database.parent,
        env=kept | settings,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that Ctrl-C reaches us alone, and we end all its processes
    )


def _wait_until_it_answers(server: subprocess.Popen[bytes], base: str, output: IO[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise StorageError(f"the MLflow server did not start: {_last_lines(output)}")
        try:
            urllib.request.urlopen(f"{base}/health", timeout=1.0).close()
            return
        except OSError:
            time.sleep(0.2)
    raise StorageError(f"the MLflow server did not answer within {START_SECONDS:.0f} s")


def _last_lines(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    # An older store needs one command, and MLflow names it.
    upgrade = [line for line in lines if "mlflow db upgrade" in line]
    return re.sub(r"\s+", " ", upgrade[-1] if upgrade else lines[-1])[:400]


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers: all of the session that was made for them."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
        except ProcessLookupError:
            return
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            continue


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""The server's life: it listens, says where, and ends by Ctrl-C after the requests in hand."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from diffsci.errors import ConfigError
from diffsci.forecasting.calibration.calibrated import warn_of_unusual
from diffsci.serving.app import application
from diffsci.serving.desk import Desk, Limits
from diffsci.stages.ensembles.from_files import opened

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"


def serve(
    folder: Path,
    *,
    host: str = LOOPBACK,
    port: int = 8000,
    hosts: tuple[str, ...] = (),
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a model until Ctrl-C or SIGTERM.

    Args:
        folder: A run folder, or a model folder.
        host: Address to listen at; by default no other machine can reach it.
        port: 0 takes a free one.
        hosts: Names by which clients of other machines may address it.
        limits: Of each request.
        say: Told the address, once it listens.

    Raises:
        ConfigError: When the address cannot be used.
        StorageError: When there is no whole model.
    """
    model, _ = opened(folder / "model" if (folder / "model").is_dir() else folder)
    warn_of_unusual(model)
    desk = Desk(model, limits or Limits())
    bound = _bound(host, port)
    if host != LOOPBACK:
        log.warning("serve: whoever reaches %s may use the model: there is no login", host)
    names = (*hosts, host) if host not in ("0.0.0.0", "::") else hosts
    config = uvicorn.Config(
        application(desk, names),
        loop="asyncio",
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=256,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=30,
    )
    address = f"http://{host}:{bound.getsockname()[1]}"
    say(f"{model.pipeline.name}: {address} (page and form), {address}/openapi.json; Ctrl-C ends it")
    with bound:
        uvicorn.Server(config).run(sockets=[bound])


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens, so that the address is known before the first request."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"--host {host} --port {port}: cannot be used ({error.strerror}); choose another port, "
            "or 0 for a free one"
        ) from None
    return bound

"""The dask cluster that `runtime.dask` names, for whoever hands out work to its workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffsci.errors import ConfigError


@contextmanager
def connected(address: str, seconds: float = 10.0) -> Iterator[Any]:
    """A client of the cluster, until the block ends.

    Args:
        address: Of its scheduler, or `local` for workers on this machine.
        seconds: To wait for its answer.

    Raises:
        ConfigError: When there is no scheduler, or dask's distributed part is not installed.
    """
    try:
        import distributed

        dask: Any = distributed  # which has no types
    except ImportError:
        raise ConfigError(
            f"runtime.dask: got {address!r}, and dask's workers are not installed: "
            "pip install diffsci[cluster]"
        ) from None
    if address == "local":
        # One thread each, as torch computes with its own.
        count = os.cpu_count() or 1
        given = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": None}
        with dask.LocalCluster(**given) as cluster, dask.Client(cluster) as client:
            yield client
        return
    try:
        found = dask.Client(address, timeout=seconds)
    except OSError as error:
        raise ConfigError(
            f"runtime.dask: got {address!r}, and no scheduler answers there "
            f"({type(error).__name__}); start one with `dask scheduler`, or take local"
        ) from error
    with found as client:
        yield client


def event(name: str, client: Any = None) -> Any:  # noqa: ANN401  distributed has no types
    """Something that all of a cluster can set and see.

    Args:
        name: Of it.
        client: Of the cluster; none on its workers.
    """
    import distributed

    dask: Any = distributed
    return dask.Event(name, client=client)

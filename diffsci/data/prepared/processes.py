"""Processes that prepare data: what they import is imported once, while this one opens the source.

It imports next to nothing itself, so that they are begun before anything else is done.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing import forkserver

_NEEDED = ("diffsci.data.prepared.blocks", "h5py", "dask.array")
"""Modules of a worker; the last two are imported by our readers and by xarray at their first use.

Without them each worker would spend 0.4 s of its processor on it, as long as it takes to prepare
200 MiB.
"""


def begin(modules: Sequence[str] = ()) -> None:
    """Start the server that workers are forked from; it goes on by itself.

    Args:
        modules: That are imported beside those that all need; where it runs already, they are not.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_NEEDED, *modules])
    forkserver.ensure_running()

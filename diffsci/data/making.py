"""A solver's data set on disk: written in pieces, resumed where it was cut off, renamed when whole.

While it is made it lies in a hidden folder beside its place, so that no part is ever taken for the
whole. Pieces are those of `Solver.parts`; each is written again if the process died in it, so the
bytes at the end do not depend on where that was.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import shutil
import sys
import time
import warnings
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from tqdm import tqdm

from diffsci import families, files
from diffsci.errors import StorageError
from diffsci.running import locking
from diffsci.solvers.base import Solver

log = logging.getLogger(__name__)

_EVERY = 10.0
"""Seconds between log lines where nobody watches a bar."""


def digest(made_by: Solver) -> str:
    """SHA-256 of a solver's parameters and of the code that makes its numbers."""
    told = {f.name: getattr(made_by, f.name) for f in fields(made_by)}  # type: ignore[arg-type]
    total = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    own = [kind for kind in type(made_by).__mro__ if kind.__module__ not in ("abc", "builtins")]
    paths = {Path(inspect.getfile(kind)) for kind in own}
    # The folders' private files too: a change in a shared stepper changes the data.
    paths |= {private for path in paths for private in path.parent.glob("_*.py")}
    for path in sorted(paths):
        total.update(path.read_bytes())
    return total.hexdigest()


def make(made_by: Solver, target: Path) -> bool:
    """Write a solver's data set to the Zarr store `target`, or go on with it.

    Args:
        made_by: The solver.
        target: Where it goes; a store that is there is left alone.

    Returns:
        Whether anything had to be made.

    Raises:
        StorageError: When the place cannot be written, or holds something else.
    """
    mark = digest(made_by)
    partial = target.with_name(f".{target.name}.partial")
    with files.storage_errors(target), ExitStack() as stack:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _is_there(target, mark):
            _wait(stack, partial)
        if _is_there(target, mark):  # Another process may have finished it meanwhile.
            shutil.rmtree(partial, ignore_errors=True)
            return False
        store = partial / "store.zarr"
        _write(made_by, store, mark)
        store.rename(target)
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _is_there(target: Path, mark: str) -> bool:
    """Whether the very data set is at its place.

    Raises:
        StorageError: When something else is.
    """
    if not target.exists():
        return False
    try:
        told = json.loads((target / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{target}: is something else; choose another place") from error
    if told.get("digest") != mark:
        raise StorageError(
            f"{target}: was made with other parameters or another version of the solver; "
            "choose another place, or remove it"
        )
    return True


def _wait(stack: ExitStack, folder: Path) -> None:
    """Be the only one who writes there, after whoever does now."""
    told = False
    while True:
        try:
            stack.enter_context(locking.lock(folder))
            return
        except StorageError:
            holder = locking.holder(folder)
            if holder is None or not holder.alive:
                raise
            if not told:
                log.info("data: %s makes it already; waiting", holder)
            told = True
            time.sleep(1)


def _write(made_by: Solver, store: Path, mark: str) -> None:
    """All pieces that are not there yet; progress is told by a bar, or by lines."""
    record = store.with_name("made.json")
    done = _made(record, store, mark)
    name, count = families.name_of(made_by), made_by.trajectories
    if done:
        log.info("data: going on with %s after %d of %d trajectories", name, done, count)
    bar = tqdm(total=count, initial=done, unit="traj", desc=name, disable=not sys.stderr.isatty())
    began, first = time.monotonic(), done
    spoken = began
    with bar, warnings.catch_warnings():
        # Not in the text of Zarr v3 yet; without it every reader warns.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not")
        for part in made_by.parts(done):
            size = part.sizes["sample"]
            if done == 0:
                shutil.rmtree(store, ignore_errors=True)
                _template(part, count, mark).to_zarr(store, compute=False, consolidated=False)
            fixed = [str(n) for n, v in part.variables.items() if "sample" not in v.dims]
            part.drop_vars(fixed).to_zarr(
                store, region={"sample": slice(done, done + size)}, consolidated=False
            )
            done += size
            files.write_json(record, {"digest": mark, "done": done})
            bar.update(size)
            now = time.monotonic()
            if bar.disable and now - spoken > _EVERY:
                spoken = now
                left = (now - began) / (done - first) * (count - done)
                log.info("data: %s: %d of %d trajectories, %.0f s left", name, done, count, left)
        zarr.consolidate_metadata(store)
    assert done == count, f"{name} made {done} of {count} trajectories"


def _made(record: Path, store: Path, mark: str) -> int:
    """How many trajectories are kept already; 0 where they are of another solver."""
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        return int(told["done"]) if told["digest"] == mark and store.exists() else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _template(part: xr.Dataset, count: int, mark: str) -> xr.Dataset:
    """The whole data set as its first piece shows it, values left out."""

    def whole(variable: xr.DataArray) -> tuple[Any, ...]:
        shape, chunks = (count, *variable.shape[1:]), variable.shape
        empty = dask.array.zeros(shape, dtype=variable.dtype, chunks=chunks)
        return variable.dims, empty, variable.attrs

    numbers = ("sample", np.arange(count), part["sample"].attrs)
    return xr.Dataset(
        {str(name): whole(variable) for name, variable in part.data_vars.items()},
        coords={**part.drop_vars("sample").coords, "sample": numbers},
        attrs={**part.attrs, "digest": mark},
    )

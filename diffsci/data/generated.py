"""Generated data: a solver's trajectories, made once, kept under their digest."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import logging
import os
import shutil
import typing
import warnings
from pathlib import Path
from typing import Any

from diffsci import families
from diffsci.data.catalog import Entry
from diffsci.errors import ConfigError, DataError, FieldError, StorageError
from diffsci.solvers.base import Solver

log = logging.getLogger(__name__)


def folder() -> Path:
    """`$DIFFSCI_CACHE`, else `~/.cache/diffsci`."""
    told = os.environ.get("DIFFSCI_CACHE")
    return Path(told).expanduser() if told else Path.home() / ".cache" / "diffsci"


def solver(entry: Entry) -> Solver:
    """The solver an entry asks for.

    Raises:
        DataError: For an unknown solver, an unknown key, or a value out of range.
    """
    told = dict(entry.source.generator or {})
    try:
        kind = families.load("solvers", told.pop("use"))
    except ConfigError as error:
        raise DataError(f"{entry.yaml}: source.generator: {error}") from error
    known = {field.name: field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in told.items():
        where = f"{entry.yaml}: source.generator.{key}"
        if key not in known:
            raise DataError(
                f"{where}: unknown key{families.did_you_mean(key, known)}; "
                f"there are {', '.join(known)}"
            )
        values[key] = _typed(value, hints[key], where)
    try:
        made: Solver = kind(**values)
        return made
    except FieldError as error:
        raise DataError(f"{entry.yaml}: source.generator.{error}") from error


def _typed(value: object, hint: object, where: str) -> object:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise DataError(f"{where}: got {value!r}, expected {getattr(hint, '__name__', hint)}")
    return value


def store_path(made_by: Solver) -> Path:
    """Where a solver's data is kept: named by a digest of its parameters and code."""
    # The folder's private files too: a change in a shared stepper changes the data.
    code = Path(inspect.getfile(type(made_by)))
    seed = hashlib.sha256(json.dumps(_parameters(made_by), sort_keys=True).encode())
    for source in sorted({code, *code.parent.glob("_*.py")}):
        seed.update(source.read_bytes())
    return folder() / f"{families.name_of(made_by)}-{seed.hexdigest()[:20]}.zarr"


def _parameters(made_by: Solver) -> dict[str, Any]:
    return {f.name: getattr(made_by, f.name) for f in dataclasses.fields(made_by)}  # type: ignore[arg-type]


def store(entry: Entry) -> Path:
    """The Zarr store of a generated entry, made now if it is not there yet.

    Raises:
        StorageError: When the cache folder cannot be written.
    """
    made_by = solver(entry)
    target = store_path(made_by)
    if target.exists():
        return target
    log.info("data: making %s once; it is kept in %s", entry.name, target.parent)
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # Not in the text of Zarr v3 yet; without it every reader warns.
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not")
            made_by().to_zarr(partial, mode="w", consolidated=True)
        partial.rename(target)
    except OSError as error:
        # Another process may have finished the same store first: renaming onto a full folder fails.
        if target.exists():
            return target
        raise StorageError(
            f"{target.parent}: cannot keep generated data there ({error.strerror or error}); "
            "set DIFFSCI_CACHE to a folder with room"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target

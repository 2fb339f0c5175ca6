"""Generated data: a solver's trajectories, made once, kept under their digest."""

from __future__ import annotations

import dataclasses
import logging
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffsci import families, yamltext
from diffsci.data import making
from diffsci.data.catalog import Entry, entries, load_entry
from diffsci.data.keeping import folder
from diffsci.errors import ConfigError, DataError, FieldError, StorageError
from diffsci.solvers.base import Solver

log = logging.getLogger(__name__)


def solver(entry: Entry) -> Solver:
    """The solver an entry asks for.

    Raises:
        DataError: For an unknown solver, an unknown key, or a value out of range.
    """
    return built(entry.source.generator or {}, f"{entry.yaml}: source.generator")


def built(told: dict[str, Any], where: str) -> Solver:
    """A solver by its word `use` and its fields.

    Args:
        told: As the catalog has it.
        where: File and key, for messages.

    Raises:
        DataError: For an unknown solver, an unknown key, or a value out of range.
    """
    told = dict(told)
    try:
        kind = families.load("solvers", told.pop("use"))
    except ConfigError as error:
        raise DataError(f"{where}: {error}") from error
    known = {field.name: field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in told.items():
        if key not in known:
            raise DataError(
                f"{where}.{key}: unknown key{families.did_you_mean(key, known)}; "
                f"there are {', '.join(known)}"
            )
        values[key] = _typed(value, hints[key], f"{where}.{key}")
    try:
        made: Solver = kind(**values)
        return made
    except FieldError as error:
        raise DataError(f"{where}.{error}") from error


def asked(name: str, overrides: Sequence[str], roots: tuple[Path, ...] = ()) -> Solver:
    """The solver of a catalog entry, or one by its word, with some fields changed.

    Args:
        name: Of an entry that is generated, or of a solver.
        overrides: `KEY=VALUE` texts.
        roots: Folders that may hold a `data_catalog`.

    Raises:
        ConfigError: For a name that is neither, or a text that is no `KEY=VALUE`.
        DataError: For an unknown key, or a value out of range.
    """
    changes = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ConfigError(f"{text!r}: expected KEY=VALUE, such as trajectories=8")
        changes[key] = yamltext.read(value, text, lines=False).plain()
    known = families.names("solvers")
    if name in known:
        return built({"use": name, **changes}, f"solver {name}")
    if name not in entries(roots) and "/" not in name and not name.endswith((".yaml", ".yml")):
        near = families.did_you_mean(name, (*entries(roots), *known))
        raise ConfigError(
            f"{name}: neither a catalog entry nor a solver{near}; solvers are {', '.join(known)}"
        )
    entry = load_entry(name, roots)
    if entry.source.generator is None:
        raise ConfigError(
            f"{name}: is read from {entry.location}, no solver makes it; "
            f"solvers are {', '.join(known)}"
        )
    return built({**entry.source.generator, **changes}, f"{entry.yaml}: source.generator")


def _typed(value: object, hint: object, where: str) -> object:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(hint) is tuple:
        # One number stands for a list of one.
        items = value if isinstance(value, list) else [value]
        return tuple(_typed(item, typing.get_args(hint)[0], where) for item in items)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise DataError(f"{where}: got {value!r}, expected {getattr(hint, '__name__', hint)}")
    return value


def store_path(made_by: Solver) -> Path:
    """Where a solver's data is kept: named by a digest of its parameters and code."""
    return folder() / f"{families.name_of(made_by)}-{making.digest(made_by)[:20]}.zarr"


def store(entry: Entry) -> Path:
    """The Zarr store of a generated entry, made now if it is not there yet.

    Raises:
        DataError: When a parameter shows to be out of range as the solver starts.
        StorageError: When the cache folder cannot be written.
    """
    made_by = solver(entry)
    target = store_path(made_by)
    if target.exists():
        return target
    log.info("data: making %s once; it is kept in %s", entry.name, target.parent)
    try:
        making.make(made_by, target)
    except FieldError as error:
        raise DataError(f"{entry.yaml}: source.generator.{error}") from error
    except StorageError as error:
        raise StorageError(f"{error}; or set DIFFSCI_CACHE to a folder with room") from error
    return target

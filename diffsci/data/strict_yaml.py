"""Catalog YAML: read as strictly as pipeline files, with no key that nobody reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffsci import yamltext
from diffsci.errors import ConfigError, DataError
from diffsci.families import did_you_mean


def load(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds.

    Raises:
        DataError: For what is no strict YAML, no mapping, or has a key twice, with the line.
    """
    try:
        plain = yamltext.read_file(path).plain()
    except ConfigError as error:
        raise DataError(str(error)) from error
    return mapping(plain, path, "the file")


def mapping(value: object, path: Path, key: str) -> dict[str, Any]:
    """A mapping with text keys; none is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise DataError(f"{path}: {key}: got {value!r}, expected a mapping `name: value`")
    return value


def only_keys(plain: dict[str, Any], known: Iterable[str], path: Path, where: str = "") -> None:
    """Refuse a key that nobody reads."""
    names = list(known)
    for key in plain:
        if key not in names:
            full = f"{where}.{key}" if where else key
            raise DataError(
                f"{path}: unknown key {full!r}{did_you_mean(key, names)}; "
                f"there are {', '.join(names)}"
            )


def text(value: object, path: Path, key: str) -> str:
    """A text; a number is taken as its text (YAML reads `units: 1` and `version: 2` so)."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{path}: {key}: got {value!r}, expected a text")
    return str(value).strip()


def texts(value: object, kind: type, path: Path, where: str) -> dict[str, str]:
    """The text fields of a dataclass `kind`, from a mapping."""
    plain = mapping(value, path, where)
    only_keys(plain, list(kind.__dataclass_fields__), path, where)  # type: ignore[attr-defined]
    return {key: text(item, path, f"{where}.{key}") for key, item in plain.items()}

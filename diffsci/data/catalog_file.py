"""A catalog file: YAML read as strictly as a pipeline, every fault told by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffsci.data import addresses
from diffsci.data import strict_yaml as strict
from diffsci.data.canonical import intervals
from diffsci.data.entry import MISSING, TRANSFORMS, Entry, Source, TimeAxis, Variable
from diffsci.errors import DataError


def parse(path: Path) -> Entry:
    """The entry that a catalog YAML describes.

    Raises:
        DataError: For what is no such entry: file, key, value, what was expected.
    """
    plain = strict.load(path)
    known = [name for name in Entry.__dataclass_fields__ if name not in ("name", "file")]
    strict.only_keys(plain, known, path)
    texts = ("title", "description", "license", "citation", "attribution", "version", "domain",
             "engine", "sha256")  # fmt: skip
    values: dict[str, Any] = {
        key: strict.text(plain[key], path, key) for key in texts if plain.get(key) is not None
    }
    variables = strict.mapping(plain.get("variables"), path, "variables")
    return Entry(
        name=path.stem,
        file=path,
        source=_source(plain.get("source"), path),
        providers=_providers(plain.get("providers"), path),
        open_kwargs=strict.mapping(plain.get("open_kwargs"), path, "open_kwargs"),
        rename={
            key: strict.text(value, path, f"rename.{key}")
            for key, value in strict.mapping(plain.get("rename"), path, "rename").items()
        },
        variables={
            key: _variable(value, path, f"variables.{key}") for key, value in variables.items()
        },
        boundary={
            key: _sides(value, path, key)
            for key, value in strict.mapping(plain.get("boundary"), path, "boundary").items()
        },
        time=_time(plain.get("time"), path),
        **values,
    )


def _source(value: object, path: Path) -> Source:
    if isinstance(value, str):
        value = {"path": value}
    if not value:
        raise DataError(
            f"{path}: no `source`; write `source: FILE.nc` (a file, folder, store or glob)"
        )
    plain = strict.mapping(value, path, "source")
    known = [name for name in Source.__dataclass_fields__ if name != "data"]
    strict.only_keys(plain, known, path, "source")
    kinds = [key for key in ("path", "package", "generator") if plain.get(key) is not None]
    if len(kinds) != 1:
        raise DataError(
            f"{path}: source: got {kinds or 'none'}, expected one of path, package, generator"
        )
    if "generator" in plain:
        generator = strict.mapping(plain["generator"], path, "source.generator")
        if not isinstance(generator.get("use"), str):
            raise DataError(f"{path}: source.generator: no `use`; write `use: NAME_OF_A_SOLVER`")
        return Source(generator=generator)
    located: dict[str, Any] = {
        key: strict.text(item, path, f"source.{key}") for key, item in plain.items()
    }
    if "package" in located:
        package, _, inside = located["package"].partition(":")
        if not (package and inside) or ".." in inside.split("/") or inside.startswith("/"):
            raise DataError(
                f"{path}: source.package: got {located['package']!r}, "
                "expected PACKAGE:PATH/INSIDE/IT"
            )
    elif addresses.is_address(located["path"]):
        addresses.require_allowed(located["path"], f"{path}: source.path")
    else:
        located["path"] = str(path.parent.absolute() / Path(located["path"]).expanduser())
    return Source(**located)


def _providers(value: object, path: Path) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    named = [item.get("name") if isinstance(item, dict) else item for item in items]
    return tuple(strict.text(item, path, "providers") for item in named)


_NUMBERS = ("fill", "minimum", "maximum")


def _variable(value: object, path: Path, where: str) -> Variable:
    plain = strict.mapping(value, path, where)
    strict.only_keys(plain, list(Variable.__dataclass_fields__), path, where)
    vector = plain.pop("vector", None)
    if vector is not None and not isinstance(vector, bool):
        raise DataError(f"{path}: {where}.vector: got {vector!r}, expected true or false")
    numbers: dict[str, Any] = {
        key: _number(plain.pop(key, None), path, f"{where}.{key}") for key in _NUMBERS
    }
    valid = _range(plain.pop("valid_range", None), path, f"{where}.valid_range")
    low, high = numbers["minimum"], numbers["maximum"]
    if low is not None and high is not None and low >= high:
        raise DataError(f"{path}: {where}.minimum: got {low:g}, expected less than {high:g}")
    texts: dict[str, Any] = {
        key: strict.text(item, path, f"{where}.{key}") for key, item in plain.items()
    }
    if texts.get("missing", MISSING[0]) not in MISSING:
        raise DataError(
            f"{path}: {where}.missing: got {texts['missing']!r}, expected {' or '.join(MISSING)}"
        )
    if texts.get("transform", TRANSFORMS[0]) not in TRANSFORMS:
        raise DataError(
            f"{path}: {where}.transform: got {texts['transform']!r}, expected "
            f"{' or '.join(TRANSFORMS)}"
        )
    _check_sums(texts, numbers["fill"], path, where)
    return Variable(vector=vector, valid_range=valid, **numbers, **texts)


def _check_sums(texts: dict[str, Any], fill: float | None, path: Path, where: str) -> None:
    """Refuse intervals that are none, and what contradicts a running sum."""
    word, resets = texts.get("accumulated"), texts.get("resets")
    running = word == intervals.RUNNING
    if word is not None and not running and intervals.seconds(word) is None:
        raise DataError(
            f"{path}: {where}.accumulated: got {word!r}, expected an interval such as 1h, 30min or "
            "1d, or running"
        )
    if resets is not None:
        length = intervals.seconds(resets)
        if not running or length is None or 86_400 % length:
            raise DataError(
                f"{path}: {where}.resets: got {resets!r}, expected a part of a day such as 24h or "
                "6h, beside `accumulated: running`"
            )
    if running and fill is not None:
        raise DataError(
            f"{path}: {where}.fill: got {fill:g}, expected none beside `accumulated: running`; "
            "declare it as `_FillValue` in the file"
        )


def _number(value: object, path: Path, where: str) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DataError(f"{path}: {where}: got {value!r}, expected a number")
    return None if value is None else float(value)


def _range(value: object, path: Path, where: str) -> tuple[float, float] | None:
    if value is None:
        return None
    ends = value if isinstance(value, list) and len(value) == 2 else [None, None]
    low, high = (None if end is None else _number(end, path, where) for end in ends)
    if low is None or high is None or not low < high:
        raise DataError(
            f"{path}: {where}: got {value!r}, expected [LOW, HIGH], two numbers, in this order"
        )
    return low, high


def _sides(value: object, path: Path, dim: str) -> tuple[str, str]:
    if isinstance(value, str):
        return value, value
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
        return value[0], value[1]
    raise DataError(
        f"{path}: boundary.{dim}: got {value!r}, expected one word, or two: [low, high]"
    )


def _time(value: object, path: Path) -> TimeAxis | None:
    if value is None:
        return None
    plain = strict.texts(value, TimeAxis, path, "time")
    if "units" not in plain:
        raise DataError(f"{path}: time: no `units`; write `units: hours since 2000-01-01`, say")
    return TimeAxis(**plain)

"""Messages about a pipeline file: place, full key, value found, what was expected, a near name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from diffsci.errors import ConfigError, shown
from diffsci.families import did_you_mean
from diffsci.yamltext import Node, Plain, scalar, shorten

Hint = Any
"""A type hint."""

SIMPLE: dict[Hint, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "null",
    Any: "a value",
}
"""Types whose values are taken as they are, in words."""


def show(value: Plain) -> str:
    """A value as a message prints it."""
    return shorten(shown(value))


def fault(node: Node, text: str, key: str | None = None) -> ConfigError:
    """The error about one key: place, full key (that of the node if not given), what is wrong."""
    named = node.key if key is None else key
    return ConfigError(": ".join(part for part in (node.where, named, text) if part))


def describe(hint: Hint) -> str:
    """What a type accepts, in words."""
    origin: Hint = get_origin(hint)
    args = get_args(hint)
    if hint in SIMPLE:
        return SIMPLE[hint]
    if origin in (Union, UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple and args[-1] is Ellipsis:
        return f"a list, each item {describe(args[0])}"
    if origin is tuple:
        return f"a list [{', '.join(describe(arg) for arg in args)}]"
    if dataclasses.is_dataclass(hint):
        return f"a mapping with {', '.join(key_of(field) for field in dataclasses.fields(hint))}"
    return "a mapping"


def key_of(field: dataclasses.Field[Any]) -> str:
    """The key of a field in a YAML file: its name, but `from` for `from_`: Python reserves it."""
    return field.name.removesuffix("_")


def wrong(node: Node, hint: Hint) -> ConfigError:
    """The error about a value of another type, with the likely slip."""
    text = f"got {show(node.value)}, expected {describe(hint)}"
    numeric = any(kind in (int, float) for kind in (hint, *get_args(hint)))
    if isinstance(node.value, str) and numeric:
        try:
            number = isinstance(scalar(node.value), int | float)
        except ValueError:
            number = False
        text += " without quotes" if number else ""
    whole = isinstance(node.value, float) and int in (hint, *get_args(hint))
    if whole and node.value.is_integer() and abs(node.value) < 1e15:
        text += f": write {int(node.value)}"
    if hint is str and isinstance(node.value, bool | int | float):
        text += " (put it in quotes)"
    return fault(node, text)


def unknown(node: Node, name: str, known: Iterable[str], deeper: Sequence[str] = ()) -> ConfigError:
    """The error about a key of `node` that does not exist; `deeper` are keys of its name below."""
    known = list(known)
    near = did_you_mean(name, known)
    if deeper:
        near = f"; did you mean {' or '.join(map(repr, deeper))}?"
    listed = f"; there are {', '.join(known)}" if known else "; there are none here"
    return fault(node.child(name), f"unknown key{near or listed}")


def counted(count: int, one: str, several: str = "") -> str:
    """A number with its noun: `1 unit`, `2 units`, `3 processes`."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def near_path(path: Path, pattern: str) -> str:
    """Did you mean: what lies beside a missing file or folder under a similar name."""
    try:
        beside = {other.stem: str(path.parent / other.name) for other in path.parent.glob(pattern)}
    except OSError:
        return ""
    near = difflib.get_close_matches(path.stem, beside, n=1, cutoff=0.6)
    return f"; did you mean {beside[near[0]]!r}?" if near else ""

"""Strict YAML: text to values that remember where they were written.

A file is data only: no tags, no interpolation, no merge keys, bounded aliases and depth.
Plain scalars are read by the YAML 1.2 core schema (`on`, `3:20` and dates are text, `1e-3` is a
number); what YAML 1.1 and 1.2 read differently as numbers (`012`) is refused. The parser's event
stream is walked without recursion, so that hostile nesting costs nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from diffsci.errors import ConfigError

Plain = Any
"""None, bool, int, float, str, or dicts by str and lists of such."""

Event = Any
"""A parser event or its mark; the C and the Python parser have their own classes."""

MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_BYTES = 1_000_000

_INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("null", "Null", "NULL", "~"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Node:
    """A value and its place.

    Args:
        value: None, bool, int, float, str, a dict of nodes by key, or a list of nodes.
        where: Such as `pipelines/quickstart.yaml:12`; that of the key for a mapping's value.
    """

    value: Any
    where: str

    def plain(self) -> Plain:
        """The value alone, with plain dicts and lists inside."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def placed(self, where: str) -> Node:
        """The same value, told to be from elsewhere."""
        value = self.value
        if isinstance(value, dict):
            value = {key: node.placed(where) for key, node in value.items()}
        elif isinstance(value, list):
            value = [node.placed(where) for node in value]
        return Node(value, where)


def shorten(text: str) -> str:
    """At most 60 characters of a text, for a message."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def scalar(text: str) -> Plain:
    """What a plain scalar means.

    Raises:
        ValueError: Saying why it is refused, as the end of "`text` ...".
    """
    if text in _WORDS:
        return _WORDS[text]
    if text == "":
        raise ValueError("has no value; write null to mean none, or {} for a section's defaults")
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("is not finite, expected a finite number")
    if _INTEGER.fullmatch(text):
        if re.match(r"[-+]?0[0-9]", text):
            raise ValueError("starts with 0, which readers take for octal; drop it, or quote it")
        if len(text) > 100:
            raise ValueError("has more than 100 digits")
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError("is beyond the finite numbers")
        return number
    return text


def read_file(path: Path, name: str | None = None) -> Node:
    """The content of one YAML file.

    Args:
        path: The file.
        name: What messages call it; none takes the path.

    Raises:
        ConfigError: When it cannot be read, or is not strict YAML: with line and column.
    """
    name = name or str(path)
    if not path.is_file():
        raise ConfigError(f"{name}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name}: is larger than {MAX_BYTES} bytes, expected a YAML file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 text, see byte {error.start}") from None
    return read(text, name)


def read(text: str, name: str, *, lines: bool = True) -> Node:
    """The one document of a YAML text.

    Args:
        text: The YAML.
        name: What messages call it.
        lines: Whether places carry a line number.

    Raises:
        ConfigError: With line and column.
    """
    reader = _Reader(name, lines)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", column {mark.column + 1}" if mark and lines else ""
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{reader.where(mark)}{place}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    if reader.root is None:
        raise ConfigError(f"{name}: is empty")
    return reader.root


class _Open:
    """A mapping or list whose end was not reached yet."""

    def __init__(self, value: dict[str, Node] | list[Node], where: str, anchor: str | None) -> None:
        self.value = value
        self.where = where
        self.anchor = anchor
        self.key: tuple[str, str] | None = None
        self.size = 1
        self.depth = 1


class _Reader:
    """Builds nodes from parser events; a stack stands in for recursion."""

    def __init__(self, name: str, lines: bool) -> None:
        self.name = name
        self.lines = lines
        self.root: Node | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int, int]] = {}

    def where(self, mark: Event) -> str:
        return f"{self.name}:{mark.line + 1}" if self.lines and mark else self.name

    def take(self, event: Event) -> None:
        where = self.where(event.start_mark)
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise ConfigError(f"{where}: a second document starts here, expected one")
        if getattr(event, "tag", None):
            raise ConfigError(f"{where}: the tag {event.tag!r} is not read: a file is plain data")
        if isinstance(event, yaml.AliasEvent):
            self.alias(str(event.anchor), where)
        elif isinstance(event, yaml.ScalarEvent):
            self.scalar(event, where)
        elif isinstance(event, yaml.CollectionStartEvent):
            self.start(event, where)
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self.stack.pop()
            self.attach(Node(done.value, done.where), done.size, done.depth, done.anchor)

    def start(self, event: Event, where: str) -> None:
        if self.stack and self.needs_key():
            raise ConfigError(f"{where}: a mapping or list as a key, expected text")
        if len(self.stack) >= MAX_DEPTH:
            raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH} levels")
        mapping = isinstance(event, yaml.MappingStartEvent)
        self.stack.append(_Open({} if mapping else [], self.place(where), event.anchor))

    def needs_key(self) -> bool:
        return isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None

    def place(self, where: str) -> str:
        """A mapping's value is placed at its key."""
        return self.stack[-1].key[1] if self.stack and self.stack[-1].key else where

    def alias(self, anchor: str, where: str) -> None:
        if anchor not in self.anchors:
            raise ConfigError(f"{where}: alias *{anchor} has no complete anchor before it")
        if self.stack and self.needs_key():
            raise ConfigError(f"{where}: an alias as a key, expected text")
        node, size, depth = self.anchors[anchor]
        if len(self.stack) + depth > MAX_DEPTH:
            raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH} levels")
        self.attach(node, size, depth, None)

    def scalar(self, event: Event, where: str) -> None:
        text = event.value
        plain = event.style in (None, "")
        if "${" in text:
            raise ConfigError(f"{where}: {shorten(text)!r}: interpolation `${{...}}` is not read")
        try:
            value = scalar(text) if plain else text
        except ValueError as error:
            key = ".".join(open_.key[0] for open_ in self.stack if open_.key)
            subject = f"{key}: {shorten(text)}".strip() if key else shorten(text)
            raise ConfigError(f"{where}: {subject} {error}") from None
        if not (self.stack and self.needs_key()):
            self.attach(Node(value, self.place(where)), 1, 0, event.anchor)
            return
        if not isinstance(value, str):
            raise ConfigError(f"{where}: the key {shorten(text)} is no text; put it in quotes")
        if value == "<<" and plain:
            raise ConfigError(f"{where}: merge keys `<<` are not read; use `extends`")
        siblings = self.stack[-1].value
        assert isinstance(siblings, dict)
        if value in siblings:
            path = ".".join([o.key[0] for o in self.stack if o.key] + [value])
            first = siblings[value].where
            raise ConfigError(f"{where}: duplicate key {path}, already given at {first}")
        self.stack[-1].key = (value, where)

    def attach(self, node: Node, size: int, depth: int, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = (node, size, depth)
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.size += size
        top.depth = max(top.depth, depth + 1)
        if top.size > MAX_NODES:
            raise ConfigError(f"{top.where}: more than {MAX_NODES} values, aliases written out")
        if isinstance(top.value, list):
            top.value.append(node)
        else:
            assert top.key is not None
            top.value[top.key[0]] = node
            top.key = None


class _Dumper(yaml.SafeDumper):
    """Quotes every text that `scalar` would not give back as it is."""

    def ignore_aliases(self, data: Plain) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    try:
        same = scalar(text) == text and isinstance(scalar(text), str)
    except ValueError:
        same = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if same else "'")


_Dumper.add_representer(str, _represent_text)


def dump(plain: Plain) -> str:
    """YAML that `read` takes back to equal values."""
    text: str = yaml.dump(
        plain,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=None,
    )
    return text

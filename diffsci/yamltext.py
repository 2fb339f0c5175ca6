"""Strict YAML: text to plain values that remember where they were written.

A file is data only: no tags, no interpolation, no merge keys, bounded aliases and depth.
Plain scalars are read by the YAML 1.2 core schema (`on`, `3:20` and dates are text, `1e-3` is a
number); what YAML 1.1 and 1.2 read differently as numbers (`012`) is refused. PyYAML composes the
text into nodes with marks, once its events have shown that nothing in it is hostile.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from diffsci.errors import ConfigError

Plain = Any
"""None, bool, int, float, str, or dicts by str and lists of such."""

Mark = Any
"""A mark, event or node of the parser; the C and the Python parser have their own classes."""

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


def join(key: str, name: str) -> str:
    """A full key; the name may be empty, or that of an item of a list."""
    return f"{key}.{name}" if key and name and name[0] != "[" else key + name


@dataclass(frozen=True)
class Node:
    """A value, its full key, and the places of all keys of its tree.

    Args:
        value: None, bool, int, float, str, or dicts and lists of such.
        places: Full key -> such as `pipelines/quickstart.yaml:12`; the empty key is the whole tree.
        key: Such as `sample.sampler` or `evaluate.scores[0]`.
    """

    value: Plain
    places: Mapping[str, str]
    key: str = ""

    @property
    def where(self) -> str:
        """The place of the key, else of the nearest one above it."""
        key = self.key
        while key and key not in self.places:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self.places.get(key, "")

    def plain(self) -> Plain:
        """The value alone."""
        return self.value

    def child(self, name: str) -> Node:
        """What a mapping holds under a name; none where it has no such key."""
        return Node(self.value.get(name), self.places, join(self.key, name))

    def items(self) -> list[Node]:
        """What a list holds."""
        return [Node(v, self.places, f"{self.key}[{i}]") for i, v in enumerate(self.value)]

    def nearest(self, key: str) -> Node:
        """What lies at a dotted key below, as far as that exists."""
        node = self
        for part in key.split("."):
            found = isinstance(node.value, dict) and part in node.value
            node = node.child(part) if found else node
        return node


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
        reader.guard(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", column {mark.column + 1}" if mark and lines else ""
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{reader.where(mark)}{place}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    if root is None:
        raise ConfigError(f"{name}: is empty")
    value = reader.build(root, "", name, 0)
    return Node(value, reader.places)


class _Reader:
    """Guards a text, then builds plain values of its nodes and keeps their places."""

    def __init__(self, name: str, lines: bool) -> None:
        self.name = name
        self.lines = lines
        self.places: dict[str, str] = {}
        self.count = 0

    def where(self, mark: Mark) -> str:
        return f"{self.name}:{mark.line + 1}" if self.lines and mark else self.name

    def guard(self, text: str) -> None:
        """Refuse what composing would run into: deep nesting, circular aliases; and any tag."""
        inside: list[str | None] = []
        anchors: set[str | None] = set()
        documents = 0
        for event in yaml.parse(text, Loader=_Loader):
            where, anchor = self.where(event.start_mark), getattr(event, "anchor", None)
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise ConfigError(f"{where}: a second document starts here, expected one")
            if tag := getattr(event, "tag", None):
                raise ConfigError(f"{where}: the tag {tag!r} is not read: a file is plain data")
            if isinstance(event, yaml.AliasEvent) and anchor not in anchors:
                raise ConfigError(f"{where}: alias *{anchor} has no complete anchor before it")
            if isinstance(event, yaml.CollectionStartEvent):
                inside.append(anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                anchors.add(inside.pop())
            else:
                anchors.add(anchor)
            if len(inside) > MAX_DEPTH:
                raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH} levels")

    def build(self, node: Mark, key: str, where: str, depth: int) -> Plain:
        """The plain value of a node; a mapping's value is placed at its key."""
        self.places[key] = where
        self.count += 1
        if self.count > MAX_NODES:
            raise ConfigError(f"{where}: more than {MAX_NODES} values, aliases written out")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, key, where)
        if depth >= MAX_DEPTH:
            raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, yaml.SequenceNode):
            return [
                self.build(item, f"{key}[{number}]", self.where(item.start_mark), depth + 1)
                for number, item in enumerate(node.value)
            ]
        content: dict[str, Plain] = {}
        for label, item in node.value:
            at = self.where(label.start_mark)
            name = self.name_in(label, key, at)
            full = join(key, name)
            if name in content:
                raise ConfigError(
                    f"{at}: duplicate key {full}, already given at {self.places[full]}"
                )
            content[name] = self.build(item, full, at, depth + 1)
        return content

    def name_in(self, label: Mark, key: str, where: str) -> str:
        """The text of a mapping's key."""
        if not isinstance(label, yaml.ScalarNode):
            raise ConfigError(f"{where}: a mapping or list as a key, expected text")
        name = self.scalar(label, key, where)
        if not isinstance(name, str):
            text = f"the key {shorten(label.value)} is no text; put it in quotes"
            raise ConfigError(f"{where}: {text}")
        if name == "<<" and not label.style:
            raise ConfigError(f"{where}: merge keys `<<` are not read; use `extends`")
        return name

    def scalar(self, node: Mark, key: str, where: str) -> Plain:
        text = node.value
        if "${" in text:
            raise ConfigError(f"{where}: {shorten(text)!r}: interpolation `${{...}}` is not read")
        try:
            return text if node.style else scalar(text)
        except ValueError as error:
            subject = f"{key}: {shorten(text)}".strip() if key else shorten(text)
            # `{leads:2}` is a key `leads:2` without a value.
            glued = None if text else re.search(r"([^.:]+):([^:]+)$", key)
            hint = f" (or a space after the colon: `{glued[1]}: {glued[2]}`)" if glued else ""
            raise ConfigError(f"{where}: {subject} {error}{hint}") from None


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

"""From files and command line to one tree of keys.

`extends` lists files below this one, later files win, and this file wins over them all. A file in
`configs/<section>/` holds the keys of that section. Text in place of a section takes in
`configs/<section>/<text>.yaml`. Mappings are merged key by key and lists replaced whole; a family
member is merged while it stays the same member, and replaced whole when `use` changes or when it is
given by its bare name. `KEY=VALUE` on the command line wins over the files.

OmegaConf holds and merges the trees; this module is its one importer. Values are read by
`yamltext`, since OmegaConf reads YAML 1.1 (`012` is 10, `3:20` is 200, `on` is true), and checked
by `build`, since it converts in silence (`'1'` to 1, 7 to `'7'`) and loses the key in a tuple.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import get_args

from omegaconf import DictConfig, OmegaConf

from diffsci import build, families, sections, yamltext
from diffsci.errors import ConfigError
from diffsci.messages import fault, key_of, near_path, show
from diffsci.shipped import shipped_root as shipped_root
from diffsci.yamltext import Node, join

COMMAND_LINE = "command line"
_MAX_CHAIN = 64


def find(path: Path) -> Path:
    """The file itself, or the shipped one of that name; a message with near names if neither."""
    if path.is_dir() and (path / "config.yaml").is_file():
        return path / "config.yaml"
    if path.exists():
        return path
    if not path.is_absolute() and (shipped_root() / path).is_file():
        return shipped_root() / path
    raise ConfigError(f"{path}: no such file{near_path(path, '*.y*ml')}")


@cache
def _sections() -> dict[str, type]:
    """Section name -> its dataclass."""
    types = build.hints(sections.Pipeline)
    arms = {name: get_args(hint) or (hint,) for name, hint in types.items()}
    known = {name: arm[0] for name, arm in arms.items() if dataclasses.is_dataclass(arm[0])}
    return {name: each for name, each in known.items() if isinstance(each, type)}


@cache
def _family_keys() -> dict[str, str | None]:
    """Full key of each single family member of the sections -> its default member."""
    return {
        f"{name}.{field.name}": field.metadata["default"]
        for name, section in _sections().items()
        for field in dataclasses.fields(section)
        if "family" in field.metadata and not field.metadata.get("many")
    }


class Composer:
    """Reads files and overrides for one pipeline; a file that several others extend is read once.

    Args:
        roots: Folders whose `configs/` hold fragments, nearest first.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = roots
        self.done: dict[Path, Node] = {}
        self.chain: list[Path] = []

    def file(self, path: Path) -> Node:
        """The tree of a file, merged over the files it extends and with the fragments it names.

        Raises:
            ConfigError: When one of them cannot be read, or is in a circle.
        """
        here, name = path.resolve(), os.path.normpath(path)
        if here in self.done:
            return self.done[here]
        if here in self.chain:
            circle = [*self.chain[self.chain.index(here) :], here]
            names = " -> ".join(each.name for each in circle)
            raise ConfigError(f"{name}: extends itself: {names}")
        if len(self.chain) >= _MAX_CHAIN:
            raise ConfigError(f"{name}: more than {_MAX_CHAIN} files extend one another")
        self.chain.append(here)
        node, section = yamltext.read_file(path, name), _section_of(path)
        _check_mapping(node, section, name)
        below = Node({}, {"": name})
        for item in _extends(node.child("extends")):
            base = path.parent / item.value
            if not base.is_file():
                near = near_path(base, "*.y*ml")
                raise fault(item, f"got {item.value!r}, no such file{near}", key="extends")
            below = merge(below, self.file(base))
        own = Node({k: v for k, v in node.value.items() if k != "extends"}, node.places)
        if section:
            places = {join(section, key): where for key, where in node.places.items()}
            own = Node({section: own.value}, {"": name, **places})
        self.done[here] = merge(below, self.with_fragments(own))
        self.chain.pop()
        return self.done[here]

    def with_fragments(self, node: Node) -> Node:
        """The same with each section that is a text replaced by the fragment of that name."""
        value, places = dict(node.value), dict(node.places)
        for key in _sections():
            if isinstance(value.get(key), str):
                part = self.fragment(node.child(key))
                value[key] = part.value
                places |= {name: where for name, where in part.places.items() if name}
        return Node(value, places)

    def fragment(self, node: Node) -> Node:
        """The content of `configs/<section>/<text>.yaml` under the nearest root that has it."""
        section = node.key
        folders = [root / "configs" / section for root in self.roots]
        known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        if node.value not in known:
            listed = f"one of configs/{section}/: {', '.join(known)}" if known else "a mapping"
            near = families.did_you_mean(node.value, known)
            raise fault(node, f"got {node.value!r}, expected {listed}{near}")
        paths = (folder / f"{node.value}.yaml" for folder in folders)
        path = next(path for path in paths if path.is_file())
        relative = os.path.relpath(path)
        return self.file(path if relative.startswith("..") else Path(relative)).child(section)

    def overrides(self, texts: Sequence[str], written: Mapping[str, str] | None = None) -> Node:
        """The tree of all `KEY=VALUE` texts together.

        Args:
            texts: In order; the last of a key wins.
            written: Where keys are written that are not of the command line, but of a sweep.

        Raises:
            ConfigError: For what is no `KEY=VALUE`, and for one that would undo an earlier one.
        """
        tree = DictConfig({})
        places = {"": COMMAND_LINE}
        seen: dict[str, str] = {}
        for text in texts:
            key, equals, value = (part.strip() for part in text.partition("="))
            place = (written or {}).get(key, COMMAND_LINE)
            name = f"{place}: {key}"
            if not equals or not all(key.split(".")) or re.search(r"[\[\]\\]", key):
                wanted = "expected KEY=VALUE, such as train.steps=100"
                raise ConfigError(f"{place}: got {text!r}, {wanted}")
            if key.split(".")[0] == "extends":
                raise ConfigError(f"{name}: belongs in a file")
            undone = next((old for old in seen if old.startswith(f"{key}.")), None)
            if undone is not None:
                former = f"{text!r} would undo {seen[undone]!r}"
                raise ConfigError(f"{place}: {former}: put the former first")
            seen[key] = text
            if value == "":
                raise ConfigError(f"{name}: has no value; write null to mean none")
            read = yamltext.read(value, name, lines=False)
            keys = [*_make_way(tree, key), *(join(key, each) for each in read.places)]
            places |= dict.fromkeys(keys, place)
            if key in _sections() and isinstance(read.value, str):
                read = self.fragment(Node(read.value, places, key))
                places |= {**read.places, "": COMMAND_LINE}
            OmegaConf.update(tree, key, read.value, merge=False)
        return Node(OmegaConf.to_container(tree), places)


def _section_of(path: Path) -> str:
    """The section whose keys a file in `configs/<section>/` holds; else an empty text."""
    folder = Path(os.path.abspath(path)).parent
    return folder.name if folder.parent.name == "configs" and folder.name in _sections() else ""


def _check_mapping(node: Node, section: str, name: str) -> None:
    """Refuse a file that holds no keys."""
    if not isinstance(node.value, dict):
        keys = dataclasses.fields(_sections().get(section, sections.Pipeline))
        wanted = f"a mapping with keys such as {', '.join(key_of(field) for field in keys)}"
        raise ConfigError(f"{name}: holds {show(node.value)}, expected {wanted}")


def _extends(node: Node) -> list[Node]:
    """The items of `extends`: texts, one or a list."""
    items = node.items() if isinstance(node.value, list) else [node]
    for item in items:
        if not isinstance(item.value, str) and node.value is not None:
            text = f"got {show(item.value)}, expected a file or a list of files, relative to this"
            raise fault(item, text, key="extends")
    return [] if node.value is None else items


def merge(below: Node, above: Node) -> Node:
    """One tree over another: mappings key by key, everything else replaced whole.

    Args:
        below: What gives way.
        above: What wins.

    Raises:
        ConfigError: For a value `???`, which OmegaConf would take for a missing one.
    """
    old, new = DictConfig(below.value), DictConfig(above.value)
    for missing in sorted(OmegaConf.missing_keys(new)):
        raise fault(Node(None, above.places, missing), "got '???', expected a value")
    _give_way(old, new)
    places = {**below.places, **above.places} if above.value else below.places
    return Node(OmegaConf.to_container(OmegaConf.unsafe_merge(old, new)), places)


def _give_way(below: DictConfig, above: DictConfig, key: str = "") -> None:
    """Drop from `below` what is replaced whole, though OmegaConf would merge it or refuse to."""
    for name in [str(name) for name in above if name in below]:
        full, old, new = join(key, name), below[name], above[name]
        if full in _family_keys() and isinstance(old, str):
            old = below[name] = DictConfig({"use": old})
        whole = not (isinstance(old, DictConfig) and isinstance(new, DictConfig))
        if whole or new.get("use") not in (None, old.get("use", _family_keys().get(full))):
            del below[name]
        else:
            _give_way(old, new, full)


def _make_way(tree: DictConfig, key: str) -> list[str]:
    """All keys above one, made mappings; a family member's bare name becomes `use`."""
    above = [key[:at] for at, letter in enumerate(key) if letter == "."]
    for name in above:
        old = OmegaConf.select(tree, name)
        if not isinstance(old, DictConfig):
            made = {"use": old} if isinstance(old, str) else {}
            OmegaConf.update(tree, name, made, merge=False)
    return above

"""The points of a sweep: one pipeline file, several runs that differ in a few keys.

`sweep:` is either a mapping of full keys to lists of values, which gives every combination, or a
list of mappings, each with the keys of one point and, where wanted, its `name`:

    sweep: {train.lr: [1.0e-3, 3.0e-4], seed: [0, 1]}
    sweep:
      - {name: diffusion}
      - {name: crps, train.objective: crps, sample.sampler: null}
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from diffsci.errors import shown
from diffsci.messages import fault, show
from diffsci.yamltext import Node, Plain

_NAME = re.compile(r"[^\W_][\w.-]{0,59}")
MOST = 1000
"""Points of a sweep; more are a mistake in a list."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a sweep.

    Args:
        name: Of its folder within the sweep's.
        overrides: `KEY=VALUE` texts that make it differ.
        places: Where each of their keys is written, such as `pipelines/ks.yaml:12`.
    """

    name: str
    overrides: tuple[str, ...]
    places: Mapping[str, str] = field(default_factory=dict, compare=False)


def told(overrides: Iterable[str]) -> str:
    """What makes a point differ, as a pipeline file would have it: `seed=1 train.hours=null`."""
    pairs = (text.partition("=") for text in overrides)
    return " ".join(f"{key}={as_written(json.loads(value))}" for key, _, value in pairs)


def as_written(value: Plain) -> str:
    """One value, without the quotes of a whole text."""
    return value if isinstance(value, str) else shown(value)


def taken_out(tree: Node) -> tuple[Node, tuple[Point, ...]]:
    """The tree without `sweep`, and the points that it asks for; none where there is no such key.

    Raises:
        ConfigError: For a sweep that is none of the two forms, or two points of one name.
    """
    if not isinstance(tree.value, dict) or "sweep" not in tree.value:
        return tree, ()
    node = tree.child("sweep")
    rest = Node({k: v for k, v in tree.value.items() if k != "sweep"}, tree.places)
    if node.value is None:
        return rest, ()
    points = tuple(_product(node) if isinstance(node.value, dict) else _listed(node))
    names = [point.name for point in points]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise fault(node, f"two points are named {twice[0]!r}; give each a `name` of its own")
    return rest, points


def _product(node: Node) -> Iterator[Point]:
    """Every combination of the values, the last key fastest."""
    keys = list(node.value)
    for key in keys:
        child = Node(node.value[key], node.places, f"sweep.{key}")
        if not isinstance(child.value, list) or not child.value:
            raise fault(child, f"got {show(child.value)}, expected a list of values")
        _check_key(child, key)
    count = 1
    for key in keys:
        count *= len(node.value[key])
    if not keys or count > MOST:
        raise fault(node, f"makes {count if keys else 0} points, expected 1 to {MOST}")
    for values in itertools.product(*(node.value[key] for key in keys)):
        chosen = dict(zip(keys, values, strict=True))
        varied = {key: value for key, value in chosen.items() if len(node.value[key]) > 1}
        places = {key: Node(None, node.places, f"sweep.{key}").where for key in keys}
        yield Point(name=_name_of(varied or chosen), overrides=_texts(chosen), places=places)


def _listed(node: Node) -> Iterator[Point]:
    """Points one by one."""
    if not isinstance(node.value, list) or not 1 <= len(node.value) <= MOST:
        wanted = "a mapping of keys to lists of values, or a list of mappings"
        raise fault(node, f"got {show(node.value)}, expected {wanted}")
    for item in node.items():
        if not isinstance(item.value, dict):
            wanted = "a mapping such as {name: crps, train.objective: crps}"
            raise fault(item, f"got {show(item.value)}, expected {wanted}")
        chosen = {key: value for key, value in item.value.items() if key != "name"}
        for key in chosen:
            _check_key(item, key)
        name = item.value.get("name", _name_of(chosen) if chosen else None)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            wanted = "a name of up to 60 letters, digits, - _ and ., a letter or digit first"
            raise fault(item, f"got name {show(name)}, expected {wanted}")
        places = {key: item.child(key).where for key in chosen}
        yield Point(name=name, overrides=_texts(chosen), places=places)


def _check_key(node: Node, key: str) -> None:
    """Refuse what would not be a run of this sweep."""
    if key in ("name", "sweep", "extends"):
        raise fault(node, f"{key!r} cannot be varied")


def _texts(chosen: dict[str, Plain]) -> tuple[str, ...]:
    """As on the command line; JSON is YAML."""
    return tuple(f"{key}={json.dumps(value)}" for key, value in chosen.items())


def _name_of(chosen: dict[str, Plain]) -> str:
    """Such as `lr-0.001-seed-1`: readable, and fit for a folder."""
    parts = []
    for key, value in chosen.items():
        word = value["use"] if isinstance(value, dict) and "use" in value else value
        parts.append(f"{key.rsplit('.', 1)[-1]}-{word if isinstance(word, str) else _short(word)}")
    return re.sub(r"[^\w.-]+", "-", "-".join(parts)).strip("-")[:60] or "point"


def _short(value: Plain) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)

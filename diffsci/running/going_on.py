"""What may change between two calls of `run` on one folder without making another run of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffsci.running.changes import Change, changes, flatten
from diffsci.running.versions import versions

STAGES = ("train", "calibrate", "sample", "evaluate")

LEARNED = ("data", "model", "train", "seed")
"""Sections that a model is made from."""

FREE = ("train.checkpoint_every", "train.keep", "train.log_every", "train.spike")
"""What changes no bit of a model: what is kept and told on the way to it. It may always change.

`validate_every` is none of them, since the best validation and patience are counted in it, nor is
`on_bad`, which decides whether a step is made.
"""

LATER: Mapping[str, Mapping[str, Any]] = {
    "train": {"amplitude": 0.0, "scalar_noise": 0.0, "field_weights": None},
    "calibrate": {"every": 1},
    "sample": {"persistent_noise": 0.0},
}
"""Keys that runs were made without, and the values by which these are what they would be today."""

_FREE_SECTIONS = ("runtime", "tracking", "calibrate")
"""A calibration is one of them: what the model drew is kept beside what is made of it."""


def differences(record: Mapping[str, Any], plain: dict[str, Any]) -> list[Change]:
    """What makes something else of what was made or begun: of the pipeline, and of half-way code.

    Args:
        record: Of the run, which has made something.
        plain: The resolved pipeline of now.
    """
    free = list(_FREE_SECTIONS)
    for stage in (each for each in reversed(STAGES) if each not in _FREE_SECTIONS):
        # Scores are derived and quick: they may be made again, and so may what has not begun.
        if stage == "evaluate" or record["stages"].get(stage) is None:
            free.append(stage)
        else:
            break
    old, new = flatten(of_later(record.get("config", {}))), flatten(of_later(plain))
    found = [each for each in changes(old, new) if each.key.split(".")[0] not in free]
    return found + other_code(record)[0]


def other_code(record: Mapping[str, Any]) -> tuple[list[Change], list[Change]]:
    """What differs of the code since the last call: what is refused, and what is only told.

    Half a product by one diffsci and half by another would be what neither makes. Between two
    products, and of other packages, a warning will do.
    """
    known = record.get("versions")
    if not known:
        return [], []
    found = [replace(each, key=f"code.{each.key}") for each in changes(known, versions())]
    stages = [record["stages"].get(name, {}) for name in ("train", "sample")]
    if not any(stage and stage["status"] != "done" for stage in stages):
        return [], found
    ours = ("code.diffsci", "code.plugin ")
    refused = [each for each in found if each.key.startswith(ours)]
    return refused, [each for each in found if each not in refused]


def of_later(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded pipeline with the keys that came after it, as it was without them."""
    found = dict(plain)
    for name, keys in LATER.items():
        if found.get(name):
            found[name] = {**keys, **found[name]}
    return found


def of_before(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A pipeline as one of before had it: without those keys, where they ask for nothing."""
    found = dict(plain)
    for name, keys in LATER.items():
        if found.get(name):
            own = found[name].items()
            found[name] = {k: v for k, v in own if k not in keys or v != keys[k]}
    return found


def said_of(found: Sequence[Change]) -> list[str]:
    """What a call that goes on tells of changes: of those that somebody had to allow, a line each.

    Args:
        found: Changes that are accepted.
    """
    asked = [each for each in found if each.key not in FREE]
    return [f"going on with a change that was allowed: {each}" for each in asked]


def is_mended(before: Mapping[str, Any], plain: Mapping[str, Any]) -> bool:
    """Whether another model is asked for than by the call before."""
    before, plain = of_later(before), of_later(plain)
    return any(before.get(key) != plain.get(key) for key in LEARNED)

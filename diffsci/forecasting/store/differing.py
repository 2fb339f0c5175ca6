"""What a store was made from and what is asked for now: how they differ, in words and overrides."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from collections.abc import Sequence
from typing import Any

from diffsci import families
from diffsci.running.changes import SHOWN, Change

_LONGEST = 60
"""Characters of a value that a message shows."""

_DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{8}\b")

_KEYS = {
    "seed": "sample.seed",
    "compute_batch": "sample.compute_batch",
    "limit": "sample.limit",
    "persistent_noise": "sample.persistent_noise",
    "precision": "runtime.precision",
    "store.format": "sample.store.format",
    "store.precision": "sample.store.precision",
}
"""Keys of a ledger whose value an override takes as it is."""


def listed(found: Sequence[Change]) -> str:
    """The first of what differs, as `key: old -> new` with short values."""
    shown = [text for each in found for text in _told(each)]
    more = f"; and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return "; ".join(shown[:SHOWN]) + more


def overrides(found: Sequence[Change]) -> str:
    """What to give so that nothing of this differs, for a shell; empty where that is not enough."""
    texts = [_override(each) for each in found]
    return "" if None in texts else " ".join(shlex.quote(text) for text in texts if text)


def _told(change: Change) -> list[str]:
    old, new = _call(change.old), _call(change.new)
    if old is None or new is None or old[0] != new[0]:
        return [f"{change.key}: {_short(change.old)} -> {_short(change.new)}"]
    (_, before), (_, now) = old, new
    return [
        f"{change.key}.{key}: {_short(before.get(key))} -> {_short(now.get(key))}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def _short(value: object) -> str:
    text = _DIGEST.sub(r"\1", repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _override(change: Change) -> str | None:
    """Such as `sample.seed=1`; none where no single one does it."""
    if change.key in _KEYS:
        return f"{_KEYS[change.key]}={0 if change.old is None else change.old}"
    if change.key != "sampler":
        return None
    call = _call(change.old)
    word = "" if call is None else call[0].lower()
    if call is None or word not in families.names("samplers"):
        return None
    usual = {
        each.name: each.default for each in dataclasses.fields(families.load("samplers", word))
    }
    given = {key: value for key, value in call[1].items() if usual.get(key) != value}
    words = [f"use: {word}", *(f"{key}: {_yaml(value)}" for key, value in given.items())]
    return f"sample.sampler={{{', '.join(words)}}}"


def _yaml(value: object) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words.get(value, str(value)) if value is None or isinstance(value, bool) else str(value)


def _call(text: object) -> tuple[str, dict[str, Any]] | None:
    """Class and settings of the `repr` of a flat dataclass; none for all else."""
    try:
        body = ast.parse(str(text), mode="eval").body
        if not isinstance(body, ast.Call) or not isinstance(body.func, ast.Name):
            return None
        settings = {str(each.arg): ast.literal_eval(each.value) for each in body.keywords}
    except (SyntaxError, ValueError):
        return None
    return body.func.id, settings

"""Changes since a run began: one rule and one message, whatever has changed.

A folder's products are made from a config, data and code. Whoever finds one of them changed calls
`refuse_changes`: what `--allow KEY` names goes through and is recorded, the rest is an error that
lists old -> new. A key names itself and all below it: `train`, `train.lr`, `data`, `code`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffsci.errors import DiffsciError, StorageError, shown

_BY_NAME = ("field_weights", "accuracy")
"""Keys whose values are mappings by names of variables, which are no keys of a pipeline."""

_DIGEST = re.compile("[0-9a-f]{32,}")

SHOWN = 4
"""Changes that a message lists; the rest are counted."""


class ChangedError(StorageError):
    """What a folder's products were made from has changed since."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that is not as it was.

    Args:
        key: Dotted, as `--allow` takes it.
        old: As the products were made.
        new: As it is now.
    """

    key: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.old)} -> {_short(self.new)}"


def flatten(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `a.b.c: value`; one by names of the user's is a value."""
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict) and value and key not in _BY_NAME:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _short(value: object) -> str:
    """A value; of a digest, as many digits as tell it from another."""
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        value = value[:12]
    return shown(value)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What differs between two flat mappings, by key; a missing key counts as none."""
    return [
        Change(key=key, old=old.get(key), new=new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def names(allow: str, key: str) -> bool:
    """Whether a key of `--allow` names `key`, or a part of it where that is recorded whole."""
    return f"{key}.".startswith(f"{allow}.") or f"{allow}.".startswith(f"{key}.")


def refuse_changes(
    found: Sequence[Change],
    allow: Iterable[str],
    *,
    what: str,
    hint: str,
    kind: type[DiffsciError] = ChangedError,
) -> tuple[Change, ...]:
    """The changes that are allowed, when they are all.

    Args:
        found: The changes.
        allow: Keys or sections that may change.
        what: What is refused, as the beginning of the message.
        hint: What else can be done, as its last clause.
        kind: Of the error.

    Raises:
        ChangedError: Or of the `kind`, listing old -> new of each change that is not allowed.
    """
    allow = tuple(allow)
    refused = [each for each in found if not any(names(word, each.key) for word in allow)]
    if not refused:
        return tuple(found)
    listed = "; ".join(map(str, refused[:SHOWN]))
    more = f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
    keys = dict.fromkeys(_word(each.key) for each in refused)
    if len(keys) > SHOWN:
        keys = dict.fromkeys(key.split(".")[0] for key in keys)
    flags = " ".join(f"--allow {key}" for key in keys)
    raise kind(f"{what} ({listed}{more}); {hint}; or go on and have it recorded with {flags}")


def _word(key: str) -> str:
    """What to allow for a change: data and code are allowed whole."""
    return key.split(".")[0] if key.startswith(("data.content", "code.")) else key

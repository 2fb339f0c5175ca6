"""Fields of a section that hold members of a family: how a dataclass says so."""

from __future__ import annotations

from dataclasses import field
from typing import Any

Field = Any
"""What `dataclasses.field` gives: whatever the annotation of the field says."""


def member(family: str, default: str | None = None, *, optional: bool = False) -> Field:
    """A field that holds one member of `family`: in YAML a bare name, or a mapping with `use:`."""
    metadata = {"family": family, "default": default, "optional": optional}
    if default is None and not optional:
        return field(metadata=metadata)
    return field(default=None, metadata=metadata)


def members(family: str) -> Field:
    """A field that holds a tuple of members of `family`, an empty one where the key is left out."""
    return field(default=(), metadata={"family": family, "many": True})

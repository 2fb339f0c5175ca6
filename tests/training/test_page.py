"""docs/training.md: every key of the section is in it, with its default."""

import dataclasses
import re
from pathlib import Path

import pytest

from diffsci.sections import Train

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("field", dataclasses.fields(Train), ids=lambda field: field.name)
def test_every_key_is_explained(field):
    assert f"`{field.name.rstrip('_')}" in PAGE


def test_defaults_are_those_of_the_section():
    """Of the rows of the tables whose default is a number or a word."""
    told = re.findall(r"^\| `(\w+)` \| `?([\w.-]+)`? \|", PAGE, flags=re.MULTILINE)
    known = {f.name: f.default for f in dataclasses.fields(Train)}
    assert len(told) > 15
    for name, default in told:
        if default in ("required", "edm"):
            continue
        expected = known[name]
        words = {None: "none", False: "false"}
        if expected is None or isinstance(expected, bool | str):
            assert words.get(expected, expected) == default, name
        else:
            assert float(default) == expected, name

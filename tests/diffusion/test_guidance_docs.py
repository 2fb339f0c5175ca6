"""The page on guidance does what it says: its blocks run, and print what stands below them."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path

from diffsci.families import load, names
from tests.diffusion.samplers.variants import unchecked

PAGE = Path(__file__).parents[2] / "docs" / "guidance.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_blocks_print_what_the_page_shows():
    found, shown, variables = "", "", {}
    for language, text in re.findall(
        r"^```(python|text)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL
    ):
        if language == "text":
            shown += text
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, PAGE.name, "exec"), variables)
        found += printed.getvalue()
    assert found == shown != ""
    # The field with gaps, too, is one that guidance takes.
    gappy = variables["gappy"]
    assert (gappy.values[..., 30:] == 0).all() and (gappy.values[..., :30] != 0).any()


def test_every_operator_and_guidance_is_on_the_page_with_its_keys():
    for family in ("operators", "guidance"):
        for name in names(family):
            (row,) = re.findall(rf"^\| `{name}` \| .*\|$", TEXT, flags=re.MULTILINE)[:1]
            if family == "operators":
                for field in dataclasses.fields(load(family, name)):
                    assert f"`{field.name}`" in row, (name, field.name)


def test_the_table_is_as_the_benchmark_prints_it():
    """Two rows of it measured anew; the rest is the benchmark's, and its tests'."""
    from tests.diffusion.test_guidance_law import TABLE

    for of, method in (("seen", "posterior"), ("unseen", "sda, gamma = 1")):
        part = TEXT.split("correlation 0.8")[of == "unseen"]
        (row,) = re.findall(rf"^\| {method} \| (.*) \|$", part, flags=re.MULTILINE)
        told = [tuple(map(float, cell.split(", "))) for cell in row.split(" | ")]
        with unchecked():
            found = TABLE.row(method, 1.0, "ODE", of, steps=160)
        ratios = (found.mean_ratio, found.variance_ratio)
        assert all(abs(a - b) < 0.01 for a, b in zip(ratios, told[2], strict=True))

"""The page on exact laws does what it says: its blocks run, and print what stands below them."""

import contextlib
import io
import re
from pathlib import Path

from tests.diffusion.samplers.variants import unchecked

PAGE = Path(__file__).parents[2] / "docs" / "exact.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def test_the_blocks_print_what_the_page_shows():
    found, shown, names = [], [], {}
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "text":
            shown.append(text)
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), unchecked():
            exec(compile(text, PAGE.name, "exec"), names)
        if printed.getvalue():
            found.append(printed.getvalue())
    assert found == shown
    assert len(found) >= 5


def test_the_laws_of_the_page_exist():
    import diffsci.diffusion.exact as kit

    text = PAGE.read_text(encoding="utf-8")
    laws = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    assert len(laws) == 5
    assert set(laws) <= set(kit.__all__)

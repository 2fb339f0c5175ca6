"""Pages of the docs with parts that benchmarks write, between two comments."""

from __future__ import annotations

from pathlib import Path


def write_between(page: Path, name: str, lines: list[str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        SystemExit: Where the page lacks these comments.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = page.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{page}: expected the comments {begin} and {end} once each")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    middle = "\n".join(["", "", *lines, "", ""])
    page.write_text(before + begin + middle + end + after, encoding="utf-8")

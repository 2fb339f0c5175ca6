"""Page: what reports and comparisons share. One file, nothing fetched: it opens offline, for ever.

Everything that comes from data, config or file names is escaped; pictures are part of the page.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path

from diffsci import families
from diffsci.evaluation.rows import Row, conformal_level

CSS = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #5b6475; --line: #d9dee7; --paper: #fff;
  --wash: #f4f6fa; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9f0; --soft: #a2abbd; --line: #39414f;
  --paper: #161a22; --wash: #1f2530; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.4rem 0 .4rem; }
p, li { max-width: 75ch; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
main.wide { max-width: 1800px; }
.scroll { overflow-x: auto; max-width: 100%; }
.scroll th:first-child, .scroll td:first-child { position: sticky; left: 0; z-index: 1;
  background: var(--paper); }
table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .42rem .9rem .42rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; border-bottom-width: 2px; vertical-align: bottom; }
td.number, td .soft { white-space: nowrap; }
td.words { min-width: 15rem; }
td.best { font-weight: 700; }
td.best .value::after { content: " \\2605"; color: var(--accent); }
.interval { display: block; color: var(--soft); font-size: .85em; font-weight: 400; }
figure { margin: 1.2rem 0 1.8rem; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--line); padding: .5rem; }
figcaption { max-width: 85ch; margin-top: .35rem; }
.side { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.side figure { margin: 0; }
.side.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 540px), 1fr)); }
.side > * { min-width: 0; }
@media (max-width: 700px) { .scroll > img { max-width: none; width: 860px; }
  .scroll th:first-child, .scroll td:first-child { min-width: 6.5rem; max-width: 9rem;
    overflow-wrap: break-word;
    white-space: normal; padding-right: .6rem; border-right: 1px solid var(--line); }
  .scroll th:nth-child(2), .scroll td:nth-child(2) { padding-left: .6rem; }
  /* A verdict is a sentence: on a phone each has lines of its own, and nothing to scroll to. */
  table:has(td.words) thead { display: none; }
  table:has(td.words) tr { display: grid; grid-template-columns: auto 1fr;
    border-bottom: 1px solid var(--line); padding: .3rem 0; }
  .scroll table:has(td.words) td { border: 0; padding: .1rem .6rem .1rem 0; min-width: 0; }
  .scroll table:has(td.words) td:nth-child(n + 3) { grid-column: 1 / -1; }
  table:has(td.words) td.number::before { content: "difference "; color: var(--soft); } }
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre { background: var(--wash); padding: 1rem; border-radius: 6px; overflow-x: auto;
  font-size: .85rem; line-height: 1.45; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid var(--accent);
  outline-offset: 2px; }
.note { background: var(--wash); border-left: 4px solid var(--accent); padding: .6rem 1rem;
  margin: 1rem 0; }
"""


def page(title: str, body: Iterable[str], *, wide: bool = False) -> str:
    """A whole HTML document; a wide one takes more of a large screen, for many columns."""
    main = '<main class="wide">' if wide else "<main>"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n{main}\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; the cells of `lines` are finished HTML, those of `head` are text."""
    top = "".join(f'<th scope="col">{broken(cell)}</th>' for cell in head)
    rows = "\n".join(
        "<tr>"
        + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in line)
        + "</tr>"
        for line in lines
    )
    return (
        # Wide tables scroll on a phone, and by the keyboard only where they can be focused.
        '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>\n'
        f"<thead><tr>{top}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def is_wide(name: str) -> bool:
    """Whether a figure has many panels beside each other, which a narrow screen would make tiny."""
    return name.startswith(("sample_maps", "scores_by_lead", "members."))


def picture(path: Path, caption: str, alternative: str) -> str:
    """A PNG or GIF in the page, with a caption of finished HTML; wide ones scroll on a phone."""
    kind = path.suffix.removeprefix(".")
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    shown = f'<img src="data:image/{kind};base64,{data}" alt="{escape(alternative)}">'
    if is_wide(path.name):
        shown = (
            '<div class="scroll" tabindex="0" role="region" '
            f'aria-label="{escape(alternative)}">{shown}</div>'
        )
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def folded(title: str, content: str) -> str:
    """Content behind a line that opens it; works without a script."""
    return f"<details><summary>{escape(title)}</summary>\n{content}\n</details>"


def broken(name: str) -> str:
    """A name as HTML, which a narrow column breaks behind its underscores and dots alone."""
    return escape(name).replace("_", "_<wbr>").replace(".", ".<wbr>")


def coded(text: str) -> str:
    """A sentence as HTML, with `commands` between back ticks set as such."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def number(value: float) -> str:
    """Four significant digits, or a dash for what is undefined."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def value_cell(row: Row | None, best: bool) -> str:
    """The score with its interval."""
    if row is None:
        return '<td class="number">–</td>'
    text = f'<span class="value">{number(row.value)}</span>'
    if not math.isnan(row.low):
        text += f' <span class="interval">[{number(row.low)}, {number(row.high)}]</span>'
    return f'<td class="number{" best" if best else ""}">{text}</td>'


@cache
def goal_of(score: str) -> str:
    """Where the best value of a score lies, by its name."""
    if score in families.names("scores"):
        goal: str = getattr(families.load("scores", score), "goal", "0")
        return goal
    if (level := conformal_level(score)) is not None:
        return f"{level:g}"
    return "higher" if "_vs_" in score else "0"


def best_of(rows: Sequence[Row | None], goal: str) -> set[int]:
    """Places of the best values; empty where fewer than two are defined, or all are the same."""
    known = [
        (place, row.value) for place, row in enumerate(rows) if row and math.isfinite(row.value)
    ]
    if len(known) < 2:
        return set()
    if goal == "higher":
        cost = {place: -value for place, value in known}
    else:
        cost = {place: abs(value - float(goal)) for place, value in known}
    least = min(cost.values())
    if max(cost.values()) == least:
        return set()
    return {place for place, found in cost.items() if found == least}


def goal_words(goal: str) -> str:
    """How to read a value."""
    return "higher is better" if goal == "higher" else f"nearer to {goal} is better"


def facts(values: Mapping[str, object]) -> str:
    """A table of names and values; nested mappings become nested names."""
    if not values:
        return '<p class="soft">Nothing is told.</p>'
    lines = [(f"<b>{escape(name)}</b>", escape(text)) for name, text in flat(values)]
    return table(("", ""), lines)


def flat(values: Mapping[str, object], above: str = "") -> Iterable[tuple[str, str]]:
    """Names and values as text; nested mappings become nested names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name} ")
        elif isinstance(value, float):
            yield f"{above}{name}", f"{value:.4g}"
        elif isinstance(value, list | tuple):
            yield f"{above}{name}", ", ".join(str(item) for item in value)
        else:
            yield f"{above}{name}", "–" if value is None else str(value)

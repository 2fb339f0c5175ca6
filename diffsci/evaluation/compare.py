"""Compare: runs on one page; what differs in how they were made, and in what came out."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import xarray as xr

from diffsci.errors import ConfigError, StorageError
from diffsci.evaluation import unlike, verdicts
from diffsci.evaluation.cases_file import read_cases
from diffsci.evaluation.compared_curves import by_lead
from diffsci.evaluation.compared_run import Run, labels, read_run
from diffsci.evaluation.cost_and_skill import worth
from diffsci.evaluation.members import comparable
from diffsci.evaluation.page import (
    best_of,
    broken,
    coded,
    folded,
    goal_of,
    goal_words,
    is_wide,
    page,
    picture,
    table,
    value_cell,
)
from diffsci.evaluation.paired import Barred
from diffsci.evaluation.plots import NAMES
from diffsci.evaluation.terms import Terms, notes, refused, terms
from diffsci.files import write_text

log = logging.getLogger(__name__)


def compare(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page that lays the runs side by side, by default `compare.html` where one is.

    Raises:
        ConfigError: With fewer than two runs, or one that is given twice.
        StorageError: When a folder is no run with scores, naming it and what is missing.
    """
    if len(runs) < 2:
        raise ConfigError(f"compare: got {len(runs)} run, expected the folders of 2 or more")
    places = [Path(folder).resolve() for folder in runs]
    twice = next((run for at, run in enumerate(runs) if places[at] in places[:at]), None)
    if twice is not None:
        raise ConfigError(f"compare: {twice} is given twice; give each run once")
    out = Path("compare.html") if out is None else out
    _require_own(out)
    read = [read_run(Path(folder), label) for folder, label in zip(runs, labels(runs), strict=True)]
    title = "Comparison of " + ", ".join(run.label for run in read)
    found = terms(read)
    body = [f"<h1>{escape(title)}</h1>"]
    for what, each, advice in (*unlike.warnings(read), *notes(found)):
        advice = advice.rstrip(".")
        log.warning("%s %s. %s", what, each, advice)
        told = f"{coded(each)}. {coded(advice)}."
        body.append(f'<p class="note"><b>{escape(what)}</b> {told}</p>')
    body += _verdicts(found)
    body += _tables(found)
    body += ["<h2>What differs in the pipeline files</h2>", _differences(read)]
    units = {run.lead_unit for run in read if run.leads}
    if len(units) == 1:
        body += by_lead(found, units.pop())
    body += worth(found)
    body.append("<h2>Pictures</h2>")
    body.append(
        '<p class="soft">Each of the test cases of its own run: these differ, and so do the '
        "pictures, whatever the models.</p>"
        if unlike.tests_differ(read)
        else '<p class="soft">Of the same cases, and of the members of the same numbers: a '
        "difference between two of them is one of the models, not of what was drawn. Colours of "
        "the spread have a range of each run: read its bar.</p>"
    )
    body += _pictures(read)
    write_text(out, page(title, body, wide=True))
    return out


def _tables(found: Sequence[Terms]) -> Iterator[str]:
    """Values of the models, then those of each baseline, folded."""
    runs = [of.run for of in found]
    alike = not unlike.tests_differ(runs) and not unlike.leads_differ(runs)
    yield "<h2>Scores of the models</h2>"
    yield (
        f'<p class="soft">Over all leads and cases, with the {_confidence(runs)} interval of each '
        "run in brackets (<code>evaluate.confidence</code>). "
        + (
            "The best value of a line is bold and starred, where all compare: of as many "
            "members, or by a score that is fair, of two and more; where intervals overlap, the "
            "order may be chance.</p>"
            if alike
            else f"No value is starred: the {'test sets' if unlike.tests_differ(runs) else 'leads'}"
            " differ, and only the verdicts above are of what both runs have.</p>"
        )
    )
    yield _scores(found, "model", alike)
    for name in dict.fromkeys(row.forecast for run in runs for row in run.rows):
        if name != "model":
            yield folded(f"Scores of the baseline {name}", _scores(found, name, alike))


def _verdicts(found: Sequence[Terms]) -> Iterator[str]:
    """Each run against the first, on the cases that both have."""
    first = found[0]
    cases = {of.run.label: _cases(of) for of in found}
    units = {(row.variable, row.score): row.unit for of in found[::-1] for row in of.run.rows}
    barred = {of.run.label: _barred(first, of) for of in found[1:]}
    named = {key: word for key, word in units.items() if word != "1"}
    lead_unit = next((of.run.lead_unit for of in found if of.run.leads), "")
    yield from verdicts.judged(cases, lead_unit, named, barred)


def _barred(first: Terms, other: Terms) -> Barred:
    """What has no verdict, and why: at a lead, or of all leads and so at none."""
    found: dict[tuple[str, str, float | None], str] = {}
    for of in (first, other):
        for row in of.run.rows:
            if row.forecast == "model" and math.isnan(row.value):
                why = f"scores.csv of {of.run.label} has no value"
                found[row.variable, row.score, row.lead] = why
    for (variable, score), why in refused(first, other).items():
        found[variable, score, None] = why
    ours, theirs = first.run, other.run
    if ours.leads and theirs.leads and ours.lead_unit != theirs.lead_unit:
        units = (f"{run.label} has leads in {run.lead_unit or 'no unit'}" for run in (ours, theirs))
        why = ", ".join(units)
        found |= {(row.variable, row.score, None): why for row in theirs.rows}
    return found


def _cases(of: Terms) -> xr.Dataset | None:
    """Its `cases.nc`; those of earlier versions do not say how many members there were."""
    found = read_cases(of.run.folder)
    if found is None:
        return None
    if "members" not in found.coords:
        members = {row.forecast: row.members for row in of.run.rows}
        counts = [members.get(str(name), 1) for name in found["forecast"].values]
        found = found.assign_coords(members=("forecast", counts))
    return of.scaled(found)


def _require_own(out: Path) -> None:
    """Refuse to overwrite anything but an earlier comparison."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise StorageError(f"{out}: the page is HTML; give --out a name that ends in .html")
    if out.exists():
        head = out.read_bytes()[:2000] if out.is_file() else b""
        if b"<title>Comparison of " not in head:
            raise StorageError(
                f"{out}: exists and is no earlier comparison; choose another name with --out"
            )


def _confidence(runs: Sequence[Run]) -> str:
    """Of the runs' own intervals."""
    found = dict.fromkeys(run.config.get("evaluate.confidence", "0.9") for run in runs)
    return " or ".join(f"{100 * float(share):g} %" for share in found)


def _scores(found: Sequence[Terms], forecast: str, alike: bool) -> str:
    """One line a variable, score and its terms, one column a run; the best starred where alike."""
    lines = []
    wanted = dict.fromkeys(
        (row.variable, row.score, of.told(row.variable, row.score))
        for of in found
        for row in of.run.rows
        if row.forecast == forecast
    )
    # A line for each of its terms, the lines of one score below each other.
    order = {place[:2]: number for number, place in reversed(list(enumerate(wanted)))}
    for variable, score, told in sorted(wanted, key=lambda place: order[place[:2]]):
        rows = [
            of.run.find(forecast, variable, score) if of.told(variable, score) == told else None
            for of in found
        ]
        goal = goal_of(score)
        units = {row.unit for row in rows if row}
        best = best_of(rows, goal) if alike else set()
        like = comparable(score, (row.members for row in rows if row))
        hint = f'<span class="interval">{escape(told)}</span>' if told else ""
        lines.append(
            [
                broken(variable),
                f'<b>{broken(score)}</b>{hint} <span class="interval">{goal_words(goal)}</span>',
                escape(", ".join(sorted(units - {"1"}))),
                *(value_cell(row, like and at in best) for at, row in enumerate(rows)),
            ]
        )
    return table(["variable", "score", "unit", *(of.run.label for of in found)], lines)


def _differences(runs: Sequence[Run]) -> str:
    """Only the keys that are not the same everywhere."""
    keys = sorted({key for run in runs for key in run.config})
    lines = []
    for key in keys:
        values = [run.config.get(key) for run in runs]
        if any(other.startswith(f"{key}.") for other in keys):
            continue  # A section that some have: its keys are told.
        if len(set(values)) > 1:
            cells = ["–" if value is None else escape(_plain(value)) for value in values]
            lines.append([f"<code>{broken(key)}</code>", *cells])
    if not lines:
        return "<p>Nothing: the pipeline files are the same.</p>"
    return table(["key", *(run.label for run in runs)], lines)


def _plain(value: str) -> str:
    """A value of the file; a word without its quotes."""
    word = value[1:-1]
    is_word = value == f'"{word}"' and word not in ("", "null", "true", "false")
    return word if is_word else value


def _pictures(runs: Sequence[Run]) -> Iterator[str]:
    """Each figure of all runs side by side."""
    for name in NAMES:
        shown = [
            picture(run.folder / "figures" / name, escape(run.label), f"{name} of {run.label}")
            for run in runs
            if (run.folder / "figures" / name).is_file()
        ]
        if shown:
            yield f"<h3>{escape(Path(name).stem.replace('_', ' '))}</h3>"
            kind = "side wide" if is_wide(name) else "side"
            yield f'<div class="{kind}">{"".join(shown)}</div>'

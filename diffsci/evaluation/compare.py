"""Compare: runs on one page; what differs in how they were made, and in what came out."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import xarray as xr
import yaml
from matplotlib import rc_context

from diffsci.errors import ConfigError, StorageError
from diffsci.evaluation import canvas, paired, unlike
from diffsci.evaluation.cases_file import read_cases
from diffsci.evaluation.compared_run import Run
from diffsci.evaluation.cost_and_skill import worth
from diffsci.evaluation.curves import BY_LEAD
from diffsci.evaluation.members import comparable
from diffsci.evaluation.page import (
    best_of,
    broken,
    folded,
    goal_of,
    goal_words,
    is_wide,
    page,
    picture,
    table,
    value_cell,
)
from diffsci.evaluation.plots import NAMES
from diffsci.evaluation.rows import read_rows
from diffsci.files import write_text

log = logging.getLogger(__name__)

PARTS = ("scores.csv", "config.yaml", "run.json")
"""Files that make a folder a run that can be compared."""


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
    read = [_read(Path(folder), label) for folder, label in zip(runs, _labels(runs), strict=True)]
    title = "Comparison of " + ", ".join(run.label for run in read)
    differ, warnings = unlike.tests_differ(read), list(unlike.warnings(read))
    for what, each, advice in warnings:
        log.warning("%s %s. %s", what, each, advice)
    body = [f"<h1>{escape(title)}</h1>"]
    body += [
        f'<p class="note"><b>{escape(what)}</b> {escape(each)}. {escape(advice)}</p>'
        for what, each, advice in warnings
    ]
    body += _verdicts(read)
    body.append("<h2>Scores of the models</h2>")
    body.append(
        f'<p class="soft">Over all leads and cases, with the {_confidence(read)} interval of each '
        "run in brackets (<code>evaluate.confidence</code>). "
        + (
            "No value is starred: the test sets differ, and only the verdicts above are of the "
            "cases that both runs have.</p>"
            if differ
            else "The best value of a line is bold and starred, where all compare: of as many "
            "members, or by a score that is fair, of two and more; where intervals overlap, the "
            "order may be chance.</p>"
        )
    )
    body.append(_scores(read, "model", not differ))
    for name in dict.fromkeys(row.forecast for run in read for row in run.rows):
        if name != "model":
            body.append(folded(f"Scores of the baseline {name}", _scores(read, name, not differ)))
    body += ["<h2>What differs in the pipeline files</h2>", _differences(read), *_curves(read)]
    body += worth(read)
    body.append("<h2>Pictures</h2>")
    body.append(
        '<p class="soft">Each of the test cases of its own run: these differ, and so do the '
        "pictures, whatever the models.</p>"
        if differ
        else '<p class="soft">Of the same cases, and of the members of the same numbers: a '
        "difference between two of them is one of the models, not of what was drawn.</p>"
    )
    body += _pictures(read)
    write_text(out, page(title, body, wide=True))
    return out


def _verdicts(runs: Sequence[Run]) -> Iterator[str]:
    """Each run against the first, on the cases that both have."""
    units = {str(run.record.get("lead_unit", "")) for run in runs} - {"1"}
    cases = {run.label: _cases(run) for run in runs}
    of = {(row.variable, row.score): row.unit for run in runs for row in run.rows}
    named = {key: word for key, word in of.items() if word != "1"}
    yield from paired.judged(cases, ", ".join(sorted(units)), named)


def _cases(run: Run) -> xr.Dataset | None:
    """Its `cases.nc`; those of earlier versions do not say how many members there were."""
    found = read_cases(run.folder)
    if found is None or "members" in found.coords:
        return found
    members = {row.forecast: row.members for row in run.rows}
    counts = [members.get(str(name), 1) for name in found["forecast"].values]
    return found.assign_coords(members=("forecast", counts))


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


def _labels(runs: Sequence[Path]) -> list[str]:
    """The folder's name, with those above it where two are called the same."""
    resolved = [Path(folder).resolve() for folder in runs]
    depth = 1
    while True:
        labels = [str(Path(*path.parts[-depth:])) for path in resolved]
        if len(set(labels)) == len(labels) or depth > max(len(path.parts) for path in resolved):
            return labels
        depth += 1


def _read(folder: Path, label: str) -> Run:
    if not folder.is_dir():
        raise StorageError(f"{folder}: there is no such folder; give the folder of a run")
    missing = [name for name in PARTS if not (folder / name).is_file()]
    if (folder / "scores.csv").is_file() and not (folder / "run.json").is_file():
        raise StorageError(
            f"{folder}: is a folder of `diffsci score`, not a run, which has run.json; `diffsci "
            "score FORECAST --truth PATH --baseline OTHER` lays forecasts side by side"
        )
    if missing:
        raise StorageError(
            f"{folder}: not a run with scores, {', '.join(missing)} is missing; "
            "finish it with `diffsci run` on its pipeline file, with an `evaluate` section"
        )
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise StorageError(
            f"{folder}: config.yaml or run.json cannot be read ({str(error).splitlines()[0]})"
        ) from error
    return Run(
        label=label,
        folder=folder,
        rows=read_rows(folder / "scores.csv"),
        config=dict(_flat(config if isinstance(config, dict) else {})),
        record=record if isinstance(record, dict) else {},
    )


def _flat(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            # Members of a family by their words, so that only what differs of one is told.
            value = {_word(item, place): item for place, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value, default=str)


def _word(item: object, place: int) -> str:
    word = item.get("use") if isinstance(item, Mapping) else item
    return word if isinstance(word, str) else str(place)


def _confidence(runs: Sequence[Run]) -> str:
    """Of the runs' own intervals."""
    found = dict.fromkeys(run.config.get("evaluate.confidence", "0.9") for run in runs)
    return " or ".join(f"{100 * float(share):g} %" for share in found)


def _scores(runs: Sequence[Run], forecast: str, alike: bool) -> str:
    """One line a variable and score, one column a run; the best starred where cases are alike."""
    lines = []
    wanted = dict.fromkeys(
        (row.variable, row.score) for run in runs for row in run.rows if row.forecast == forecast
    )
    for variable, score in wanted:
        rows = [run.find(forecast, variable, score) for run in runs]
        goal = goal_of(score)
        best = best_of(rows, goal)
        units = {row.unit for row in rows if row}
        like = alike and comparable(score, (row.members for row in rows if row))
        lines.append(
            [
                broken(variable),
                f'<b>{broken(score)}</b> <span class="interval">{goal_words(goal)}</span>',
                escape(", ".join(sorted(units - {"1"}))),
                # Values in different units have no best, nor what more members make better.
                *(
                    value_cell(row, like and len(units) == 1 and at in best)
                    for at, row in enumerate(rows)
                ),
            ]
        )
    return table(["variable", "score", "unit", *(run.label for run in runs)], lines)


def _differences(runs: Sequence[Run]) -> str:
    """Only the keys that are not the same everywhere."""
    keys = sorted({key for run in runs for key in run.config})
    lines = []
    for key in keys:
        values = [run.config.get(key) for run in runs]
        if any(other.startswith(f"{key}.") for other in keys):
            continue  # A section that some have: its keys are told.
        if len(set(values)) > 1:
            cells = ["–" if value is None else escape(value) for value in values]
            lines.append([f"<code>{escape(key)}</code>", *cells])
    if not lines:
        return "<p>Nothing: the pipeline files are the same.</p>"
    return table(["key", *(run.label for run in runs)], lines)


def _curves(runs: Sequence[Run]) -> Iterator[str]:
    """Scores of all models against lead in one picture; nothing without leads."""
    rows = [row for run in runs for row in run.rows if row.forecast == "model"]
    rows = [row for row in rows if row.lead is not None and row.score in BY_LEAD]
    variables = list(dict.fromkeys(row.variable for row in rows))[:6]
    words = [word for word in BY_LEAD if any(row.score == word for row in rows)]
    leads = sorted({row.lead for row in rows if row.lead is not None})
    if len(leads) < 2:
        return
    units = {str(run.record.get("lead_unit", "")) for run in runs}
    lead_words = canvas.with_unit("lead", units.pop() if len(units) == 1 else "")
    with rc_context(canvas.STYLE), TemporaryDirectory() as folder:
        made = canvas.figure(3.9 * len(words), 2.9 * len(variables) + 0.5)
        panels = made.subplots(len(variables), len(words), squeeze=False)
        for variable, line in zip(variables, panels, strict=True):
            for word, axes in zip(words, line, strict=True):
                unit = ""
                for index, run in enumerate(runs):
                    asked = [run.find("model", variable, word, at) for at in leads]
                    found = [row for row in asked if row is not None]
                    lead = [float(row.lead or 0) for row in found]
                    unit = found[0].unit if found else unit
                    low, high = [row.low for row in found], [row.high for row in found]
                    shade = canvas.colour(index)
                    axes.fill_between(lead, low, high, color=shade, alpha=0.15, linewidth=0)
                    look = canvas.line(index, len(found))
                    axes.plot(lead, [row.value for row in found], label=run.label, **look)
                if goal_of(word) == "1":
                    axes.axhline(1, color=canvas.FAINT, linewidth=1, zorder=1)
                axes.set_title(variable.replace("_", " "), loc="left")
                axes.set_ylabel(canvas.with_unit(canvas.score_words(word), unit))
                axes.set_xlabel(lead_words)
                axes.grid(True)
        canvas.legend_below(made, panels[0, 0])
        path = canvas.save(made, Path(folder) / "scores_by_lead.png")
        caption = "Models of all runs; bands are the intervals of each run, not of differences."
        yield "<h2>Scores by lead</h2>"
        yield picture(path, caption, "scores by lead of all runs")


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

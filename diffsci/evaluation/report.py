"""Report: a run on one page, self-contained; the first thing a reader sees of a model.

It answers in this order: how good is it, against what, how sure is that; what does it look like;
how was it made. A number stands with its unit, its interval, its members and its cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from diffsci import families
from diffsci.evaluation.captions import CAPTIONS, CLIMATOLOGY
from diffsci.evaluation.members import starred
from diffsci.evaluation.page import (
    broken,
    facts,
    flat,
    folded,
    goal_of,
    goal_words,
    is_wide,
    page,
    picture,
    table,
    value_cell,
)
from diffsci.evaluation.rows import CONSTRAINT, Row, by_place, conformal_level
from diffsci.evaluation.scores.base import OfEvents, Score
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.threshold_crps import ThresholdCrps
from diffsci.evaluation.table import Scores
from diffsci.files import write_text
from diffsci.messages import counted

_NO_BREAK = "\u00a0"


def write_report(
    path: Path,
    *,
    title: str,
    summary: str,
    scores: Scores,
    figures: Mapping[str, Path],
    config: str,
    provenance: Mapping[str, Mapping[str, object]],
    lead_unit: str = "",
    cost: Mapping[str, object] | None = None,
) -> Path:
    """Write the page of a run.

    Args:
        path: The HTML file.
        title: Name of the run.
        summary: One paragraph: what was given, what was sampled, by which model, on which cases.
        scores: The table.
        figures: File name -> path of a PNG, in the order to show.
        config: The resolved pipeline file, YAML; empty where none was run, as of `diffsci score`.
        provenance: Heading -> name -> value: data licence and citation, versions, digests, seconds.
        lead_unit: Unit of the leads, such as `h`.
        cost: Name -> value: what the model's members took, for the foot of the first table.

    Returns:
        `path`.

    Raises:
        StorageError: When the page cannot be written.
    """
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(summary)}</p>", "<h2>Scores</h2>"]
    body += _scores(scores, lead_unit, cost or {}, bool(config))
    body.append("<h2>Figures</h2>")
    body += _figures(figures, scores)
    body.append("<h2>How it was made</h2>")
    body += [f"<h3>{escape(head)}</h3>\n{facts(values)}" for head, values in provenance.items()]
    if config:
        body.append(folded("Resolved pipeline file", f"<pre>{escape(config)}</pre>"))
    write_text(path, page(title, body))
    return path


def _figures(figures: Mapping[str, Path], scores: Scores) -> Iterator[str]:
    """The wide ones one below the other, then the rest side by side."""
    wide: list[str] = []
    narrow: list[str] = []
    for name, source in figures.items():
        words = Path(name).stem.replace("_", " ")
        variable = name.removeprefix("sample_maps_").removesuffix(".png")
        other = words if variable == Path(name).stem else f"Samples of {variable}"
        caption = CAPTIONS.get(name, f"<b>{escape(other)}.</b>")
        if name == "scores_by_lead.png" and "climatology" in scores.forecasts:
            caption += CLIMATOLOGY
        shown = picture(source, caption, words)
        (wide if is_wide(name) else narrow).append(shown)
    yield from wide
    if narrow:
        yield f'<div class="side">{"".join(narrow)}</div>'


def _meaning(word: str, scores: Scores) -> str:
    """What a score is; of cells that count alike nothing of their areas."""
    told = families.summary("scores", word)
    return told if scores.weighted else re.sub("[,;] area-weighted|area-weighted ", "", told)


def _scores(
    scores: Scores, lead_unit: str, cost: Mapping[str, object], is_run: bool
) -> Iterator[str]:
    """What the numbers are, the tables, the skill, and the leads folded away."""
    cases = scores.rows[0].count
    share = f"{100 * scores.confidence:g} %"
    of_run = " (<code>evaluate.confidence</code>)" if is_run else ""
    yield (
        f'<p class="soft">Over {cases} test cases'
        + (", area-weighted" if scores.weighted else ", all cells alike")
        + (" and over all leads" if scores.leads and len(scores.leads) > 1 else "")
        + f"; in brackets the {share} interval{of_run} of a bootstrap "
        f"over {_drawn(scores)}. The best value of a line is bold and starred, where another "
        "compares with it: one of as many members, or by a score that is fair, of two and more.</p>"
    )
    if "raw" in scores.forecasts:
        yield (
            '<p class="soft"><b>model</b> is the calibrated ensemble, <b>raw</b> what was sampled '
            "before (<code>calibrate</code>).</p>"
        )
    crps = scores.scores.get("crps")
    if isinstance(crps, Crps):
        yield f'<p class="soft">{_fairness(crps)}</p>'
    for variable in scores.variables:
        yield f"<h3>{escape(variable)}</h3>"
        # A member is of all variables: its cost is told once.
        yield _variable(scores, variable, None, cost if variable == scores.variables[0] else {})
    if intervals := _conformal(scores, None):
        yield "<h3>Calibrated intervals</h3>"
        yield intervals
        yield (
            '<p class="soft">Conformal intervals of single points, fitted on validation cases '
            "(<code>calibrate.levels</code>): covers is the share of the test truth that lies "
            "within, which should be near to what is promised; in brackets again the "
            f"{share} interval of the bootstrap.</p>"
        )
    if constraints := _constraints(scores, None):
        yield "<h3>Constraints</h3>"
        yield constraints
        yield (
            '<p class="soft">How far states are from what they are to meet '
            "(<code>sample.constraints</code>): the root mean square of what would have to be "
            "changed, in standard deviations of what is sampled; <b>model_free</b> are "
            f"{_free(scores)} drawn without constraints.</p>"
        )
    skill = [row for name in scores.forecasts[1:] for row in _skill(scores, name)]
    if skill:
        yield "<h3>Skill of the model against the baselines</h3>"
        yield table(
            ("variable", "skill", "value"),
            ((broken(row.variable), broken(row.score), value_cell(row, False)) for row in skill),
        )
        yield (
            '<p class="soft">1 - CRPS of the model / CRPS of the baseline, paired over the cases: '
            "1 is perfect, 0 no better than the baseline. An interval that excludes 0 is a "
            "difference beyond the chance of these cases.</p>"
        )
    yield from (f'<p class="soft">{escape(why)}.</p>' for why in scores.blank)
    words = "".join(
        f"<li><b>{escape(word)}</b>: {escape(_meaning(word, scores))}</li>"
        for word in scores.scores
    )
    yield folded("What each score means", f"<ul>{words}</ul>")
    if scores.leads and len(scores.leads) > 1:
        unit = "" if lead_unit in ("", "1") else f" {escape(lead_unit)}"
        content = "".join(
            f"<h3>{escape(variable)}, lead {lead:g}{unit}</h3>{_variable(scores, variable, lead)}"
            for variable in scores.variables
            for lead in scores.leads
        )
        for lead in scores.leads:
            if intervals := _conformal(scores, lead):
                content += f"<h3>Calibrated intervals, lead {lead:g}{unit}</h3>{intervals}"
            if constraints := _constraints(scores, lead):
                content += f"<h3>Constraints, lead {lead:g}{unit}</h3>{constraints}"
        yield folded("Scores of every lead", content)


def _conformal(scores: Scores, lead: float | None) -> str:
    """How often conformal intervals held the truth, and how wide they are; empty without any."""
    places = by_place(scores.rows)
    lines = []
    for row in scores.rows:
        level = conformal_level(row.score)
        if level is None or row.lead != lead:
            continue
        width = places.get((row.forecast, row.variable, f"{row.score}_width", lead))
        unit = "" if width is None or width.unit == "1" else width.unit
        promised = f'<td class="number">{100 * level:g} %</td>'
        cells = (broken(row.variable), promised, value_cell(row, False), value_cell(width, False))
        lines.append((*cells, escape(unit)))
    return table(("variable", "promised", "covers", "width", "unit"), lines) if lines else ""


def _constraints(scores: Scores, lead: float | None) -> str:
    """How far each forecast is from each constraint; empty without any."""
    rows = [row for row in scores.rows if row.score == CONSTRAINT and row.lead == lead]
    places, names = by_place(rows), tuple(dict.fromkeys(row.forecast for row in rows))
    lines = [
        (
            f"<b>{broken(word)}</b>",
            *(value_cell(places.get((name, word, CONSTRAINT, lead)), False) for name in names),
        )
        for word in dict.fromkeys(row.variable for row in rows)
    ]
    return table(("constraint", *names), lines) if lines else ""


def _free(scores: Scores) -> str:
    """How many states were drawn without constraints."""
    row = next(row for row in scores.rows if row.score == CONSTRAINT and row.forecast != "model")
    return counted(row.count, "case")


def _drawn(scores: Scores) -> str:
    """What the bootstrap draws."""
    least, most = scores.blocks
    if most == 1:
        return "the cases"
    size = f"{least} to {most}" if least < most else f"{most}"
    return f"blocks of {size} neighbouring cases, as long as each row's own values are alike"


def _fairness(crps: Crps) -> str:
    if crps.fair:
        return (
            "CRPS is the fair form, whose expectation does not depend on the number of members; "
            "for a forecast of one member it is the absolute error."
        )
    return (
        "CRPS is that of the ensemble's empirical distribution, which favours larger ensembles: "
        "compare only forecasts of equally many members."
    )


def _unit(scores: Scores, variable: str) -> str:
    """Of the values of a variable, as a score that has it says; empty where none does."""
    name = scores.forecasts[0]
    bearing = (word for word, score in scores.scores.items() if score.unit("?") == "?")
    found = {scores.row(name, variable, w).unit for w in bearing if not scores.scores[w].timed}
    return next(iter(found - {"1"}), "")


def _event(score: Score, unit: str) -> str:
    """Which values count, of a score of those beyond a threshold; empty for others."""
    if not isinstance(score, OfEvents):
        return ""
    side = "below" if isinstance(score, ThresholdCrps) and score.tail == "lower" else "above"
    if score.threshold is None:
        return f"{side} the {score.quantile:g} quantile of the training set"
    return f"{side} {score.threshold:g} {unit}".rstrip()


def _skill(scores: Scores, baseline: str) -> tuple[Row, ...]:
    if "crps" not in scores.scores or scores.forecasts[0] != "model":
        return ()
    return scores.skill(baseline)


def _variable(
    scores: Scores, variable: str, lead: float | None, cost: Mapping[str, object] | None = None
) -> str:
    """One line a score, one column a forecast; below, what the model's members took."""
    lines = []
    members = {}
    for word, score in scores.scores.items():
        if score.timed and lead is not None:
            continue  # A time is of all leads together.
        rows = [scores.row(name, variable, word, lead) for name in scores.forecasts]
        members = {row.forecast: row.members for row in rows}
        best = starred(rows, word, {"equitable": score.equitable})
        unit = "" if rows[0].unit == "1" else rows[0].unit
        cells = [value_cell(row, place in best) for place, row in enumerate(rows)]
        hint = f'<span class="soft">{goal_words(goal_of(word))}</span>'
        event = _event(score, _unit(scores, variable))
        name = f'<b>{broken(word)}</b> <span class="interval">{escape(event)}</span>'
        lines.append([name if event else f"<b>{broken(word)}</b>", escape(unit), *cells, hint])
    for name, text in flat(cost or {}):
        cells = [f'<td class="number">{escape(text if one == "model" else "–")}</td>'
                 for one in scores.forecasts]  # fmt: skip
        lines.append([escape(name), "", *cells, ""])
    # Heads break between name and count alone.
    head = [f"{n} ({counted(m, 'member').replace(' ', _NO_BREAK)})" for n, m in members.items()]
    return table(["score", "unit", *head, ""], lines)

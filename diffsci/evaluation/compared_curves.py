"""Scores against lead of several runs, in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes

from diffsci.evaluation import canvas
from diffsci.evaluation.curves import BY_LEAD
from diffsci.evaluation.page import goal_of, picture
from diffsci.evaluation.terms import Terms

_PANELS = 6


def by_lead(found: Sequence[Terms], lead_unit: str) -> Iterator[str]:
    """Scores of all models against lead, in HTML; nothing without leads."""
    rows = [row for of in found for row in of.run.rows if row.forecast == "model"]
    rows = [
        row
        for row in rows
        if row.lead is not None and row.score in BY_LEAD and np.isfinite(row.value)
    ]
    variables = list(dict.fromkeys(row.variable for row in rows))[:_PANELS]
    words = [word for word in BY_LEAD if any(row.score == word for row in rows)]
    if len({row.lead for row in rows}) < 2:
        return
    with rc_context(canvas.STYLE), TemporaryDirectory() as folder:
        made = canvas.figure(3.9 * len(words), 2.9 * len(variables) + 0.5)
        panels = made.subplots(len(variables), len(words), squeeze=False)
        for variable, line in zip(variables, panels, strict=True):
            for word, axes in zip(words, line, strict=True):
                unit = _panel(axes, found, variable, word)
                axes.set_title(variable.replace("_", " "), loc="left")
                axes.set_ylabel(canvas.with_unit(canvas.score_words(word), unit))
                axes.set_xlabel(canvas.with_unit("lead", lead_unit))
                axes.grid(True)
        canvas.legend_below(made, *panels.flat)
        path = canvas.save(made, Path(folder) / "scores_by_lead.png")
        caption = (
            "Models of all runs; bands are the intervals of each run, not of differences. "
            "A run whose score does not compare with that of the first is left out of its panel."
        )
        yield "<h2>Scores by lead</h2>"
        yield picture(path, caption, "scores by lead of all runs")


def _panel(axes: Axes, found: Sequence[Terms], variable: str, word: str) -> str:
    """Lines of the runs that compare with the first that has the score; their unit."""
    unit, terms = "", None
    leads: list[float] = []
    for index, of in enumerate(found):
        rows = [row for row in of.run.model_rows(variable, word) if row.lead is not None]
        if not rows or (terms is not None and terms != of.told(variable, word)):
            continue
        unit, terms = rows[0].unit, of.told(variable, word)
        lead = [float(row.lead or 0) for row in rows]
        leads += lead
        low, high = [row.low for row in rows], [row.high for row in rows]
        axes.fill_between(lead, low, high, color=canvas.colour(index), alpha=0.15, linewidth=0)
        look = canvas.line(index, len(rows))
        axes.plot(lead, [row.value for row in rows], label=of.run.label, **look)
    canvas.ticks_at(axes, leads)
    if goal_of(word) == "1":
        axes.axhline(1, color=canvas.FAINT, linewidth=1, zorder=1)
    return unit

"""Cost against skill: what each run asks for, and what it gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib import rc_context

from diffsci.evaluation import canvas
from diffsci.evaluation.compared_run import Run
from diffsci.evaluation.page import picture
from diffsci.evaluation.terms import Terms

_WORDS = ("crps", "rmse")
_PANELS = 4


def worth(found: Sequence[Terms]) -> Iterator[str]:
    """A picture of the score against the time of a member, in HTML; nothing for a single point."""
    runs = [of.run for of in found]
    costs = [run.milliseconds() for run in runs]
    word = next((w for w in _WORDS if all(_variables(run, w) for run in runs)), None)
    if word is None or sum(cost is not None for cost in costs) < 2:
        return
    named = (variable for run in runs for variable in _variables(run, word))
    variables = list(dict.fromkeys(named))[:_PANELS]
    with rc_context(canvas.STYLE), TemporaryDirectory() as folder:
        made = canvas.figure(max(5.0, 3.9 * len(variables)), 3.4)
        panels = made.subplots(1, len(variables), squeeze=False)[0]
        for variable, axes in zip(variables, panels, strict=True):
            unit, terms = "", None
            for index, (of, cost) in enumerate(zip(found, costs, strict=True)):
                row = of.run.find("model", variable, word)
                if row is None or cost is None or not math.isfinite(row.value):
                    continue
                if terms is not None and terms != of.told(variable, word):
                    continue  # In another unit, or another score.
                unit, terms = row.unit, of.told(variable, word)
                look = canvas.line(index, 1) | {"linestyle": "none", "markersize": 7}
                ends = [[max(0.0, row.value - row.low)], [max(0.0, row.high - row.value)]]
                name = of.run.called()
                axes.errorbar([cost], [row.value], yerr=ends, label=name, capsize=3, **look)
            axes.set_xscale("log")
            canvas.plain_ticks(axes)
            axes.set_title(variable.replace("_", " "), loc="left")
            axes.set_xlabel("milliseconds of a member at a lead")
            axes.set_ylabel(canvas.with_unit(canvas.score_words(word), unit))
            axes.grid(True)
        canvas.legend_below(made, *panels)
        path = canvas.save(made, Path(folder) / "cost_and_skill.png")
        yield "<h2>Cost and skill</h2>"
        yield picture(
            path,
            "Sampling time as it was measured in each run, whatever else the machine was doing; "
            "in brackets the network calls of a member, which do not depend on that; "
            "bars are the intervals of each run. What lies lower and further left is worth more.",
            "score of each run against the time of a member",
        )


def _variables(run: Run, word: str) -> list[str]:
    """Of which the model has the score."""
    return [
        row.variable
        for row in run.rows
        if (row.forecast, row.score) == ("model", word) and row.lead is None
    ]

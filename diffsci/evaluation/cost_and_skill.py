"""Cost against skill: what each run asks for, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib import rc_context

from diffsci.evaluation import canvas
from diffsci.evaluation.compared_run import Run
from diffsci.evaluation.page import picture

_WORDS = ("crps", "rmse")
_PANELS = 4


def worth(runs: Sequence[Run]) -> Iterator[str]:
    """A picture of the score against the time of a member, in HTML; nothing for a single point."""
    word = next((w for w in _WORDS if all(any(_is(r, w) for r in run.rows) for run in runs)), None)
    costs = [run.milliseconds() for run in runs]
    if word is None or sum(cost is not None for cost in costs) < 2:
        return
    named = (row.variable for run in runs for row in run.rows if _is(row, word))
    variables = list(dict.fromkeys(named))[:_PANELS]
    with rc_context(canvas.STYLE), TemporaryDirectory() as folder:
        made = canvas.figure(max(5.0, 3.9 * len(variables)), 3.4)
        panels = made.subplots(1, len(variables), squeeze=False)[0]
        for variable, axes in zip(variables, panels, strict=True):
            unit = ""
            for index, (run, cost) in enumerate(zip(runs, costs, strict=True)):
                row = run.find("model", variable, word)
                if row is None or cost is None:
                    continue
                unit = row.unit
                look = canvas.line(index, 1) | {"linestyle": "none", "markersize": 7}
                ends = [[max(0.0, row.value - row.low)], [max(0.0, row.high - row.value)]]
                axes.errorbar([cost], [row.value], yerr=ends, label=run.called(), capsize=3, **look)
            axes.set_xscale("log")
            canvas.plain_ticks(axes)
            axes.set_title(variable.replace("_", " "), loc="left")
            axes.set_xlabel("milliseconds of a member at a lead")
            axes.set_ylabel(canvas.with_unit(canvas.score_words(word), unit))
            axes.grid(True)
        canvas.legend_below(made, panels[0])
        path = canvas.save(made, Path(folder) / "cost_and_skill.png")
        yield "<h2>Cost and skill</h2>"
        yield picture(
            path,
            "Sampling time as it was measured in each run, whatever else the machine was doing; "
            "in brackets the network calls of a member, which do not depend on that; "
            "bars are the intervals of each run. What lies lower and further left is worth more.",
            "score of each run against the time of a member",
        )


def _is(row: object, word: str) -> bool:
    return (getattr(row, "forecast", ""), getattr(row, "score", "")) == ("model", word)

"""Figures of a part of the cases: by a parameter of theirs, or by what was said of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from diffsci.evaluation.canvas import (
    FAINT,
    colour,
    figure,
    legend_below,
    line,
    score_words,
    with_unit,
)
from diffsci.evaluation.scores.reliability import pooled
from diffsci.evaluation.table import Scores

_PANELS, _GROUPS = 4, 6
"""Most panels of a figure, and groups along an axis."""

_FEWEST = 3
"""Cases of a group."""


def scores_by_parameter(scores: Scores, parameters: Mapping[str, np.ndarray]) -> Figure | None:
    """The first score of every forecast by the value of each parameter; none where none varies.

    Args:
        scores: The table.
        parameters: Name -> value of each case.
    """
    word = next(iter(scores.scores))
    measure, variable = scores.scores[word], scores.variables[0]
    cases = scores.bootstrap.cases
    # Of thinned results some cases alone are known by their parameters.
    known = {name: values for name, values in parameters.items() if len(values) == cases}
    grouped = {name: groups(values) for name, values in known.items()}
    grouped = {name: found for name, found in grouped.items() if len(found) > 1}
    if not grouped or measure.goal == "1":
        return None
    names = list(grouped)[:_PANELS]
    made = figure(max(5.4, 3.6 * len(names)), 3.2)
    panels = made.subplots(1, len(names), squeeze=False, sharey=True)[0]
    unit = scores.row("model", variable, word).unit
    for name, axes in zip(names, panels, strict=True):
        places = [float(np.mean(parameters[name][rows])) for rows in grouped[name]]
        for index, forecast in enumerate(scores.forecasts):
            by_case = scores.statistics[forecast, variable, word].mean(axis=0)
            found = [float(measure.value(by_case[rows].mean(axis=0))) for rows in grouped[name]]
            axes.plot(places, found, label=forecast, **line(index, len(places)))
            if index == 0:
                ends = [_interval(by_case[rows], scores, word) for rows in grouped[name]]
                low, high = zip(*ends, strict=True)
                axes.fill_between(places, low, high, color=colour(0), alpha=0.15, linewidth=0)
        axes.set_xlabel(name.replace("_", " "))
        axes.set_ylim(bottom=0)
        axes.grid(True)
    panels[0].set_ylabel(with_unit(f"{score_words(word)} of {variable}", unit))
    legend_below(made, panels[0])
    return made


def groups(values: np.ndarray) -> list[np.ndarray]:
    """Cases of each group by rising value: single values where they are few, else of one size."""
    found = np.unique(values)
    if len(found) <= _GROUPS:
        parts = [np.flatnonzero(values == value) for value in found]
        return [part for part in parts if len(part) >= _FEWEST]
    count = min(_GROUPS, len(values) // _FEWEST)
    return [] if count < 2 else np.array_split(np.argsort(values, kind="stable"), count)


def _interval(by_case: np.ndarray, scores: Scores, word: str) -> tuple[float, float]:
    """Of a few cases: resampled by themselves, always by the same numbers."""
    drawn = np.random.default_rng(0).integers(len(by_case), size=(200, len(by_case)))
    found = scores.scores[word].value(by_case[drawn].mean(axis=1))
    tail = (1 - scores.confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def reliability(scores: Scores) -> Figure | None:
    """How often what was said to have a probability came true; none where it was not scored."""
    names = [
        name
        for name in scores.forecasts
        if (name, scores.variables[0], "reliability") in scores.statistics
    ]
    if not names:
        return None
    count = min(len(scores.variables), _PANELS)
    made = figure(max(5.0, 3.6 * count), 3.8)
    panels = made.subplots(1, count, squeeze=False)[0]
    for variable, axes in zip(scores.variables, panels, strict=False):
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--", zorder=1)
        for index, name in enumerate(names):
            share, events = np.split(scores.means(name, variable, "reliability"), 2)
            said = np.linspace(0, 1, len(share))
            seen = share > 0
            with np.errstate(divide="ignore", invalid="ignore"):
                frequency = np.where(seen, events / share, 0.0)
            came = pooled(frequency, share)
            if seen.sum() > 1:
                axes.plot(said[seen], came[seen], label=name, **line(index, int(seen.sum())))
            if index == 0:
                # Where little was said, little is known: how often stands at the bottom.
                axes.bar(
                    said, 0.25 * share / share.max(), width=0.6 / len(said), color=FAINT, alpha=0.4
                )
        axes.set_title(variable.replace("_", " "), loc="left")
        axes.set_xlabel("probability that was said")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.grid(True)
    panels[0].set_ylabel("frequency with which it came true")
    legend_below(made, panels[0])
    return made

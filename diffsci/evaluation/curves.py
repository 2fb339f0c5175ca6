"""Curves: what the table says, drawn; each panel can be read without the others."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffsci.evaluation import masking
from diffsci.evaluation.canvas import (
    FAINT,
    TRUTH,
    Results,
    colour,
    figure,
    legend_below,
    line,
    plain_ticks,
    score_words,
    ticks_at,
    with_unit,
)
from diffsci.evaluation.scores.base import Pairs, Score
from diffsci.evaluation.scores.rank_histogram import RankHistogram
from diffsci.evaluation.scores.spectrum import Spectrum
from diffsci.evaluation.table import Scores
from diffsci.families import name_of

BY_LEAD = ("crps", "rmse", "spread_skill")
_RATIO = 1000.0
"""Of powers: what is further from the truth leaves the panel."""

_SHOWN = 6
"""Channels drawn in one figure; the rest is in the table."""


def _means(score: Score, results: Results, scores: Scores, name: str, channel: int) -> np.ndarray:
    """Statistics of a score, averaged over cases and leads: the table's, else made now."""
    key = (name, results.channels[channel].name, name_of(score))
    if key in scores.statistics:
        return scores.means(*key)
    found = []
    for lead in range(results.truth.shape[1]):
        pairs = Pairs(
            members=results.forecasts[name][:, :, lead, channel].astype(np.float64),
            truth=results.truth[:, lead, channel].astype(np.float64),
            weights=results.grid.cell_weights,
            periodic=tuple(sides[0] == "periodic" for sides in results.grid.boundary),
        )
        found.append(masking.statistics(score, pairs).mean(axis=0))
    return np.asarray(np.mean(found, axis=0))


def _lacking(word: str, results: Results, scores: Scores) -> bool:
    """Whether neither the table has a score, nor the values that are here are all of them."""
    return results.thinned and word not in scores.scores


def _panels(results: Results, rows: int, height: float) -> tuple[Figure, np.ndarray]:
    """A figure with one column of panels per channel."""
    count = min(len(results.channels), _SHOWN)
    made = figure(max(5.4, 3.9 * count), height)
    ratios = [1.0] if rows == 1 else [2.0, 1.0]
    return made, made.subplots(rows, count, squeeze=False, sharex="col", height_ratios=ratios)


def scores_by_lead(results: Results, scores: Scores) -> Figure | None:
    """Scores of every forecast against lead, with interval bands; none without several leads."""
    # What no forecast has, as spread where all have a single member, would be an empty panel.
    known = {row.score for row in scores.rows if np.isfinite(row.value)}
    words = [word for word in BY_LEAD if word in known]
    if scores.leads is None or len(scores.leads) < 2 or not words:
        return None
    variables = scores.variables[:_SHOWN]
    made = figure(3.9 * len(words), 2.9 * len(variables) + 0.5)
    panels = made.subplots(len(variables), len(words), squeeze=False, sharex=True)
    for place, (variable, row) in enumerate(zip(variables, panels, strict=True), start=1):
        for word, axes in zip(words, row, strict=True):
            unit = _by_lead(axes, scores, variable, word)
            axes.set_ylabel(with_unit(score_words(word), unit))
            axes.set_title(variable.replace("_", " "), loc="left")
            axes.grid(True)
            if place == len(variables):
                axes.set_xlabel(with_unit("lead", results.lead_unit))
    legend_below(made, panels[0, 0])
    return made


def _by_lead(axes: Axes, scores: Scores, variable: str, word: str) -> str:
    """Lines of one score of one variable; its unit."""
    unit = ""
    for index, name in enumerate(scores.forecasts):
        rows = [scores.row(name, variable, word, lead) for lead in scores.leads or ()]
        unit = rows[0].unit
        lead = [float(row.lead or 0) for row in rows]
        axes.fill_between(
            lead,
            [row.low for row in rows],
            [row.high for row in rows],
            color=colour(index),
            alpha=0.15,
            linewidth=0,
        )
        axes.plot(lead, [row.value for row in rows], label=name, **line(index, len(rows)))
    ticks_at(axes, scores.leads or ())
    if scores.scores[word].goal == "1":
        axes.axhline(1, color=FAINT, linewidth=1, zorder=1)
    else:
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    return unit


def rank_histogram(results: Results, scores: Scores) -> Figure | None:
    """Rank histograms as densities, so that ensembles of different size compare; 1 is reliable."""
    names = [name for name, values in results.forecasts.items() if values.shape[1] > 1]
    if not names or _lacking("rank_histogram", results, scores):
        return None
    made, panels = _panels(results, 1, 3.4)
    for channel, axes in enumerate(panels[0]):
        for index, name in enumerate(results.forecasts):
            if name not in names:
                continue
            share = _means(RankHistogram(), results, scores, name, channel)
            edge = np.linspace(0, 1, len(share) + 1)
            density = share * len(share)
            axes.stairs(
                density,
                edge,
                fill=index == 0,
                color=colour(index),
                alpha=0.75 if index == 0 else 1,
                linewidth=1.6,
                label=f"{name} ({len(share) - 1} members)",
            )
        axes.axhline(1, color=TRUTH, linewidth=1, linestyle="--", label="reliable")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("rank of the truth among the members\n(0 below all, 1 above all)")
        axes.set_title(results.channels[channel].name.replace("_", " "), loc="left")
    panels[0, 0].set_ylabel("density (1 = flat)")
    legend_below(made, panels[0, 0])
    return made


def spectra(results: Results, scores: Scores) -> Figure | None:
    """Mean power of members and truth by scale, and their ratio below."""
    if max(results.grid.sizes) < 4 or _lacking("spectrum", results, scores):
        return None
    made, panels = _panels(results, 2, 4.6)
    for channel, (above, below) in enumerate(panels.T):
        for index, name in enumerate(results.forecasts):
            means = _means(Spectrum(), results, scores, name, channel)
            members, truth = np.split(means, 2)
            # Scales below rounding, as beyond a solver's cut, would stretch the axis for nothing.
            seen = truth > truth.max() * 1e-14
            waves = np.arange(1, len(truth) + 1)[seen]
            if index == 0:
                above.plot(waves, truth[seen], color=TRUTH, linewidth=2.6, label="truth", zorder=2)
            above.plot(waves, members[seen], label=name, **line(index, len(waves)))
            below.plot(waves, members[seen] / truth[seen], **line(index, len(waves)))
            floor = truth[seen].min() / 100
        unit = results.channels[channel].unit
        plain = f"({unit}²)" if unit.isalpha() else f"(({unit})²)"
        squared = "power" if unit in ("", "1") else f"power {plain}"
        above.set(xscale="log", yscale="log", ylabel=squared if channel == 0 else "")
        above.set_title(results.channels[channel].name.replace("_", " "), loc="left")
        # Nor those that a coarse solver does not have at all.
        above.set_ylim(bottom=max(above.get_ylim()[0], floor))
        below.axhline(1, color=TRUTH, linewidth=1)
        below.set(xlabel="wavenumber (waves across the longest side)")
        below.set_ylabel("members / truth" if channel == 0 else "")
        if below.get_ylim()[0] < 0.3 or below.get_ylim()[1] > 3:
            below.set_yscale("log")
            low, high = below.get_ylim()
            below.set_ylim(max(low, 1 / _RATIO), min(high, _RATIO))
        plain_ticks(above)
        plain_ticks(below)
        above.grid(True)
        below.grid(True)
    legend_below(made, panels[0, 0])
    return made


def member_spread(results: Results) -> Figure | None:
    """Error of the ensemble mean where the spread is small ... large, against that spread."""
    names = [name for name, values in results.forecasts.items() if values.shape[1] > 1]
    if not names:
        return None
    # Square panels: beside each other they are as high as each is wide.
    made, panels = _panels(results, 1, 4.2 if len(results.channels) == 1 else 4.7)
    for channel, axes in enumerate(panels[0]):
        top = 0.0
        for index, name in enumerate(results.forecasts):
            if name not in names:
                continue
            spread, error = _binned(results, name, channel)
            axes.plot(spread, error, label=name, **line(index, len(spread)))
            top = max(top, float(spread.max()), float(error.max()))
        axes.plot(
            [0, top * 1.05], [0, top * 1.05], "--", color=TRUTH, linewidth=1, label="reliable"
        )
        unit = results.channels[channel].unit
        axes.set_xlabel(with_unit("spread of the members", unit))
        axes.set_ylabel(with_unit("error of the ensemble mean", unit) if channel == 0 else "")
        axes.set_title(results.channels[channel].name.replace("_", " "), loc="left")
        axes.set(xlim=(0, top * 1.05 or 1), ylim=(0, top * 1.05 or 1))
        axes.set_aspect("equal")
        axes.grid(True)
    legend_below(made, panels[0, 0])
    return made


def _binned(results: Results, name: str, channel: int, bins: int = 10) -> tuple[np.ndarray, ...]:
    """Root mean variance and root mean squared error in bins of equally many points, by spread."""
    members = results.forecasts[name][:, :, :, channel]
    count = members.shape[1]
    variance = members.var(axis=1, ddof=1, dtype=np.float64) * (count + 1) / count
    error = (members.mean(axis=1, dtype=np.float64) - results.truth[:, :, channel]) ** 2
    weight = np.broadcast_to(results.grid.cell_weights, variance.shape).ravel()
    order = np.argsort(variance, axis=None, kind="stable")
    order = order[np.isfinite(error.ravel()[order])]  # What is missing has no error.
    parts = [part for part in np.array_split(order, bins) if len(part)]

    def rooted(values: np.ndarray) -> np.ndarray:
        flat = values.ravel()
        return np.sqrt([np.average(flat[part], weights=weight[part]) for part in parts])

    return rooted(variance), rooted(error)

"""The table: every forecast, variable and score, by lead and over all leads, with an interval.

A score is a function of the means of per-case statistics, so everything here is a mean: over the
cases, over the cases drawn again for one bootstrap resample, over the leads. All forecasts see the
same resamples, which makes differences and ratios of their scores paired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from diffsci.data.fields import Channel
from diffsci.evaluation import blocks, resampling, streaming
from diffsci.evaluation.blocks import Values
from diffsci.evaluation.checks import check_shapes, named
from diffsci.evaluation.rows import Row, by_place, overall, write_rows
from diffsci.evaluation.scores.base import Score
from diffsci.grid import Grid

Key = tuple[str, str, str]
"""Forecast, variable, score."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All rows, and the statistics behind them.

    Args:
        rows: In the order forecast, variable, score, lead; over all leads comes first.
        statistics: `[lead, case, statistic]` of each forecast, variable and score.
        scores: Name of each score and the score itself.
        leads: Lead of each entry of the first axis; none where the task has no leads.
        resamples: Weight of each case in each bootstrap resample; rows sum to 1.
        confidence: Share of the interval.
        block: Neighbouring cases that are drawn together; see `resampling.py`.
        stretch: By how much intervals are wider than the resamples.
    """

    rows: tuple[Row, ...]
    statistics: Mapping[Key, Float[np.ndarray, "lead case statistic"]]
    scores: Mapping[str, Score]
    leads: tuple[float, ...] | None
    resamples: Float[np.ndarray, "resample case"]
    confidence: float
    block: int = 1
    stretch: float = 1.0

    @property
    def forecasts(self) -> tuple[str, ...]:
        """`model` first, then the baselines."""
        return tuple(dict.fromkeys(key[0] for key in self.statistics))

    @property
    def variables(self) -> tuple[str, ...]:
        """Channel names in order."""
        return tuple(dict.fromkeys(key[1] for key in self.statistics))

    @cached_property
    def _places(self) -> dict[tuple[str, str, str, float | None], Row]:
        return by_place(self.rows)

    def means(self, forecast: str, variable: str, score: str) -> Float[np.ndarray, " statistic"]:
        """Statistics averaged over cases and leads: the rank histogram, the two spectra."""
        return np.asarray(self.statistics[forecast, variable, score].mean(axis=(0, 1)))

    def row(self, forecast: str, variable: str, score: str, lead: float | None = None) -> Row:
        """The one row asked for.

        Raises:
            KeyError: When there is none.
        """
        return self._places[forecast, variable, score, lead]

    def skill(
        self, baseline: str, *, score: str = "crps", forecast: str = "model"
    ) -> tuple[Row, ...]:
        """1 - score / baseline's score of each variable over all leads, with its paired interval.

        The rows carry the name `crpss_vs_<baseline>`; 1 is perfect, 0 no better than the baseline.
        """
        rows = []
        for variable in self.variables:
            ours = self.statistics[forecast, variable, score].mean(axis=0)
            theirs = self.statistics[baseline, variable, score].mean(axis=0)
            measure = self.scores[score]
            with np.errstate(divide="ignore", invalid="ignore"):
                value = 1 - measure.value(ours.mean(axis=0)) / measure.value(theirs.mean(axis=0))
                drawn = 1 - (
                    measure.value(self.resamples @ ours) / measure.value(self.resamples @ theirs)
                )
            like = self.row(forecast, variable, score)
            way = (self.confidence, self.stretch)
            low, high = _interval(float(value), drawn, way, like.count)
            name = f"{score}s_vs_{baseline}"
            rows.append(replace(like, score=name, value=float(value), low=low, high=high, unit="1"))
        return tuple(rows)

    def overall(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Forecast, variable, score -> value over all leads; what is undefined is none."""
        return overall(self.rows)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """`scores.csv` and `scores.json` in `folder`."""
        return write_rows(self.rows, folder)


def evaluate(
    forecasts: Mapping[str, Float[np.ndarray, "case member lead channel *space"] | Values],
    truth: Float[np.ndarray, "case lead channel *space"] | Values,
    *,
    channels: Sequence[Channel],
    grid: Grid,
    leads: Sequence[float | int] | None,
    scores: Sequence[Score],
    resamples: int,
    confidence: float,
    seed: int,
    labels: np.ndarray | None = None,
    train: Float[np.ndarray, "example channel *space"] | None = None,
    train_labels: np.ndarray | None = None,
    keys: Sequence[str] = (),
    lead_unit: str = "",
    device: str | None = None,
) -> Scores:
    """All scores of all forecasts, area-weighted, with paired bootstrap intervals over the cases.

    Arrays and stores are read block by block, once for all scores.

    Args:
        forecasts: Name -> members in physical units; `model` comes first in the table.
        truth: Same units; as something that is read, with one member.
        channels: What each channel is.
        grid: Where the values sit.
        leads: Lead of each forecast step; none where there is no lead axis (its length is 1).
        scores: What to compute; each once.
        resamples: Bootstrap resamples of the cases.
        confidence: Share of the interval between `low` and `high`.
        seed: Of the resamples.
        labels: Class of each case.
        train: Training fields, for scores that compare with them.
        train_labels: Their classes.
        keys: Names of the cases, for messages.
        lead_unit: Unit of the leads, for scores that are a time.
        device: Of torch (`cuda`), for scores that can be computed there; none takes numpy alone.

    Raises:
        ConfigError: When a score needs classes or training data that are not there.
        DataError: When the shapes do not fit, or the truth has a value that is not finite.
        NumericsError: When a forecast has one, naming forecast, variable, case and lead.
    """
    measures = named(scores, labels, train, train_labels)
    check_shapes(forecasts, truth, channels, grid, leads)
    names = sorted(forecasts, key=lambda name: name != "model")
    found = streaming.statistics(
        {name: blocks.of(forecasts[name]) for name in names},
        blocks.of(truth[:, None] if isinstance(truth, np.ndarray) else truth),
        measures,
        streaming.Beside(
            channels=channels,
            grid=grid,
            leads=(0.0,) if leads is None else tuple(float(lead) for lead in leads),
            labels=labels,
            train=train,
            train_labels=train_labels,
            keys=keys,
        ),
        blocks.BLOCK_BYTES,
        device,
    )
    cases = truth.shape[0]
    statistics: dict[Key, np.ndarray] = {}
    lines: list[tuple[Row, Score, np.ndarray]] = []
    for name, channel, (word, score) in product(names, channels, measures.items()):
        statistics[name, channel.name, word] = found[name, channel.name, word]
        line = Row(
            forecast=name,
            variable=channel.name,
            score=word,
            lead=None,
            value=math.nan,
            low=math.nan,
            high=math.nan,
            unit=score.unit(lead_unit if score.timed else channel.unit),
            members=forecasts[name].shape[1],
            count=cases,
        )
        lines.append((line, score, found[name, channel.name, word]))
    length, more = _blocks(statistics, confidence)
    weights = resampling.weights(cases, resamples, length, seed)
    rows: list[Row] = []
    for line, score, values in lines:
        rows += _rows(line, score, values, leads, weights, (confidence, more))
    return Scores(
        rows=tuple(rows),
        statistics=statistics,
        scores=measures,
        leads=None if leads is None else tuple(float(lead) for lead in leads),
        resamples=weights,
        confidence=confidence,
        block=length,
        stretch=more,
    )


def _blocks(
    statistics: Mapping[Key, Float[np.ndarray, "lead case statistic"]], confidence: float
) -> tuple[int, float]:
    """Length of blocks and stretch of intervals, by the first score; of several the largest.

    The same for every forecast, or differences would not be paired.
    """
    first = next(iter(statistics))[2]
    series = [
        values[:, :, 0].mean(axis=0) for (_, _, word), values in statistics.items() if word == first
    ]
    length = max(resampling.block_length(one) for one in series)
    return length, max(resampling.stretch(one, length, confidence) for one in series)


def _rows(
    blank: Row,
    score: Score,
    statistics: Float[np.ndarray, "lead case statistic"],
    leads: Sequence[float | int] | None,
    weights: Float[np.ndarray, "resample case"],
    way: tuple[float, float],
) -> list[Row]:
    """The row over all leads, then one per lead."""
    sets: list[tuple[float | None, np.ndarray]] = [(None, statistics.mean(axis=0))]
    if not score.timed:
        sets += [(float(lead), found) for lead, found in zip(leads or (), statistics, strict=False)]
    rows = []
    for lead, found in sets:
        value = float(score.value(found.mean(axis=0)))
        low, high = _interval(value, score.value(weights @ found), way, len(found))
        rows.append(replace(blank, lead=lead, value=value, low=low, high=high))
    return rows


def _interval(
    value: float, drawn: Float[np.ndarray, " resample"], way: tuple[float, float], cases: int
) -> tuple[float, float]:
    """Bias-corrected percentile interval; undefined with one case: all resamples are the same.

    Resampling adds noise, and a score such as a sum of absolute values only grows by it. The share
    of resamples below the value says by how much, and shifts the quantiles back.

    Source:
        Efron (1987), Better bootstrap confidence intervals, doi:10.2307/2289144; no acceleration.
    """
    if cases < 2 or not (np.isfinite(drawn).all() and math.isfinite(value)):
        return math.nan, math.nan
    confidence, stretched = way
    below = float((drawn < value).mean() + (drawn == value).mean() / 2)
    edge = 0.5 / len(drawn)
    normal = NormalDist()
    shift = 2 * normal.inv_cdf(min(max(below, edge), 1 - edge))
    tail = normal.inv_cdf((1 - confidence) / 2)
    low, high = np.quantile(drawn, [normal.cdf(shift + tail), normal.cdf(shift - tail)])
    low, high = (value + stretched * (float(end) - value) for end in (low, high))
    return min(low, value), max(high, value)

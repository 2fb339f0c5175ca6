"""The table: every forecast, variable and score, by lead and over all leads, with an interval.

A score is a function of the means of per-case statistics, so everything here is a mean: over the
cases, over the cases drawn again for one bootstrap resample, over the leads. A skill is resampled
as one score of both forecasts' statistics, which makes it paired.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffsci.data.fields import Channel
from diffsci.evaluation import blocks, streaming
from diffsci.evaluation.blocks import Values
from diffsci.evaluation.checks import check_shapes, named
from diffsci.evaluation.intervals import Bootstrap, Value
from diffsci.evaluation.rows import Row, by_place, overall, write_rows
from diffsci.evaluation.scores.base import Score
from diffsci.grid import Grid

log = logging.getLogger(__name__)

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
        bootstrap: From which the rows have their intervals.
        blocks: Least and most neighbouring cases that were drawn together for a row.
        blank: Which scores of which variables are left empty over all leads, and why.
        weighted: Whether cells of unlike areas count by their areas.
    """

    rows: tuple[Row, ...]
    statistics: Mapping[Key, Float[np.ndarray, "lead case statistic"]]
    scores: Mapping[str, Score]
    leads: tuple[float, ...] | None
    bootstrap: Bootstrap
    blocks: tuple[int, int] = (1, 1)
    blank: tuple[str, ...] = ()
    weighted: bool = True

    @property
    def confidence(self) -> float:
        """Share of the interval."""
        return self.bootstrap.confidence

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
            both = np.concatenate([ours, theirs], axis=1)
            value = _skill(self.scores[score], ours.shape[1])
            told = self.bootstrap.interval(value, both, (-math.inf, 1.0))
            like, found = self.row(forecast, variable, score), float(value(both.mean(axis=0)))
            name = f"{score}s_vs_{baseline}"
            like = replace(like, score=name, value=found, unit="1")
            rows.append(replace(like, low=told.low, high=told.high))
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
    labels: np.ndarray | None = None,
    train: Float[np.ndarray, "example channel *space"] | None = None,
    train_labels: np.ndarray | None = None,
    keys: Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
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
        labels: Class of each case.
        train: Training fields, for scores that compare with them.
        train_labels: Their classes.
        keys: Names of the cases, for messages.
        sources: Name of a forecast, or `truth` -> its file, where it has one.
        lead_unit: Unit of the leads, for scores that are a time.
        device: Of torch (`cuda`), for scores that can be computed there; none takes numpy alone.

    Raises:
        ConfigError: When a score needs classes or training data that are not there.
        DataError: When the shapes do not fit, or a value of the truth, or of a forecast's file, is
            not finite.
        NumericsError: When one of another forecast is not, naming variable, case and lead.
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
            sources=sources or {},
            lead_unit=lead_unit,
        ),
        blocks.BLOCK_BYTES,
        device,
    )
    cases = truth.shape[0]
    statistics: dict[Key, np.ndarray] = {}
    lines: list[tuple[Row, Score, np.ndarray]] = []
    members = {name: _members_of(forecasts[name], len(channels)) for name in names}
    each = product(names, enumerate(channels), measures.items())
    for name, (number, channel), (word, score) in each:
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
            members=members[name][number],
            count=cases,
        )
        lines.append((line, score, found[name, channel.name, word]))
    bootstrap = Bootstrap(cases=cases, resamples=resamples, confidence=confidence)
    rows: list[Row] = []
    lengths: set[int] = set()
    for line, score, values in lines:
        for row, length in _rows(line, score, values, leads, bootstrap):
            rows.append(row)
            lengths.add(length)
    blank = _blank(lines)
    for why in blank:
        log.warning("%s", why)
    return Scores(
        rows=tuple(rows),
        blank=blank,
        weighted=float(np.ptp(grid.cell_weights)) > 1e-6,
        statistics=statistics,
        scores=measures,
        leads=None if leads is None else tuple(float(lead) for lead in leads),
        bootstrap=bootstrap,
        blocks=(min(lengths), max(lengths)),
    )


def _members_of(values: np.ndarray | Values, channels: int) -> list[int]:
    """Members of each channel."""
    held = blocks.of(values)
    return [held.members_of(channel) for channel in range(channels)]


def _skill(measure: Score, size: int) -> Value:
    """1 - ours / theirs, of the statistics of both side by side."""

    def value(means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = measure.value(means[..., :size]) / measure.value(means[..., size:])
        return np.asarray(1 - ratio)

    return value


def _blank(lines: Sequence[tuple[Row, Score, np.ndarray]]) -> tuple[str, ...]:
    """Which scores have no value over all leads, and why: once for all forecasts of one reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for line, score, statistics in lines:
        if why := score.lacks(statistics.mean(axis=0)):
            found.setdefault((f"{line.score} of {line.variable}", why), []).append(line.forecast)
    return tuple(
        f"{what} is left empty for {', '.join(names)}: {why}"
        for (what, why), names in found.items()
    )


def _rows(
    blank: Row,
    score: Score,
    statistics: Float[np.ndarray, "lead case statistic"],
    leads: Sequence[float | int] | None,
    bootstrap: Bootstrap,
) -> Iterator[tuple[Row, int]]:
    """The row over all leads, then one per lead, each with the length of its blocks."""
    sets: list[tuple[float | None, np.ndarray]] = [(None, statistics.mean(axis=0))]
    if not score.timed:
        sets += [(float(lead), found) for lead, found in zip(leads or (), statistics, strict=False)]
    for lead, found in sets:
        if score.lacks(found):
            yield replace(blank, lead=lead), 1
            continue
        value = float(score.value(found.mean(axis=0)))
        told = bootstrap.interval(score.value, found, score.bounds)
        yield replace(blank, lead=lead, value=value, low=told.low, high=told.high), told.block

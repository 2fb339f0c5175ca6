"""Checks before scoring: a score is never computed on less, or on something else, than it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from diffsci.data.fields import Channel
from diffsci.errors import ConfigError, DataError, NumericsError
from diffsci.evaluation.blocks import Values
from diffsci.evaluation.masking import Where, place
from diffsci.evaluation.scores.base import OfEvents, Score
from diffsci.families import name_of
from diffsci.grid import Grid

_ASKED = "evaluate.scores, or --scores of `diffsci score`"
"""Where scores are named."""


def named(
    scores: Sequence[Score],
    labels: np.ndarray | None,
    train: np.ndarray | None,
    train_labels: np.ndarray | None,
) -> dict[str, Score]:
    """Each score under its name, once it is known that it can be computed."""
    measures: dict[str, Score] = {}
    for score in scores:
        name = name_of(score)
        if name in measures:
            raise ConfigError(f"{_ASKED}: {name} is there twice; keep one")
        if score.needs_labels and (labels is None or train_labels is None):
            raise ConfigError(
                f"{_ASKED}: {name} needs data with classes, and this has none; leave it out"
            )
        if isinstance(score, OfEvents) and score.needs_train and train is None:
            raise ConfigError(f"{_ASKED}: {score.wants_threshold()}")
        if score.needs_train and train is None:
            raise ConfigError(
                f"{_ASKED}: {name} compares with training data, and there is none; leave it out"
            )
        measures[name] = score
    return measures


def check_shapes(
    forecasts: Mapping[str, np.ndarray | Values],
    truth: np.ndarray | Values,
    channels: Sequence[Channel],
    grid: Grid,
    leads: Sequence[float | int] | None,
) -> None:
    """Refuse what would broadcast into a wrong number."""
    steps = 1 if leads is None else len(leads)
    expected = (truth.shape[0], steps, len(channels), *grid.sizes)
    shape = truth.shape if isinstance(truth, np.ndarray) else (truth.shape[0], *truth.shape[2:])
    if shape[0] == 0:
        raise DataError("truth: there is no case to score; widen data.split.test")
    if shape != expected:
        raise DataError(f"truth: shape is {shape}, expected {expected}")
    for name, values in forecasts.items():
        if values.shape[1] == 0 or (values.shape[0], *values.shape[2:]) != expected:
            raise DataError(
                f"{name}: shape is {values.shape}, expected (case, member, lead, channel, space) = "
                f"{(expected[0], 'member', *expected[1:])}"
            )


def check_finite(
    name: str,
    values: Float[np.ndarray, "case member lead *space"],
    channel: Channel,
    where: Where,
    error: type[DataError] | type[NumericsError],
    gaps: Bool[np.ndarray, "case one lead *space"] | None,
    part: bool,
    spot: Callable[[int, tuple[int, ...]], str],
    source: str = "",
) -> None:
    """Refuse values that are not finite: a score is never computed on less than it says.

    Args:
        name: Of the forecast, or `truth`.
        values: Of one channel.
        channel: Which.
        where: Number of the first case and lead, names of all cases, all leads.
        error: What to raise.
        gaps: Where the truth is missing by declaration, so that nothing is scored.
        part: Whether there are other blocks, so that the count is a lower bound.
        spot: Lead and coordinates in words, of the number of a lead and of a cell along each dim.
        source: Of a file: its path. What it holds is its own fault, be it forecast or truth.
    """
    # The sum is finite where all values are, and is ten times cheaper than to ask each of them.
    with np.errstate(invalid="ignore", over="ignore"):
        if gaps is None and np.isfinite(values.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(values)
    if gaps is not None:
        bad &= ~gaps
    if not bad.any():
        return
    case, member, lead, *cell = (int(number) for number in np.argwhere(bad)[0])
    key, _, step = place(where, case, lead).partition(", ")
    who = "" if name == "truth" else f", member {member}"
    empty = bad.all(axis=tuple(range(3, values.ndim))).all(axis=(0, 1))
    count = f"{'at least ' if part else ''}{int(bad.sum())}"
    advice = ""
    if empty.any():
        leads = where[3]
        whole = ", ".join(f"{leads[where[1] + n]:g}" for n in np.flatnonzero(empty))
        advice = f"; of lead {whole} there is none: leave it out with `--leads`"
    elif name == "truth" and bad[case, :, lead].all():
        advice = (
            "; there is nothing at all at that time: take it out of the truth, as "
            "`truth.drop_sel(time=...)`, and the cases that need it are left out"
        )
    elif name == "truth":
        advice = "; where gaps are meant, declare them: `--missing`, or `missing:` of an entry"
    elif source and bad[:, member].all() and bad.shape[1] > 1:
        advice = f"; of member {member} there is none: leave it out of the file"
    elif source and bad[case].all():
        advice = "; of that case there is none: leave it out of the file"
    elif source:
        advice = (
            "; the truth has values there: make the forecast again, or, where the gaps are meant, "
            f"leave these cells out of the truth as well (`truth['{channel.variable}'].where(...)`)"
            " and say so by `--missing static` or `moving`"
        )
    who_has = f"{name} ({source})" if source and source != name else name
    raise (DataError if source else error)(
        f"{who_has}: {channel.name} has {count} values that are not finite, first in "
        f"{key}{who}, {step}{spot(where[1] + lead, tuple(cell))}; nothing was scored{advice}"
    )

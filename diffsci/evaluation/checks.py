"""Checks before scoring: a score is never computed on less, or on something else, than it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from diffsci.data.fields import Channel
from diffsci.errors import ConfigError, DataError, NumericsError
from diffsci.evaluation.scores.base import Score
from diffsci.families import name_of
from diffsci.grid import Grid


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
            raise ConfigError(f"evaluate.scores: {name} is there twice; keep one")
        if score.needs_labels and (labels is None or train_labels is None):
            raise ConfigError(
                f"evaluate.scores: {name} needs data with classes, and this has none; leave it out"
            )
        if score.needs_train and train is None:
            raise ConfigError(
                f"evaluate.scores: {name} compares with training data, and there is none; "
                "leave it out"
            )
        measures[name] = score
    return measures


def check_shapes(
    forecasts: Mapping[str, np.ndarray],
    truth: np.ndarray,
    channels: Sequence[Channel],
    grid: Grid,
    leads: Sequence[float | int] | None,
) -> None:
    """Refuse what would broadcast into a wrong number."""
    steps = 1 if leads is None else len(leads)
    expected = (len(truth), steps, len(channels), *grid.sizes)
    if len(truth) == 0:
        raise DataError("truth: there is no case to score; widen data.split.test")
    if truth.shape != expected:
        raise DataError(f"truth: shape is {truth.shape}, expected {expected}")
    for name, values in forecasts.items():
        if values.shape[1] == 0 or (values.shape[0], *values.shape[2:]) != expected:
            raise DataError(
                f"{name}: shape is {values.shape}, expected (case, member, lead, channel, space) = "
                f"{(expected[0], 'member', *expected[1:])}"
            )


def check_finite(
    name: str,
    values: np.ndarray,
    channels: Sequence[Channel],
    keys: Sequence[str],
    error: type[DataError] | type[NumericsError],
    gaps: np.ndarray | None = None,
) -> None:
    """Refuse values that are not finite: a score is never computed on less than it says.

    Args:
        name: Of the forecast, or `truth`.
        values: `[case, member, lead, channel, *space]`.
        channels: What each channel is.
        keys: Names of the cases.
        error: What to raise.
        gaps: Where the truth is missing by declaration, so that nothing is scored.
    """
    for index, channel in enumerate(channels):
        bad = ~np.isfinite(values[:, :, :, index])
        if gaps is not None:
            bad &= ~gaps[:, :, :, index]
        if bad.any():
            case, member, lead = (int(place) for place in np.argwhere(bad)[0][:3])
            key = keys[case] if keys else str(case)
            who = "" if name == "truth" else f", member {member}"
            raise error(
                f"{name}: {channel.name} has {int(bad.sum())} values that are not finite, first in "
                f"case {key}{who}, lead step {lead + 1}; nothing was scored"
            )

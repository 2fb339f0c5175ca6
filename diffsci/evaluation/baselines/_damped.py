"""What two baselines share: a reference, the damped distance of today from it, and residuals.

The forecast of lead l is r(t + l) + b_l (x(t) - r(t)), with one slope b_l for each channel, fitted
on the training windows. A member adds the residuals of one training window, whole fields of all
leads and channels, so that they hang together in space and in time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from diffsci.data.fields import Fields
from diffsci.evaluation.baselines.base import Problem, generator, required

_MOST_WINDOWS = 2000
"""Training windows that are fitted and drawn from."""

_MOST_BYTES = 2_000_000_000
"""Of what is kept of them."""

Reference = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Lead in data steps -> what is usual then, and what is usual now, `[n, channel, *space]`."""


def training_rows(
    train: Fields, back: int, ahead: int, held: int = 0
) -> Int[np.ndarray, "window 2"]:
    """Trajectory and time of training frames that have so many frames before and after them.

    Args:
        train: The training part.
        back: Frames before.
        ahead: Frames after.
        held: Fields in float32 that are kept of each: of large fields fewer windows are taken.
    """
    times = len(train.times)
    fits = [
        time
        for time in range(back, times - ahead)
        if not train.breaks[time - back + 1 : time + ahead + 1].any()
    ]
    rows = np.array([[k, time] for k in range(len(train.values)) for time in fits], dtype=np.int64)
    field = 4 * int(np.prod(train.values.shape[2:]))
    most = min(_MOST_WINDOWS, max(1, _MOST_BYTES // (held * field))) if held else _MOST_WINDOWS
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    return rows.reshape(-1, 2)


def damped(
    problem: Problem,
    name: str,
    rows: Int[np.ndarray, "window 2"],
    of_training: Reference,
    of_cases: Reference,
) -> Float[np.ndarray, "case member lead channel *space"]:
    """The ensemble.

    Args:
        problem: What may be used.
        name: Of the baseline.
        rows: Training windows.
        of_training: The reference of each of them.
        of_cases: That of each case.
    """
    given = required(problem.given, name, "the last frame of each case")
    slopes, drawn = problem.once(name, lambda: _fitted(problem, rows, of_training))
    centre = []
    for lead, slope in zip(problem.cases.leads, slopes, strict=True):
        usual, before = of_cases(lead)
        centre.append((usual + slope * (given - before)).astype(np.float32))
    mean = np.stack(centre, axis=1)
    members = np.empty((len(given), problem.members, *mean.shape[1:]), dtype=np.float32)
    for case, key in enumerate(problem.cases.keys):
        random = generator(problem, name, key)
        twice = len(rows) < problem.members
        members[case] = mean[case] + drawn[random.choice(len(rows), problem.members, replace=twice)]
    return members


def _fitted(
    problem: Problem, rows: Int[np.ndarray, "window 2"], of_training: Reference
) -> tuple[list[np.ndarray], Float[np.ndarray, "window lead channel *space"]]:
    """The slope of each lead, and the residuals of the training windows."""
    values = problem.train.values
    now = values[rows[:, 0], rows[:, 1]]
    slopes, residuals = [], []
    for lead in problem.cases.leads:
        usual, before = of_training(lead)
        today = now.astype(np.float64) - before
        later = values[rows[:, 0], rows[:, 1] + lead].astype(np.float64) - usual
        axes = (0, *range(2, today.ndim))
        power = (today**2).sum(axis=axes)
        slope = (today * later).sum(axis=axes) / np.where(power > 0, power, 1.0)
        slopes.append(slope.reshape(-1, *[1] * (today.ndim - 2)))
        residuals.append((later - slopes[-1] * today).astype(np.float32))
    return slopes, np.stack(residuals, axis=1)

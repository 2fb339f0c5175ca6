"""Analogues: what came after the training states that were most like today."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from diffsci.errors import require
from diffsci.evaluation.baselines._damped import training_rows
from diffsci.evaluation.baselines.base import Baseline, Problem, required
from diffsci.evaluation.seasons import Moments, alike


@dataclass(frozen=True, kw_only=True)
class Analogues(Baseline):
    """The futures of the nearest training states, one member each, as they were.

    Near is a small root mean square difference over the area, each channel in units of its standard
    deviation. Where times are dates, analogues are of the season, and of the hour where the data is
    sub-daily; of training states that follow each other only the nearest is taken, since they are
    one and the same weather. Where too few are left, the next nearest fill up.

    Args:
        window_days: How far the day of the year may be off, either way.
        apart: Steps between two analogues.

    Source:
        Lorenz (1969), Atmospheric predictability as revealed by naturally occurring analogues,
        doi:10.1175/1520-0469(1969)26<636:APARBN>2.0.CO;2.
    """

    window_days: int = 45
    apart: int = 4
    tasks = ("forecast",)
    drawn = False

    def __post_init__(self) -> None:
        require(self.window_days >= 0, "window_days", self.window_days, "0 or more")
        require(self.apart >= 1, "apart", self.apart, "1 or more")

    def fits(self, problem: Problem) -> str | None:
        """Needs as many training windows of all leads as there are members."""
        ahead = problem.cases.leads[-1]
        rows = training_rows(problem.train, 0, ahead)
        if len(rows) < problem.members:
            return f"{len(rows)} training windows reach {ahead} steps ahead, fewer than members"
        return None

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """Members from the nearest on."""
        given = required(problem.given, "analogues", "the last frame of each case")
        train, cases = problem.train, problem.cases
        rows = training_rows(train, 0, cases.leads[-1], held=5)
        scale, known = problem.once("analogues", lambda: _scaled(problem, rows))
        square = (known**2).sum(axis=1)
        leads = np.array(cases.leads)
        members = np.empty(
            (len(given), problem.members, len(leads), *given.shape[1:]), dtype=train.values.dtype
        )
        for case, state in enumerate(given):
            distance = square - 2 * known @ (state * scale).reshape(-1)
            fits = self._season(problem, case, rows)
            chosen = rows[_nearest(distance, fits, rows, self.apart, problem.members)]
            members[case] = train.values[chosen[:, :1], chosen[:, 1:] + leads]
        return members

    def _season(self, problem: Problem, case: int, rows: np.ndarray) -> Bool[np.ndarray, " window"]:
        """Which windows begin at the time of the year and of the day at which the case does."""
        step, moments = problem.cases.step, Moments.of(problem.train.times)
        if moments is None or not isinstance(step, np.timedelta64):
            return np.ones(len(rows), dtype=bool)
        start = problem.cases.times[case]
        return np.asarray(alike(moments, start, 0, step, self.window_days)[rows[:, 1]])


def _scaled(problem: Problem, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The factor that brings states to the units of distance, and the training states in them."""
    now = problem.train.values[rows[:, 0], rows[:, 1]]
    deviation = now.std(axis=(0, *range(2, now.ndim)), dtype=np.float64)
    each = np.where(deviation > 0, deviation, 1.0).reshape(-1, *[1] * (now.ndim - 2))
    scale = np.sqrt(problem.train.grid.cell_weights) / each
    return scale, (now * scale).reshape(len(rows), -1)


def _nearest(
    distance: Float[np.ndarray, " window"],
    fits: Bool[np.ndarray, " window"],
    rows: np.ndarray,
    apart: int,
    members: int,
) -> np.ndarray:
    """Numbers of the nearest windows: of the season and apart, then by distance alone."""
    order = np.argsort(distance, kind="stable")
    chosen: list[int] = []
    for window in order[fits[order]]:
        near = rows[chosen]
        clash = (near[:, 0] == rows[window, 0]) & (np.abs(near[:, 1] - rows[window, 1]) < apart)
        if not clash.any():
            chosen.append(int(window))
        if len(chosen) == members:
            break
    rest = [int(window) for window in order if int(window) not in chosen]
    return np.array([*chosen, *rest][:members])

"""Coarse solver: the equation itself on few points, started from the given frame."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.baselines.base import Baseline, Problem, required
from diffsci.solvers.base import SpectralSolver

log = logging.getLogger(__name__)

_TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class CoarseSolver(Baseline):
    """The solver that made the test data, on fewer points; one member, its time a step is told.

    Args:
        points: Along each dim; none takes half of those of the data.
    """

    points: int | None = None

    tasks = ("forecast",)

    def __post_init__(self) -> None:
        fits = self.points is None or self.points >= 8
        require(fits, "points", self.points, "8 or more, or null for half of the data's")

    def fits(self, problem: Problem) -> str | None:
        """Needs a solver of our own whose fields, on whose whole grid, are what is forecast."""
        solver = problem.solver
        if not isinstance(solver, SpectralSolver):
            return "no spectral solver made the test data"
        names = [channel.name for channel in problem.train.channels]
        if sorted(names) != sorted(solver.stored_fields):
            return f"the solver needs {', '.join(solver.stored_fields)}, given are {names}"
        sizes = problem.train.grid.sizes
        if any(size != solver.points for size in sizes):
            return f"the grid {sizes} is not that of the solver, {solver.points} each way"
        if problem.test is None:
            return "the parameters of the test trajectories are not known"
        return None

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """Integrated from lead to lead."""
        given = required(problem.given, "coarse_solver", "the last frame of each case")
        solver = problem.solver
        assert isinstance(solver, SpectralSolver), "fits() is asked first"
        names = [channel.name for channel in problem.train.channels]
        order = [names.index(name) for name in solver.stored_fields]
        points = self.points or solver.points // 2
        last = max(problem.cases.leads)
        made = np.empty((len(given), 1, len(problem.cases.leads), *given.shape[1:]), given.dtype)
        began = time.process_time()
        for first in range(0, len(given), _TOGETHER):
            rows = slice(first, first + _TOGETHER)
            fields = torch.from_numpy(np.ascontiguousarray(given[rows][:, order])).double()
            states = solver.states(
                solver.resumed(fields, points), last + 1, None, _parameters(problem, rows)
            )
            for place, state in _at(states, problem.cases.leads):
                made[rows, 0, place][:, order] = solver.stored(state).cpu().numpy()
        spent = (time.process_time() - began) / (len(given) * last)
        log.info(
            "evaluate: coarse_solver with %d points a side: %.3g ms a step and case",
            points,
            1e3 * spent,
        )
        return made


def _at(
    states: Iterator[torch.Tensor], leads: tuple[int, ...]
) -> Iterator[tuple[int, torch.Tensor]]:
    """The states of the leads, with each one's place among them."""
    for step, state in enumerate(states):
        if step in leads:
            yield leads.index(step), state


def _parameters(problem: Problem, rows: slice) -> dict[str, torch.Tensor]:
    """What the solver knows of each case's trajectory."""
    test = problem.test
    assert test is not None
    if test.scalars is None:
        return {}
    found = test.scalars[problem.cases.rows[rows, 0]]
    return {
        name: torch.from_numpy(np.ascontiguousarray(found[:, number])).double()
        for number, name in enumerate(test.scalar_names)
    }

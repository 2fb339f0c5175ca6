"""Coarse solver: the equation itself on few points, started from the given frame."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from diffsci.errors import require
from diffsci.evaluation.baselines.base import Baseline, Problem, required
from diffsci.solvers.base import SpectralSolver

log = logging.getLogger(__name__)

_TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class CoarseSolver(Baseline):
    """The solver that made the test data, on fewer points; one member, its time a step is told.

    Args:
        points: Along each dim; several make a row each; none takes half of those of the data.
    """

    points: int | tuple[int, ...] | None = None

    tasks = ("forecast",)

    def __post_init__(self) -> None:
        several = self.points if isinstance(self.points, tuple) else (self.points or 8,)
        fits = len(several) > 0 and min(several) >= 8 and len(set(several)) == len(several)
        require(fits, "points", self.points, "8 or more, or null for half of the data's")

    def each(self) -> dict[str, Baseline]:
        """One row for each number of points."""
        if not isinstance(self.points, tuple):
            return {"": self}
        return {f"_{points}": CoarseSolver(points=points) for points in self.points}

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
        assert not isinstance(self.points, tuple), "each() makes one of each"
        points = self.points or solver.points // 2
        last = max(problem.cases.leads)
        began = time.process_time()
        made = integrated(problem, solver, given, np.arange(len(given)), points)[:, None]
        spent = (time.process_time() - began) / (len(given) * last)
        log.info(
            "evaluate: coarse_solver with %d points a side: %.3g ms a step and case",
            points,
            1e3 * spent,
        )
        return made


def integrated(
    problem: Problem,
    solver: SpectralSolver,
    given: Float[np.ndarray, "row channel *space"],
    cases: Int[np.ndarray, " row"],
    points: int,
) -> Float[np.ndarray, "row lead channel *space"]:
    """States at the leads, from stored fields on.

    Args:
        problem: With the leads, and the parameters of each case's trajectory.
        solver: That made the data.
        given: Stored fields, physical.
        cases: Number of the case of each.
        points: Of the solver, along each dim.
    """
    names = [channel.name for channel in problem.train.channels]
    order = [names.index(name) for name in solver.stored_fields]
    leads = problem.cases.leads
    made = np.empty((len(given), len(leads), *given.shape[1:]), given.dtype)
    for first in range(0, len(given), _TOGETHER):
        rows = slice(first, first + _TOGETHER)
        fields = torch.from_numpy(np.ascontiguousarray(given[rows][:, order])).double()
        own = _parameters(problem, cases[rows])
        states = solver.states(solver.resumed(fields, points), max(leads) + 1, None, own)
        for place, state in _at(states, leads):
            made[rows, place][:, order] = solver.stored(state).cpu().numpy()
    return made


def _at(
    states: Iterator[torch.Tensor], leads: tuple[int, ...]
) -> Iterator[tuple[int, torch.Tensor]]:
    """The states of the leads, with each one's place among them."""
    for step, state in enumerate(states):
        if step in leads:
            yield leads.index(step), state


def _parameters(problem: Problem, cases: Int[np.ndarray, " row"]) -> dict[str, torch.Tensor]:
    """What the solver knows of each case's trajectory."""
    test = problem.test
    assert test is not None
    if test.scalars is None:
        return {}
    found = test.scalars[problem.cases.rows[cases, 0]]
    return {
        name: torch.from_numpy(np.ascontiguousarray(found[:, number])).double()
        for number, name in enumerate(test.scalar_names)
    }

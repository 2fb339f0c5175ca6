"""Exact solver: the equation itself, from the given frame with a small error: what chaos leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import require
from diffsci.evaluation.baselines.base import Baseline, Problem, generator, required
from diffsci.evaluation.baselines.coarse_solver import CoarseSolver, integrated
from diffsci.solvers.base import SpectralSolver


@dataclass(frozen=True, kw_only=True)
class ExactSolver(Baseline):
    """The solver that made the test data, on its own points, from initial states that are off.

    A member begins from the given frame and white noise. It is the bound of what any model can do
    that knows the frame to so many digits.

    Args:
        amplitude: Of the noise, in standard deviations of each channel; several make a row each.
    """

    amplitude: float | tuple[float, ...] = 0.01

    tasks = ("forecast",)

    def __post_init__(self) -> None:
        several = self.amplitude if isinstance(self.amplitude, tuple) else (self.amplitude,)
        fits = len(several) > 0 and all(0 < each < 10 for each in several)
        fits = fits and len(set(several)) == len(several)
        require(fits, "amplitude", self.amplitude, "more than 0, and less than 10 deviations")

    def each(self) -> dict[str, Baseline]:
        """One row for each amplitude."""
        if not isinstance(self.amplitude, tuple):
            return {"": self}
        return {f"_{size:g}": ExactSolver(amplitude=size) for size in self.amplitude}

    def fits(self, problem: Problem) -> str | None:
        """Needs what a coarse solver does."""
        return CoarseSolver().fits(problem)

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """Integrated from lead to lead; a member's noise depends on its case and the seed."""
        given = required(problem.given, "exact_solver", "the last frame of each case")
        solver, members = problem.solver, problem.members
        assert isinstance(solver, SpectralSolver), "fits() is asked first"
        assert not isinstance(self.amplitude, tuple), "each() makes one of each"
        wide = (-1, *[1] * (given.ndim - 2))
        std = np.array(
            [
                problem.train.values[:, :, channel].std(dtype=np.float64)
                for channel in range(given.shape[1])
            ]
        ).reshape(wide)
        starts = np.repeat(given[:, None], members, axis=1)
        for case, key in enumerate(problem.cases.keys):
            noise = generator(problem, "exact_solver", key).standard_normal(starts[case].shape)
            starts[case] += (self.amplitude * std * noise).astype(given.dtype)
        cases = np.repeat(np.arange(len(given)), members)
        flat = starts.reshape(len(cases), *given.shape[1:])
        made = integrated(problem, solver, flat, cases, solver.grid_points)
        return made.reshape(len(given), members, *made.shape[1:])

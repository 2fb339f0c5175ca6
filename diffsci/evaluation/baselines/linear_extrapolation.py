"""Linear extrapolation: it goes on as it went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.baselines.base import Baseline, Problem, required


@dataclass(frozen=True, kw_only=True)
class LinearExtrapolation(Baseline):
    """The last given frame and its last change, once for each forecast step; one member.

    The frame before is taken from the data, whether the model is given it or not.
    """

    tasks = ("forecast",)

    def fits(self, problem: Problem) -> str | None:
        """Needs a frame before that of each case."""
        if problem.past((problem.cases.leads[0],)) is None:
            return "not all cases have a frame before the last given one"
        return None

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """x(t) + n (x(t) - x(t - 1)), n counting forecast steps."""
        given = required(problem.given, "linear_extrapolation", "the last frame of each case")
        before = problem.past((problem.cases.leads[0],))
        assert before is not None, "fits() is asked first"
        change = given - before[:, 0]
        steps = np.arange(1, len(problem.cases.leads) + 1, dtype=given.dtype)
        shape = (1, -1, *[1] * (given.ndim - 1))
        made: np.ndarray = given[:, None] + steps.reshape(shape) * change[:, None]
        return made[:, None]

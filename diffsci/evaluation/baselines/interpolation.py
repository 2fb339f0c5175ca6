"""Interpolation dressed with residuals: the coarse field, made as rough as the truth by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.baselines.base import Baseline, Problem, generator, required


@dataclass(frozen=True, kw_only=True)
class Interpolation(Baseline):
    """The interpolated coarse field plus whole training residuals drawn at random."""

    tasks = ("downscale",)

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """Member m of case i is given_i + (truth - given) of a random training window."""
        given = required(problem.given, "interpolation", "the coarse field of each case")
        train_given = required(
            problem.train_given, "interpolation", "the coarse field of each training window"
        )
        count = len(train_given)
        twice = count < problem.members
        members = np.empty((len(given), problem.members, 1, *given.shape[1:]), dtype=given.dtype)
        for case, key in enumerate(problem.cases.keys):
            rows = generator(problem, "interpolation", key).choice(
                count, problem.members, replace=twice
            )
            residual = problem.train_truth[rows] - train_given[rows]
            members[case, :, 0] = given[case] + residual
        return members

"""Kriging: a Gaussian fitted to the training fields, conditioned on the cells that are known.

With the rows of A the centred training fields over sqrt(n - 1), each variable in units of its
spread, a draw of the fit is u A + s e for standard normal u and e: its covariance is A^T A + s^2 I,
where s^2 stands for what so few fields cannot show. A draw of the posterior is that draw, moved by
what it misses of the known values (Matheron's rule): exact for this Gaussian, with matrices of
n x n whatever the number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from diffsci.errors import require
from diffsci.evaluation.baselines.base import Baseline, Problem, generator, required


@dataclass(frozen=True, kw_only=True)
class Kriging(Baseline):
    """A Gaussian of the training fields, conditioned on what is known of each case.

    Args:
        rank: Most training fields that it is fitted to, evenly spread.
        nugget: Variance of white noise, as a share of that of the fields.
    """

    rank: int = 500
    nugget: float = 0.01

    tasks = ("infill",)

    def __post_init__(self) -> None:
        require(self.rank >= 2, "rank", self.rank, "2 or more")
        require(self.nugget > 0, "nugget", self.nugget, "more than 0")

    def fits(self, problem: Problem) -> str | None:
        """It needs two training fields."""
        return None if len(problem.train_truth) > 1 else "a fit needs 2 training fields or more"

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """Members that have the known values, and are drawn around them elsewhere."""
        given = required(problem.given, "kriging", "the known cells of each case")
        known = np.asarray(problem.cases.labels["known"], dtype=bool)
        count = len(problem.train_truth)
        chosen = np.linspace(0, count - 1, min(count, self.rank)).round().astype(np.int64)
        data = problem.train_truth[chosen].astype(np.float64)
        channel = (1, -1, *[1] * (data.ndim - 2))
        axes = (0, *range(2, data.ndim))
        mean, spread = data.mean(axis=0), data.std(axis=axes).reshape(channel)
        root = ((data - mean) / spread).reshape(len(data), -1) / np.sqrt(len(data) - 1)
        members = np.empty((len(given), problem.members, 1, *given.shape[1:]), dtype=given.dtype)
        for case, key in enumerate(problem.cases.keys):
            cells = np.broadcast_to(known[case], given.shape[1:]).ravel()
            values = ((given[case] - mean) / spread[0]).ravel()
            random = generator(problem, "kriging", key)
            drawn = posterior(root, values, cells, self.nugget, problem.members, random)
            made = drawn.reshape(problem.members, *given.shape[1:]) * spread + mean
            members[case, :, 0] = np.where(known[case], given[case], made)
        return members


def posterior(
    root: Float[np.ndarray, "n cell"],
    values: Float[np.ndarray, " cell"],
    known: Bool[np.ndarray, " cell"],
    nugget: float,
    members: int,
    random: np.random.Generator,
) -> Float[np.ndarray, "member cell"]:
    """Draws of N(0, root^T root + nugget I), given some of its cells.

    Args:
        root: Square root of the covariance.
        values: Of the known cells; what stands elsewhere is not looked at.
        known: Which these are.
        nugget: Variance of white noise.
        members: How many.
        random: Where they come from.
    """
    draws = random.standard_normal((members, len(root))) @ root
    draws += np.sqrt(nugget) * random.standard_normal(draws.shape)
    part = root[:, known]
    system = part @ part.T + nugget * np.eye(len(root))
    missed = (values[known] - draws[:, known]) @ part.T
    moved: np.ndarray = draws + np.linalg.solve(system, missed.T).T @ root
    moved[:, known] = values[known]
    return moved

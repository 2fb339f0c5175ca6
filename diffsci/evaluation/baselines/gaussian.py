"""A Gaussian fitted to the training fields: the right mean and covariance, and nothing beyond.

With the centred data matrix X of n rows, a draw is mean + z X / sqrt(n - 1) for z ~ N(0, I_n): its
covariance is X^T X / (n - 1), the unbiased estimate, without ever forming it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError
from diffsci.evaluation.baselines.base import Baseline, Problem, generator


def _groups(problem: Problem) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, mask of cases and mask of training examples of each class; one where there are none."""
    train, cases = problem.train, len(problem.cases)
    columns = {
        name: values
        for name, values in problem.cases.labels.items()
        if any(known.startswith(f"{name}=") for known in train.scalar_names)
    }
    if not columns or train.scalars is None:
        return [("all", np.ones(cases, dtype=bool), np.ones(len(train.values), dtype=bool))]
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for case in range(cases):
        wanted = [f"{name}={values[case]}" for name, values in columns.items()]
        key = ", ".join(wanted)
        if key not in found:
            examples = np.ones(len(train.values), dtype=bool)
            for word in wanted:
                if word not in train.scalar_names:
                    raise DataError(
                        f"gaussian: the training set of {train.source} has no class {word}; "
                        f"it has {', '.join(train.scalar_names)}: change data.split"
                    )
                examples &= train.scalars[:, train.scalar_names.index(word)] > 0.5
            found[key] = (np.zeros(cases, dtype=bool), examples)
        found[key][0][case] = True
    return [(key, *masks) for key, masks in found.items()]


@dataclass(frozen=True, kw_only=True)
class Gaussian(Baseline):
    """Draws from a Gaussian with mean and covariance of the training fields, class by class."""

    tasks = ("generate",)

    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """Independent draws of the fit to the case's class."""
        values = problem.train.values
        field = values.shape[2:]
        members = np.empty((len(problem.cases), problem.members, 1, *field), dtype=values.dtype)
        for name, of_class, examples in _groups(problem):
            data = values[examples].reshape(-1, int(np.prod(field))).astype(np.float64)
            if len(data) < 2:
                raise DataError(
                    f"gaussian: {name} has {len(data)} training fields in {problem.train.source}, "
                    "a fit needs 2 or more: enlarge data.split.train"
                )
            mean = data.mean(axis=0)
            root = (data - mean) / np.sqrt(len(data) - 1)
            for case in np.flatnonzero(of_class):
                random = generator(problem, "gaussian", problem.cases.keys[case])
                noise = random.standard_normal((problem.members, len(root)))
                members[case, :, 0] = (mean + noise @ root).reshape(-1, *field)
        return members

"""What every baseline is: an honest ensemble that needs no network."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from diffsci.data.fields import Cases, Fields
from diffsci.errors import DataError
from diffsci.solvers.base import Solver

Fitted = TypeVar("Fitted")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a baseline may use: the training data, and what is given for each case. Never the truth.

    Args:
        train: Training fields in physical units.
        train_given: What would have been given for each training window, in physical units on
            the full grid: the last history frame, or the interpolated coarse field; none for
            `generate`.
        train_truth: What was to be sampled there.
        given: The same for each case of the test set.
        cases: The test cases.
        seed: Of every random choice.
        members: Members of random ensembles.
        test: The test fields; `past` gives what of them lies before the cases, and no more.
        solver: What made the test data, where a solver did.
    """

    train: Fields
    train_given: Float[np.ndarray, "window channel *space"] | None
    train_truth: Float[np.ndarray, "window channel *space"]
    given: Float[np.ndarray, "case channel *space"] | None
    cases: Cases
    seed: int
    members: int
    test: Fields | None = None
    solver: Solver | None = None
    _kept: dict[str, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    def part(self, cases: slice) -> Problem:
        """The same for some of the cases; what was fitted is kept."""
        every = self.cases
        some = replace(
            every,
            rows=every.rows[cases],
            keys=every.keys[cases],
            trajectories=every.trajectories[cases],
            times=every.times[cases],
            labels={name: values[cases] for name, values in every.labels.items()},
        )
        given = None if self.given is None else self.given[cases]
        made = replace(self, cases=some, given=given)
        object.__setattr__(made, "_kept", self._kept)
        return made

    def once(self, name: str, make: Callable[[], Fitted]) -> Fitted:
        """What a baseline fits on the training data: made once for all parts of the cases."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[return-value]

    def past(self, back: tuple[int, ...]) -> Float[np.ndarray, "case frame ..."] | None:
        """Frames so many data steps before the last given one of each case, physical units.

        Args:
            back: Steps, 0 or more.

        Returns:
            `[case, frame, channel, *space]`; none where some case lacks one of them.
        """
        if self.test is None or min(back) < 0:
            return None
        trajectory, time = self.cases.rows.T
        first = time - max(back)
        breaks = np.cumsum(self.test.breaks)
        if (first < 0).any() or (breaks[time] > breaks[np.maximum(first, 0)]).any():
            return None
        return np.stack([self.test.values[trajectory, time - steps] for steps in back], axis=1)


class Baseline(ABC):
    """A family member: frozen dataclass."""

    tasks: tuple[str, ...]
    """The tasks it has a meaning for."""

    drawn: bool = True
    """Whether the seed decides on its members, where it has several."""

    def fits(self, problem: Problem) -> str | None:
        """Why it has no meaning for these data; none where it has one."""
        return None

    def each(self) -> dict[str, Baseline]:
        """Its rows of the table, by what follows its name; several where a key has several values.

        Those of several values have one each.
        """
        return {"": self}

    @abstractmethod
    def __call__(self, problem: Problem) -> Float[np.ndarray, "case member lead channel *space"]:
        """The ensemble, physical units; one member where the baseline is deterministic."""


def generator(problem: Problem, baseline: str, key: str) -> np.random.Generator:
    """Random numbers of one baseline and case, whatever other cases there are."""
    return np.random.default_rng([problem.seed, zlib.crc32(f"{baseline}/{key}".encode())])


def lead_count(problem: Problem) -> int:
    """Length of the lead axis: 1 where the task has none."""
    return max(1, len(problem.cases.leads))


def required(found: np.ndarray | None, baseline: str, what: str) -> np.ndarray:
    """The array, once it is known to be there.

    Raises:
        DataError: When the task gives nothing, so that the baseline has no meaning.
    """
    if found is None:
        raise DataError(
            f"{baseline}: needs {what}, and this task gives none; take it out of evaluate.baselines"
        )
    return found

"""Asking: which states, and which of their cells, a case asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from diffsci.data.fields import Cases
from diffsci.data.tasks.base import Task
from diffsci.errors import DataError


def steps_of(task: Task, leads: int) -> tuple[int, ...]:
    """Data steps from a case's row to each state that is made for it; none without a lead axis."""
    return tuple(task.step * n for n in range(1, leads + 1)) if task.has_leads else ()


def asked(
    truth: np.ndarray, cells: Bool[np.ndarray, "case channel *space"], cases: Cases, source: str
) -> tuple[np.ndarray, np.ndarray, Cases]:
    """Truth where it is asked for, what is kept elsewhere, and cases that say which is which.

    Args:
        truth: Physical units, `[case, lead, channel, *space]`.
        cells: Those that are given as they are.
        cases: Labels.
        source: For messages.

    Raises:
        DataError: For a case of which nothing is asked.
    """
    wanted = ~cells & np.isfinite(truth[:, 0])
    empty = np.argwhere(~wanted.any(axis=tuple(range(2, wanted.ndim))))
    if len(empty):
        raise DataError(
            f"{source}: nothing is asked of channel {empty[0, 1]} in case "
            f"{cases.keys[empty[0, 0]]}: every value that it has is given; hide more of it, or "
            "leave it out of data.split.test"
        )
    kept = np.where(cells, truth[:, 0], np.float32(np.nan))
    return np.where(wanted[:, None], truth, np.float32(np.nan)), kept, with_known(cases, cells)


def with_known(cases: Cases, cells: Bool[np.ndarray, "case channel *space"]) -> Cases:
    """The cases with a label for each cell: 1 where all variables were given."""
    known = np.asarray(cells.all(axis=1), dtype=np.int8)
    return replace(cases, labels={**cases.labels, "known": known})


def nameless(cases: Cases) -> Cases:
    """Samples given nothing belong to no time: they are numbered."""
    return replace(
        cases,
        keys=tuple(f"sample={number}" for number in range(len(cases))),
        trajectories=np.arange(len(cases)),
        times=cases.times[:0],
    )

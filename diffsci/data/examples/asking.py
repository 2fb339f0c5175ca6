"""Asking: which states, and which of their cells, a case asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32

from diffsci.data.examples.truth import Truth
from diffsci.data.fields import Cases
from diffsci.data.tasks.base import Task
from diffsci.errors import DataError


def steps_of(task: Task, leads: int) -> tuple[int, ...]:
    """Data steps from a case's row to each state that is made for it; none without a lead axis."""
    return tuple(task.step * n for n in range(1, leads + 1)) if task.has_leads else ()


def kept_of(
    truth: Truth, known: Bool[np.ndarray, "case channel *space"], keys: tuple[str, ...]
) -> Float32[np.ndarray, "case channel *space"]:
    """The values that are given as they are, NaN elsewhere.

    Args:
        truth: All values, of a task without leads.
        known: Which of them are given.
        keys: Names of the cases.

    Raises:
        DataError: For a case of which nothing is asked.
    """
    kept = np.full(known.shape, np.nan, dtype=np.float32)
    for cases, block in truth.blocks():
        values, given = block[:, 0], known[cases]
        wanted = ~given & np.isfinite(values)
        empty = np.argwhere(~wanted.any(axis=tuple(range(2, wanted.ndim))))
        if len(empty):
            case, channel = (int(number) for number in empty[0])
            raise DataError(
                f"{truth.fields.source}: nothing is asked of channel {channel} in case "
                f"{keys[cases.start + case]}: every value that it has is given; hide more of it, "
                "or leave it out of data.split.test"
            )
        np.copyto(kept[cases], values, where=given)
    return kept


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

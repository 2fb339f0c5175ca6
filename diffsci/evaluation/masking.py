"""Masking: cells that are missing by declaration count in no score.

Weight is 0 there, and members and truth have one value, so that a score that looks at neighbours
or waves sees no difference. Where gaps move, cases are scored in groups of the same cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.evaluation.scores.base import Pairs, Score

Where = tuple[int, int, Sequence[str], tuple[float, ...]]
"""Number of the first case and lead of a block, names of all cases, all leads."""


def allowed(
    truth: Float[np.ndarray, "case lead *space"], channel: Channel, where: Where
) -> Bool[np.ndarray, "case lead *space"] | None:
    """Where the truth is missing by declaration; none where nothing may be.

    Args:
        truth: Of one channel.
        channel: Which.
        where: Number of the first case and lead, names of all cases, all leads.

    Raises:
        DataError: For a case and lead without a single cell.
    """
    if channel.missing == "forbidden":
        return None
    gaps = np.asarray(np.isnan(truth))
    empty = np.argwhere(gaps.all(axis=tuple(range(2, truth.ndim))))
    if len(empty):
        case, lead = (int(number) for number in empty[0])
        raise DataError(
            f"truth: {channel.name} has no value at all in {place(where, case, lead)}; leave that "
            "time out of the truth (of a run: out of data.split.test)"
        )
    return gaps


def place(where: Where, case: int, lead: int) -> str:
    """Case and lead of a block in words."""
    first, step, keys, _ = where
    key = keys[first + case] if len(keys) else str(first + case)
    return f"case {key}, lead step {step + lead + 1}"


def filled(pairs: Pairs) -> Iterator[tuple[Int[np.ndarray, " case"], Pairs]]:
    """Numbers of cases with the same cells, and those cases, weighed by these cells."""
    seen = ~np.isnan(pairs.truth)
    cases = np.arange(len(seen))
    if seen.all():
        yield cases, pairs
        return
    alike: dict[bytes, list[int]] = {}
    for case in cases:
        alike.setdefault(np.packbits(seen[case]).tobytes(), []).append(int(case))
    for rows in alike.values():
        there, weights = seen[rows[0]], pairs.weights * seen[rows[0]]
        middle = pairs.truth[rows][:, there].mean(axis=1)
        middle = middle.reshape(-1, *[1] * there.ndim)
        yield (
            np.array(rows),
            replace(
                pairs,
                members=np.where(there, pairs.members[rows], middle[:, None]),
                truth=np.where(there, pairs.truth[rows], middle),
                weights=weights / weights.mean(),
                labels=None if pairs.labels is None else pairs.labels[rows],
                train=None if pairs.train is None else np.where(there, pairs.train, 0.0),
                climate=None if pairs.climate is None else pairs.climate.changed(_nothing(there)),
            ),
        )


def _nothing(there: Bool[np.ndarray, "*space"]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda field: np.where(there, field, 0.0)


def statistics(score: Score, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
    """`Score.statistics` of all cases, over the cells that are there."""
    found: np.ndarray | None = None
    for rows, part in filled(pairs):
        block = score.statistics(part)
        found = np.empty((len(pairs.truth), block.shape[1])) if found is None else found
        found[rows] = block
    assert found is not None
    return found

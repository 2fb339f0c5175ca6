"""Masking: cells that are missing by declaration count in no score.

Weight is 0 there, and members and truth have one value, so that a score that looks at neighbours
or waves sees no difference. Where gaps move, cases are scored in groups of the same cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.evaluation.scores.base import Pairs, Score


def allowed(
    truth: Float[np.ndarray, "case lead channel *space"], channels: tuple[Channel, ...]
) -> Bool[np.ndarray, "case lead channel *space"] | None:
    """Where the truth is missing by declaration; none where nothing may be.

    Raises:
        DataError: For a case and lead without a single cell.
    """
    gappy = np.array([channel.missing != "forbidden" for channel in channels])
    if not gappy.any():
        return None
    gaps = np.isnan(truth) & gappy.reshape(-1, *[1] * (truth.ndim - 3))
    empty = np.argwhere(gaps.all(axis=tuple(range(3, truth.ndim))))
    if len(empty):
        case, lead, index = empty[0]
        raise DataError(
            f"truth: {channels[index].name} has no value at all in case {case}, lead step "
            f"{lead + 1}; leave that time out of data.split.test"
        )
    found: np.ndarray = gaps
    return found


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
            ),
        )


def statistics(score: Score, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
    """`Score.statistics` of all cases, over the cells that are there."""
    found: np.ndarray | None = None
    for rows, part in filled(pairs):
        block = score.statistics(part)
        found = np.empty((len(pairs.truth), block.shape[1])) if found is None else found
        found[rows] = block
    assert found is not None
    return found

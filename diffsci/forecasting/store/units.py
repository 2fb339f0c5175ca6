"""Units of work: which members of which cases are computed together, and committed at once.

A unit is a rectangle: some consecutive cases times some consecutive members, all leads of each. No
two units share a file, so they may be computed anywhere and in any order. How the work is cut has
no influence on any bit of the result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

UNIT_BYTES = 1_000_000
"""A window of leads may have so many bytes, even where `batch` allows fewer leads."""

_ROWS_BYTES = 16_000_000
"""A unit may have more rows than `batch` while one lead of them has no more bytes than this."""

_MOST_BATCHES = 32
"""And while they are no more batches of the network: a kill loses what is in hand."""

_FILLED_UP = 1.03
"""So much more work than the least is accepted for smaller units."""


@dataclass(frozen=True, kw_only=True, order=True)
class Unit:
    """A rectangle of work.

    Args:
        first: Its first case.
        after: The one after its last case.
        start: Its first member.
        stop: The one after its last member.
    """

    first: int
    after: int
    start: int
    stop: int

    @property
    def cases(self) -> int:
        """How many."""
        return self.after - self.first

    @property
    def members(self) -> int:
        """How many of each case."""
        return self.stop - self.start

    @property
    def rows(self) -> int:
        """Members of cases in all."""
        return self.cases * self.members

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Case and member of each row."""
        return list(itertools.product(range(self.first, self.after), range(self.start, self.stop)))


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How work is cut into units.

    Args:
        compute_batch: Rows that the network takes at once, always exactly so many.
        batch: Rows that a unit may have (`runtime.batch`).
        state_bytes: Of one state.
    """

    compute_batch: int
    batch: int
    state_bytes: int

    @property
    def most_rows(self) -> int:
        """Largest number of rows in a unit."""
        small = min(_MOST_BATCHES * self.compute_batch, _ROWS_BYTES // max(1, self.state_bytes))
        return max(self.batch, self.compute_batch, small)

    def window(self, unit: Unit, leads: int) -> int:
        """Leads that are held of a unit before they are written."""
        by_rows = self.batch // unit.rows
        by_bytes = UNIT_BYTES // max(1, unit.rows * self.state_bytes)
        return max(1, min(leads, max(by_rows, by_bytes)))

    def units(self, missing: Bool[np.ndarray, "case member"]) -> list[Unit]:
        """The work that is missing, cut into units, in the order of cases and members."""
        return [
            unit
            for first, after, start, stop in rectangles(missing)
            for unit in self._cut(first, after, start, stop)
        ]

    def _cut(self, first: int, after: int, start: int, stop: int) -> Iterator[Unit]:
        members = stop - start
        if members > self.most_rows:
            block = max(self.compute_batch, self._whole_batches(self.most_rows))
            for case, low in itertools.product(range(first, after), range(start, stop, block)):
                yield Unit(first=case, after=case + 1, start=low, stop=min(low + block, stop))
            return
        cases = self._cases(after - first, members)
        for low in range(first, after, cases):
            yield Unit(first=low, after=min(low + cases, after), start=start, stop=stop)

    def _whole_batches(self, rows: int) -> int:
        return rows // self.compute_batch * self.compute_batch

    def _cases(self, cases: int, members: int) -> int:
        """The fewest cases of a unit with which few rows are filled up."""

        def batches(rows: int) -> int:
            return math.ceil(rows / self.compute_batch)

        def cost(each: int) -> int:
            whole, rest = divmod(cases, each)
            return whole * batches(each * members) + batches(rest * members)

        costs = {each: cost(each) for each in range(1, min(cases, self.most_rows // members) + 1)}
        least = min(costs.values())
        return next(each for each, found in costs.items() if found <= _FILLED_UP * least)


def rectangles(missing: Bool[np.ndarray, "case member"]) -> Iterator[tuple[int, int, int, int]]:
    """What is missing as rectangles: first case, the one after the last, and the same of members.

    Consecutive cases that lack the same members are taken together.
    """
    packed = [row.tobytes() for row in missing]
    first = 0
    for pattern, group in itertools.groupby(packed):
        after = first + len(list(group))
        row = np.frombuffer(pattern, dtype=bool)
        for start, stop in runs(row):
            yield first, after, start, stop
        first = after


def runs(row: Iterable[bool] | Bool[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """First and one after the last place of each stretch that is true."""
    edges = np.diff(np.concatenate([[False], np.asarray(row, dtype=bool), [False]]).astype(np.int8))
    first, after = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(first.tolist(), after.tolist(), strict=True))


def chunk_shape(shape: Sequence[int], window: int, item_bytes: int = 4) -> tuple[int, ...]:
    """Chunks of a unit's array `[case, member, lead, channel, *space]`, of 8 MB at most.

    Leads are cut where windows end, so that every write is of whole chunks. What is read later is
    some channels of some cases; so these dims are cut first.
    """
    chunks = [*shape[:2], window, *shape[3:]]
    for axis in (0, 1, 3):
        too_large = math.prod(chunks) * item_bytes / 8_000_000
        chunks[axis] = max(1, math.floor(chunks[axis] / max(1.0, too_large)))
    return tuple(max(1, size) for size in chunks)

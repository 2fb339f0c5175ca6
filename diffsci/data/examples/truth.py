"""Truth: the states that the test cases ask for, taken from the data where they are looked at.

With leads a state is the truth of many cases: together they are larger than the data they come
from. So it is the data that is held, or that stays on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int

from diffsci.data.fields import Fields

_BLOCK_BYTES = 64_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """Stands for `[case, lead, channel, *space]` in physical units.

    Args:
        fields: The test part.
        rows: Trajectory and time index of each case's last given frame.
        ahead: Data steps from there to each lead.
        known: Values that are given, and so not asked for: NaN. None where all are asked for.
        rim: Cells whose states are given at all leads: NaN as well.
    """

    fields: Fields
    rows: Int[np.ndarray, "case 2"]
    ahead: Int[np.ndarray, " lead"]
    known: Bool[np.ndarray, "case channel *space"] | None = None
    rim: Bool[np.ndarray, "*space"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that this stands for."""
        return (len(self.rows), len(self.ahead), *self.fields.values.shape[2:])

    def __len__(self) -> int:
        return len(self.rows)

    def read(
        self, cases: slice = slice(None), leads: slice = slice(None), channel: int | None = None
    ) -> Float32[np.ndarray, "case lead ..."]:
        """Some cases and leads, in memory: of all channels, or `[case, lead, *space]` of one."""
        trajectories, times = self.rows[cases, :1], self.rows[cases, 1:] + self.ahead[leads]
        if channel is None:
            values = self.fields.values[trajectories, times]
        else:
            values = self.fields.values[trajectories, times, channel]
        values = np.asarray(values)  # a copy: its indices are arrays
        if self.known is not None:
            known = self.known[cases] if channel is None else self.known[cases, channel]
            values[np.broadcast_to(known[:, None], values.shape)] = np.nan
        if self.rim is not None:
            values[..., self.rim] = np.nan
        return values

    def blocks(
        self, multiple: int = 1
    ) -> Iterator[tuple[slice, Float32[np.ndarray, "case lead channel *space"]]]:
        """All of it, some cases at a time: a multiple of so many, but for the last."""
        most = _BLOCK_BYTES // max(1, 4 * int(np.prod(self.shape[1:])))
        size = multiple * max(1, most // multiple)
        for first in range(0, len(self), size):
            part = slice(first, min(first + size, len(self)))
            yield part, self.read(part)

    def part(self, cases: Int[np.ndarray, " case"] | list[int]) -> Truth:
        """That of some of the cases."""
        known = None if self.known is None else self.known[cases]
        return replace(self, rows=self.rows[cases], known=known)

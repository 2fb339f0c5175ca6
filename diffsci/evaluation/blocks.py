"""Blocks: forecasts and truth as they are read, some cases and leads at a time.

What is scored may be larger than memory: an array and a store are read alike, and a block is as
large as some hundred megabytes allow, one case at one lead at least.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

BLOCK_BYTES = 256_000_000
"""What is read at once of one forecast, as float32."""


class Values(ABC):
    """Members of all cases, or the truth as a single member, in physical units.

    Args:
        shape: `case, member, lead, channel, *space`.
    """

    shape: tuple[int, ...]

    def members_of(self, channel: int) -> int:
        """Members of one channel: a variable of a file may have one, and others many."""
        return self.shape[1]

    @abstractmethod
    def read(
        self, cases: slice, leads: slice, channel: int
    ) -> Float[np.ndarray, "case member lead *space"]:
        """Those cases and leads of one channel."""


@dataclass(frozen=True, kw_only=True)
class Held(Values):
    """Values that are in memory."""

    values: Float[np.ndarray, "case member lead channel *space"]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """That of the array."""
        return self.values.shape

    def read(
        self, cases: slice, leads: slice, channel: int
    ) -> Float[np.ndarray, "case member lead *space"]:
        """A view."""
        return self.values[cases, :, leads, channel]


@dataclass(frozen=True, kw_only=True)
class Lazy(Values):
    """Values that are read, or made, when their turn comes.

    Args:
        shape: As above.
        reads: What `read` calls.
        members: Of each channel, where they differ.
    """

    shape: tuple[int, ...]
    reads: Callable[[slice, slice, int], np.ndarray]
    members: tuple[int, ...] = ()

    def members_of(self, channel: int) -> int:
        """Those of the channel, where they differ."""
        return self.members[channel] if self.members else self.shape[1]

    def read(
        self, cases: slice, leads: slice, channel: int
    ) -> Float[np.ndarray, "case member lead *space"]:
        """What the function gives."""
        return self.reads(cases, leads, channel)


def of(values: Values | np.ndarray) -> Values:
    """An array as something that is read."""
    return Held(values=values) if isinstance(values, np.ndarray) else values


@dataclass(frozen=True, kw_only=True)
class Through(Values):
    """Values of another kind, at which something looks when they are read.

    Args:
        values: They.
    """

    values: Values

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Theirs."""
        return self.values.shape

    def members_of(self, channel: int) -> int:
        """Theirs."""
        return self.values.members_of(channel)


def whole(values: Values) -> Float[np.ndarray, "case member lead channel *space"]:
    """All of it, in memory."""
    if isinstance(values, Held):
        return values.values
    cases, _, leads, channels = values.shape[:4]
    every = (slice(0, cases), slice(0, leads))
    fields = [values.read(*every, channel) for channel in range(channels)]
    return np.stack(alike(fields, values.shape[1]), axis=3)


def alike(fields: list[np.ndarray], members: int) -> list[np.ndarray]:
    """Fields of as many members each; a single one stands for all, since pictures show the same."""
    wide = [(field.shape[0], members, *field.shape[2:]) for field in fields]
    return [np.broadcast_to(field, shape) for field, shape in zip(fields, wide, strict=True)]


def blocks(shapes: Mapping[str, tuple[int, ...]], most: int) -> Iterator[tuple[slice, slice]]:
    """Cases and leads of each block: all leads of some cases where they fit, else some of one.

    Args:
        shapes: Of all forecasts; they differ in members alone.
        most: Bytes of the largest one's block in float32: of all channels, where several cases
            are together, of one channel else.
    """
    cases, _, leads, channels, *space = next(iter(shapes.values()))
    members = max(shape[1] for shape in shapes.values())
    field = 4 * members * int(np.prod(space))
    together = max(1, most // max(1, field * leads * channels))
    ahead = max(1, min(leads, most // max(1, field * min(together, cases))))
    for first in range(0, cases, together):
        for lead in range(0, leads, ahead):
            yield (
                slice(first, min(first + together, cases)),
                slice(lead, min(lead + ahead, leads)),
            )


def slabs(size: int, row_bytes: int, most: int) -> Iterator[slice]:
    """Rows of the first space axis, so many that a slab has `most` bytes at most, one at least."""
    rows = max(1, most // max(1, row_bytes))
    for first in range(0, size, rows):
        yield slice(first, min(first + rows, size))

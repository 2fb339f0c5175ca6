"""Stored values: a part of a data set that stays on disk, indexed like the array it stands for.

They hold readers (see `states.py`), so no handle and no dask object, and may go to a worker of any
start method. What an index asks for is read, put into its units, and searched for NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from diffsci.data.canonical import times as stamps
from diffsci.data.prepared.numbered import DamagedError, States
from diffsci.errors import DataError

BLOCK = 64 * 2**20
"""Bytes of fields that a pass over all of them holds at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """One variable: some channels, one after the other.

    Args:
        name: Of the variable.
        reader: Gives its fields, as the file has them.
        numbered: Whether sample and time number its fields; what they do not is the same for all.
        first: Number of the first sample and the first time in the reader.
        order: Of the axes of a field there, so that the stacked one comes first, then space.
        missing: What a NaN means.
        attributes: How its values become physical; see `stacking.physical`.
    """

    name: str
    reader: States
    numbered: tuple[bool, bool]
    first: tuple[int, int]
    order: tuple[int, ...]
    missing: str
    attributes: dict[str, Any]

    def read(self, rows: Int[np.ndarray, "row 2"]) -> Float32[np.ndarray, "row ..."]:
        """Fields of these samples and times."""
        from diffsci.data.stacking import physical

        own = (rows + np.array(self.first))[:, np.array(self.numbered)]
        values = self.reader.read(own)[:, 0]
        values = values.transpose(0, *(1 + axis for axis in self.order))
        with np.errstate(over="ignore"):
            return np.asarray(physical(values, self.attributes), dtype=np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """Values on disk: `values[...]` reads what the first axes of the index name, and no more.

    Args:
        pieces: The variables, in the order of their channels.
        shape: `[trajectory, time, channel, *space]`; with `flat`, `[frame, channel, *space]`.
        trajectories: Label of each trajectory, for messages.
        times: Label of each time.
        source: For messages.
        filling: Number of each channel for what is missing by declaration; none leaves NaN.
        flat: Whether the frames of all trajectories are numbered through.
    """

    pieces: tuple[Piece, ...]
    shape: tuple[int, ...]
    trajectories: np.ndarray
    times: np.ndarray
    source: str
    filling: np.ndarray | None = None
    flat: bool = False

    dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        for number in range(len(self)):
            yield self[number]

    def __getitem__(self, key: Any) -> np.ndarray:  # noqa: ANN401  as numpy has it
        keys = key if isinstance(key, tuple) else (key,)
        if any(each is Ellipsis for each in keys):
            at = next(i for i, each in enumerate(keys) if each is Ellipsis)
            whole = (slice(None),) * (self.ndim - len(keys) + 1)
            keys = (*keys[:at], *whole, *keys[at + 1 :])
        leads = 1 if self.flat else 2
        chosen = np.asarray(self._numbers[keys[:leads]])
        numbers, places = np.unique(chosen.ravel(), return_inverse=True)
        fields = self._read(numbers)
        if len(numbers) < chosen.size or not np.array_equal(places, np.arange(len(places))):
            fields = fields[places.ravel()]
        values: np.ndarray = fields.reshape(*chosen.shape, *self.shape[leads:])
        rest = keys[leads:]
        return values[(slice(None),) * chosen.ndim + rest] if rest else values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401
        return np.asarray(self[:], dtype=dtype)

    @cached_property
    def _numbers(self) -> np.ndarray:
        numbers = np.arange(len(self.trajectories) * len(self.times))
        return numbers if self.flat else numbers.reshape(self.shape[:2])

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Numbers."""
        return int(np.prod(self.shape))

    @property
    def gappy(self) -> bool:
        """Whether some values may be missing, by declaration."""
        return any(piece.missing != "forbidden" for piece in self.pieces)

    @property
    def nbytes(self) -> int:
        """Bytes, were they in memory."""
        return 4 * self.size

    def reshape(self, *shape: int) -> Stored:
        """The same with the frames of all trajectories numbered through: `(-1, *field)`."""
        if self.flat or shape != (-1, *self.shape[2:]):
            raise ValueError(f"stored values cannot take the shape {shape}")
        frames = self.shape[0] * self.shape[1]
        return replace(self, shape=(frames, *self.shape[2:]), flat=True)

    def mean(self, axis: tuple[int, int], dtype: type) -> np.ndarray:
        """The mean field: over trajectories and times, a block at a time."""
        if axis != (0, 1):
            raise ValueError(f"stored values have no mean over the axes {axis}")
        total: Any = 0
        for _, _, block in frames(self):
            total = total + block.sum(axis=0, dtype=dtype)
        return np.asarray(total / (self.shape[0] * self.shape[1]))

    def filled(self, means: np.ndarray) -> Stored:
        """The same with a number for what is missing, one for each channel."""
        return replace(self, filling=means)

    def _read(self, numbers: Int[np.ndarray, " row"]) -> Float32[np.ndarray, "row ..."]:
        field = self.shape[1:] if self.flat else self.shape[2:]
        rows = np.stack(np.divmod(numbers, len(self.times)), axis=1)
        made, start = np.empty((len(rows), *field), np.float32), 0
        for piece in self.pieces if len(rows) else ():
            try:
                values = piece.read(rows)
            except DamagedError as error:
                raise self._told(piece, error) from error
            values = values.reshape(len(rows), -1, *field[1:])
            self._require(piece, rows, values)
            made[:, start : start + values.shape[1]] = values
            start += values.shape[1]
        if self.filling is not None:
            np.copyto(made, self.filling, where=np.isnan(made))
        return made

    def _require(self, piece: Piece, rows: np.ndarray, values: np.ndarray) -> None:
        """Refuse what is neither a number nor a gap by declaration."""
        bad = ~np.isfinite(values)
        if not bad.any():
            return
        if piece.missing != "forbidden":
            bad = np.isinf(values)
        if bad.any():
            row = rows[int(np.argwhere(bad)[0, 0])]
            raise DataError(
                f"{self.source}: variable {piece.name} at {self._place(row)}: {int(bad.sum())} "
                "values are NaN or infinite; mend the file, or declare what they mean by "
                "`missing:` under `variables:` in its catalog entry (`diffsci data describe` "
                "writes one)"
            )

    def _told(self, piece: Piece, error: DamagedError) -> DataError:
        """The damage with its file and time, where the reader has its number."""
        numbers = iter(error.row)
        row = [
            int(next(numbers)) - first if numbered else 0
            for numbered, first in zip(piece.numbered, piece.first, strict=True)
        ]
        return DataError(
            f"{error.file}: variable {piece.name} at {self._place(row)}: {error.why}; {error.fix}"
        )

    def _place(self, row: Any) -> str:  # noqa: ANN401  a list or an array of two numbers
        words = []
        if len(self.trajectories) > 1:
            words.append(f"sample={self.trajectories[row[0]]}")
        if len(self.times) > 1 or not words:
            words.append(f"time={stamps.name(self.times[row[1]])}")
        return ", ".join(words)


def frames(values: np.ndarray | Stored, most: int = BLOCK) -> Iterator[tuple[int, int, np.ndarray]]:
    """All fields in order, in blocks: trajectory, first time, and `[frame, channel, *space]`.

    Args:
        values: `[trajectory, time, channel, *space]`.
        most: Bytes of a block, about.
    """
    step = max(1, most // max(1, 4 * int(np.prod(values.shape[2:]))))
    for trajectory in range(values.shape[0]):
        for first in range(0, values.shape[1], step):
            yield trajectory, first, values[trajectory, first : first + step]

"""What every reader of fields by number is: map-style, without a handle, told damage by number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from diffsci.errors import DataError

opened: dict[tuple[int, str], Any] = {}
"""What is open, by process: a child that was forked opens its own."""


def runs(
    rows: Int[np.ndarray, "row lead"],
) -> Iterator[tuple[slice, tuple[int | slice, ...]]]:
    """Rows that follow one another along the last lead: their places, and the box they fill."""
    if not len(rows):
        return
    one = np.zeros(rows.shape[1], dtype=np.int64)
    one[-1:] = 1
    apart = (np.diff(rows, axis=0) != one).any(axis=1) | (rows.shape[1] == 0)
    starts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(rows)]
    for start, stop in pairwise(starts):
        first, last = rows[start].tolist(), rows[stop - 1].tolist()
        box = (*first[:-1], slice(first[-1], last[-1] + 1)) if first else ()
        yield slice(start, stop), box


class DamagedError(DataError):
    """A field that cannot be read, told by its number.

    Args:
        message: All of it.
        file: Store or file.
        variable: Of the field.
        row: Its number.
        why: What is wrong.
        fix: What to do.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        variable: str = "",
        row: tuple[int, ...] = (),
        why: str = "",
        fix: str = "",
    ) -> None:
        super().__init__(message)
        self.file, self.variable, self.row, self.why, self.fix = file, variable, row, why, fix

    @classmethod
    def of(cls, file: Path, variable: str, row: Any, why: str, fix: str) -> DamagedError:  # noqa: ANN401
        """The error with the message that all these make."""
        row = tuple(int(number) for number in row)
        text = f"{file}: variable {variable}, field {list(row)}: {why}; {fix}"
        return cls(text, file=str(file), variable=variable, row=row, why=why, fix=fix)


@dataclass(frozen=True, kw_only=True)
class States(ABC):
    """Fields of some variables of one store, whose first dims are samples and times.

    Args:
        store: The prepared store.
        variables: In this order along the channel axis.
        leads: How many of their first dims number the fields.
        shape: Of each variable.
    """

    store: Path
    variables: tuple[str, ...]
    leads: int
    shape: tuple[int, ...]

    @abstractmethod
    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """The fields of these numbers, one number for each lead dim.

        Raises:
            DataError: For a chunk that is damaged or missing, naming store, variable and number.
        """

    @property
    def nbytes(self) -> int:
        """Bytes of all fields."""
        return 4 * len(self.variables) * int(np.prod(self.shape))

    def __len__(self) -> int:
        return int(np.prod(self.shape[: self.leads]))

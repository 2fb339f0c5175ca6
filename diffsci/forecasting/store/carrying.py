"""What a store held before it grows, carried over: whole chunks as files, all else as values.

A block of cases that comes out with the chunks it had, such as in a store that gets more initial
times, is not written again: its files get a second name (a hard link), or are copied where the file
system knows none. Each is read first, so that no damage is handed on.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr

from diffsci.errors import StorageError
from diffsci.forecasting.store.disk import quiet
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place

_OWN = ("shape", "attributes")
"""What two arrays with the same chunks may differ in."""


@dataclass(frozen=True)
class Old:
    """A store as it was before.

    Args:
        place: Where it is.
        ledger: What it holds.
    """

    place: Place
    ledger: Ledger

    @cached_property
    def rows(self) -> dict[str, int]:
        """Place of each case by its key."""
        return {key: row for row, key in enumerate(self.ledger.cases)}

    @cached_property
    def arrays(self) -> zarr.Group:
        """Its arrays as they are stored."""
        with quiet():
            return zarr.open_group(self.place.address, mode="r")

    def stored(self, name: str, index: tuple[slice | int, ...], case: str) -> np.ndarray:
        """Stored values of one case.

        Raises:
            StorageError: For a damaged chunk, or one that is missing.
        """
        array: Any = self.arrays[name]
        if name not in self._whole:
            raise self._damaged(name, case, "chunks of it are missing")
        try:
            return np.asarray(array[index])
        except (ValueError, RuntimeError, OSError) as error:
            raise self._damaged(name, case, str(error)) from error

    def carry(self, fresh: Place, name: str, array: Any, number: int, keys: list[str]) -> bool:  # noqa: ANN401  zarr has no types
        """Put the chunks of a block of cases into a new store as they lie here, where they fit.

        Args:
            fresh: The new store.
            name: Of the variable.
            array: That of the new store.
            number: Of the block, along the new store's cases.
            keys: Its cases.

        Returns:
            Whether they did.

        Raises:
            StorageError: For a damaged chunk, or where nothing can be written.
        """
        mine: Any = self.arrays[name]
        size, first = int(array.chunks[0]), self.rows.get(keys[0], -1)
        if first < 0 or first % size or _told(mine) != _told(array):
            return False
        if (
            list(self.ledger.cases)[first : first + size] != keys
            or mine.shape[1:] != array.shape[1:]
        ):
            return False
        counts = [-(-n // chunk) for n, chunk in zip(array.shape, array.chunks, strict=True)]
        for rest in itertools.product(*map(range, counts[1:])):
            place = (first // size, *rest)
            region = tuple(
                slice(i * chunk, (i + 1) * chunk)
                for i, chunk in zip(place, mine.chunks, strict=True)
            )
            self.stored(name, region, keys[0])
            new = f"{name}/{array.metadata.encode_chunk_key((number, *rest))}"
            fresh.take(new, self.place, f"{name}/{mine.metadata.encode_chunk_key(place)}")
        return True

    @cached_property
    def _whole(self) -> set[str]:
        """Variables of which every chunk is there: one that is not would be read as NaN."""
        files = set(self.place.files())
        found = set()
        for name, array in self.arrays.arrays():
            counts = [-(-n // chunk) for n, chunk in zip(array.shape, array.chunks, strict=True)]
            keys = map(array.metadata.encode_chunk_key, itertools.product(*map(range, counts)))
            if math.prod(counts) and all(f"{name}/{key}" in files for key in keys):
                found.add(name)
        return found

    def _damaged(self, name: str, case: str, why: str) -> StorageError:
        return StorageError(
            f"{self.place}: {name} of case {case} is damaged ({why}); `diffsci verify` tells all "
            "that is; sample into another store with --out"
        )


def _told(array: Any) -> dict[str, Any]:  # noqa: ANN401  zarr has no types
    """What the bytes of a chunk depend on beside its values."""
    return {key: each for key, each in array.metadata.to_dict().items() if key not in _OWN}

"""Checks of a store that is there: every chunk is read, and what is missing or damaged is named."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zarr

from diffsci.forecasting.store.disk import quiet
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A chunk that is missing, or is not what was written.

    Args:
        store: Where it is.
        variable: Name of the array.
        chunk: Its file, from the store's root.
        where: Cases, members and other ranges that are in it.
        why: What is wrong.
    """

    store: str
    variable: str
    chunk: str
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.store}: {self.variable}, chunk {self.chunk} ({self.where}): {self.why}"


def damages(store: Place, ledger: Ledger | None = None) -> Iterator[Damage]:
    """Every damaged chunk of a store, coordinates included; reads all of it, a chunk at a time.

    Args:
        store: Where it is.
        ledger: Of the store, whose cases are named; none counts them.
    """
    with quiet():
        group = zarr.open_group(store.address, mode="r")
        keys = list(ledger.cases) if ledger else []
        for name, array in sorted(group.arrays()):
            yield from _of_array(store, name, array, keys)


def count(store: Place) -> tuple[int, int]:
    """Chunks and bytes of a store's arrays as they are when read."""
    with quiet():
        arrays = [array for _, array in zarr.open_group(store.address, mode="r").arrays()]
    chunks = sum(math.prod(_grid(array)) for array in arrays)
    return chunks, sum(array.nbytes for array in arrays)


def _grid(array: Any) -> list[int]:  # noqa: ANN401  zarr has no types
    return [-(-n // size) for n, size in zip(array.shape, array.chunks, strict=True)]


def _of_array(store: Place, name: str, array: Any, keys: list[str]) -> Iterator[Damage]:  # noqa: ANN401
    dims = [str(dim) for dim in _dims(array)]
    for place in itertools.product(*map(range, _grid(array))):
        region = tuple(
            slice(i * size, min((i + 1) * size, n))
            for i, size, n in zip(place, array.chunks, array.shape, strict=True)
        )
        chunk = f"{name}/{array.metadata.encode_chunk_key(place)}"
        why = None
        if not store.has(chunk):
            why = "is missing"
        else:
            try:
                array[region]
            # Codecs raise what they like: ValueError, RuntimeError, or an error of their own.
            except Exception as error:
                why = f"is damaged ({' '.join(str(error).split())[:200]})"
        if why is not None:
            where = ", ".join(
                _range(dim, part, keys if first and len(keys) == array.shape[0] else [])
                for first, dim, part in zip(
                    itertools.chain([True], itertools.repeat(False)), dims, region, strict=False
                )
            )
            yield Damage(store=str(store), variable=name, chunk=chunk, where=where, why=why)


def _dims(array: Any) -> tuple[str, ...]:  # noqa: ANN401
    named = getattr(array.metadata, "dimension_names", None)
    return tuple(named or array.attrs.get("_ARRAY_DIMENSIONS") or map(str, range(array.ndim)))


def _range(dim: str, part: slice, keys: list[str]) -> str:
    """A range of a dim in words, by the names of cases where they are known."""
    first, last = part.start, part.stop - 1
    ends = (keys[first], keys[last]) if keys else (str(first), str(last))
    word = "member" if dim == "number" else dim
    return f"{word} {ends[0]}" if first == last else f"{word} {ends[0]} to {ends[1]}"

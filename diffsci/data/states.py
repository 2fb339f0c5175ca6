"""States: fields of a prepared store by number, through several readers behind one contract.

A reader is map-style and holds no open handle and no dask object: it may go to a worker of any
start method, and what it gives depends on the numbers alone. `best` chooses one and says why.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import psutil
import zarr
from jaxtyping import Float32, Int

from diffsci.data import streaming
from diffsci.errors import DataError

log = logging.getLogger(__name__)

SMALL = 2 * 2**30
"""Bytes up to which data is held in memory."""

_ENTRY = 16
"""Bytes of one chunk in a shard's index: its place and its length."""

_SUM = 4


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


@dataclass(frozen=True, kw_only=True)
class Memory(States):
    """All fields in memory: the fastest there is, where they fit."""

    values: Float32[np.ndarray, "..."] = field(repr=False, compare=False)

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """See `States.read`."""
        chosen: np.ndarray = self.values[tuple(rows.T)]
        return chosen


@dataclass(frozen=True, kw_only=True)
class Mapped(States):
    """One file of plain numbers, mapped into memory: the system keeps what is used in its cache."""

    path: Path

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """See `States.read`."""
        key = (os.getpid(), str(self.path))
        if key not in _opened:  # A mapping holds no descriptor.
            _opened[key] = np.asarray(np.lib.format.open_memmap(self.path, "r"))
        values: np.ndarray = _opened[key][tuple(rows.T)]
        return values


@dataclass(frozen=True, kw_only=True)
class Shards(States):
    """Chunks of a prepared store straight from its shards, each held to its checksum.

    The layout is that of Zarr's sharding codec: chunks anywhere in the file, and at its end an
    index of their places with a checksum of its own.
    """

    shards: tuple[int, ...]

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """See `States.read`."""
        made = np.empty((len(rows), len(self.variables), *self.shape[self.leads :]), np.float32)
        for place, row in enumerate(rows):
            for number, name in enumerate(self.variables):
                made[place, number] = self._field(name, tuple(int(i) for i in row))
        return made

    def _field(self, name: str, row: tuple[int, ...]) -> np.ndarray:
        lead = self.shards[: self.leads]
        cell = [i // n for i, n in zip(row, lead, strict=True)]
        inside = int(np.ravel_multi_index([i % n for i, n in zip(row, lead, strict=True)], lead))
        rest = ["0"] * (len(self.shape) - self.leads)
        path = self.store / name / "c" / "/".join([*map(str, cell), *rest])
        index = _ENTRY * int(np.prod(lead)) + _SUM
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise self._broken(name, row, "its shard is missing") from error
        try:
            end = os.fstat(handle).st_size - index
            places = os.pread(handle, index, end)
            if google_crc32c.value(places[:-_SUM]) != int.from_bytes(places[-_SUM:], "little"):
                raise self._broken(name, row, "the checksum of its shard's index does not fit")
            start, length = struct.unpack_from("<QQ", places, _ENTRY * inside)
            wanted = 4 * int(np.prod(self.shape[self.leads :]))
            if length != wanted + _SUM or start + length > end:
                raise self._broken(name, row, "its place in the shard is damaged")
            chunk = os.pread(handle, length, start)
        except OSError as error:
            raise self._broken(name, row, "its shard is cut off") from error
        finally:
            os.close(handle)
        body = chunk[:-_SUM]
        if google_crc32c.value(body) != int.from_bytes(chunk[-_SUM:], "little"):
            raise self._broken(name, row, "its checksum does not fit")
        return np.frombuffer(body, "<f4").reshape(self.shape[self.leads :])

    def _broken(self, name: str, row: tuple[int, ...], why: str) -> DataError:
        return DataError(
            f"{self.store}: variable {name}, field {list(row)}: {why}; delete the store and run "
            "`diffsci prepare` again"
        )


@dataclass(frozen=True, kw_only=True)
class Chunks(States):
    """Any Zarr store, through zarr itself."""

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """See `States.read`."""
        group: Any = zarr.open_group(self.store, mode="r")
        arrays = [group[name] for name in self.variables]
        try:
            made = [[np.asarray(array[tuple(row)]) for array in arrays] for row in rows.tolist()]
        except (ValueError, OSError, RuntimeError) as error:
            raise DataError(
                f"{self.store}: a chunk of fields {rows.tolist()} cannot be read ({error}); mend it"
            ) from error
        return np.asarray(made, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Concurrent(States):
    """Any Zarr v3 store through tensorstore, all chunks of a batch at once."""

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """See `States.read`."""
        arrays = [_tensorstore(str(self.store / name)) for name in self.variables]
        waiting = [[array[tuple(row.tolist())].read() for array in arrays] for row in rows]
        try:
            made = [[future.result() for future in line] for line in waiting]
        except ValueError as error:
            raise DataError(
                f"{self.store}: a chunk of fields {rows.tolist()} cannot be read ({error}); mend it"
            ) from error
        return np.asarray(made, dtype=np.float32)


_opened: dict[tuple[int, str], Any] = {}
"""Tensorstore's arrays, and mappings, by process: a child that was forked opens its own."""


def _tensorstore(path: str) -> Any:  # noqa: ANN401  tensorstore has no types
    import tensorstore

    key = (os.getpid(), path)
    if key not in _opened:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
        _opened[key] = tensorstore.open(spec, read=True).result()
    return _opened[key]


def told(store: Path, variables: tuple[str, ...] = ()) -> dict[str, Any]:
    """What every reader of a store needs: its variables, how fields are numbered, and shapes.

    Raises:
        DataError: For a store that is none, or variables of several shapes.
    """
    try:
        group = zarr.open_group(store, mode="r")
        arrays = {name: array for name, array in group.arrays() if array.ndim > 1}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{store}: no Zarr store ({error}); run `diffsci prepare` first") from error
    names = variables or tuple(sorted(arrays))
    shapes = {arrays[name].shape for name in names if name in arrays}
    if len(shapes) != 1 or any(name not in arrays for name in names):
        raise DataError(f"{store}: variables {list(names)} are not there, or differ in shape")
    first: Any = arrays[names[0]]
    dims = getattr(first.metadata, "dimension_names", None) or first.attrs.get(
        "_ARRAY_DIMENSIONS", ()
    )
    leads = sum(dim in ("sample", "time") for dim in dims)
    return {"store": store, "variables": names, "leads": leads, "shape": shapes.pop()}


def best(store: Path, variables: tuple[str, ...] = (), memory: int | None = None) -> States:
    """The fastest reader that fits, which is told with the reason.

    Args:
        store: A prepared store, or any Zarr store of fields with one shape.
        variables: Take only these; empty takes all.
        memory: Bytes that may be used; none takes half of what is free.
    """
    common = told(store, variables)
    free = psutil.virtual_memory().available // 2 if memory is None else memory
    plain = Chunks(**common)
    group: Any = zarr.open_group(store, mode="r")
    array = group[common["variables"][0]]
    ours = _is_prepared(array, common)
    reader: States
    if plain.nbytes <= min(SMALL, free):
        reader = loaded(Shards(**common, shards=array.shards) if ours else plain)
        why = f"{plain.nbytes / 2**20:,.0f} MiB fit into memory"
    elif ours:
        reader, why = Shards(**common, shards=array.shards), "larger than memory allows; prepared"
    elif importlib.util.find_spec("tensorstore") and array.metadata.zarr_format == 3:
        reader, why = Concurrent(**common), "larger than memory allows, and tensorstore is there"
    else:
        reader, why = plain, "larger than memory allows; `diffsci prepare` would make it faster"
    log.info("data: %s is read by %s: %s", store, type(reader).__name__.lower(), why)
    return reader


def _is_prepared(array: Any, common: dict[str, Any]) -> bool:  # noqa: ANN401  zarr has no types
    leads, shape = common["leads"], common["shape"]
    codecs = [type(c).__name__ for c in getattr(array, "compressors", ())]
    whole = array.shards is not None and array.shards[leads:] == shape[leads:]
    one = array.chunks == ((1,) * leads + tuple(shape[leads:]))
    plain = array.dtype == np.dtype("<f4") and codecs == ["Crc32cCodec"]
    return bool(whole and one and plain)


def _all(states: States) -> np.ndarray:
    lead = states.shape[: states.leads]
    return np.stack(np.unravel_index(np.arange(len(states)), lead), axis=1)


def loaded(states: States) -> Memory:
    """The same fields in memory."""
    rows, lead = _all(states), states.shape[: states.leads]
    values = np.empty((len(rows), len(states.variables), *states.shape[states.leads :]), np.float32)
    step = max(1, streaming.IN_MEMORY // max(1, states.nbytes // len(rows)))
    for first in range(0, len(rows), step):
        values[first : first + step] = states.read(rows[first : first + step])
    values = values.reshape(*lead, *values.shape[1:])
    return Memory(**_common(states), values=values)


def mapped(states: States, path: Path) -> Mapped:
    """The same fields as one file of plain numbers, written where it is not there yet."""
    lead = states.shape[: states.leads]
    if not path.exists():
        shape = (*lead, len(states.variables), *states.shape[states.leads :])
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        values = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
        for row in _all(states):
            values[tuple(row)] = states.read(row[None])[0]
        values.flush()
        partial.rename(path)
    return Mapped(**_common(states), path=path)


def _common(states: States) -> dict[str, Any]:
    names = ("store", "variables", "leads", "shape")
    return {name: getattr(states, name) for name in names}

"""States: fields of a prepared store by number, through several readers behind one contract.

A reader is map-style and holds no open handle and no dask object: it may go to a worker of any
start method, and what it gives depends on the numbers alone. `best` chooses one and says why.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zarr
from jaxtyping import Float32, Int

from diffsci.data.checks import streaming
from diffsci.data.prepared.numbered import DamagedError, States, opened, runs
from diffsci.data.prepared.shards import Shards
from diffsci.errors import DataError

log = logging.getLogger(__name__)

SMALL = 2 * 2**30
"""Bytes up to which data is held in memory."""

_MEND = "mend the store"


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
        if key not in opened:  # A mapping holds no descriptor.
            opened[key] = np.asarray(np.lib.format.open_memmap(self.path, "r"))
        values: np.ndarray = opened[key][tuple(rows.T)]
        return values


@dataclass(frozen=True, kw_only=True)
class Chunks(States):
    """Any Zarr store, through zarr itself."""

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """See `States.read`."""
        made = np.empty((len(rows), len(self.variables), *self.shape[self.leads :]), np.float32)
        for number, name in enumerate(self.variables):
            array = _array(self.store, name)
            for places, box in runs(rows):
                try:
                    made[places, number] = array[box]
                except (ValueError, OSError, RuntimeError) as error:
                    why = f"cannot be read ({str(error).splitlines()[0]})"
                    raise DamagedError.of(self.store, name, rows[places][0], why, _MEND) from error
        return made


@dataclass(frozen=True, kw_only=True)
class Concurrent(States):
    """Any Zarr v3 store through tensorstore, all chunks of a batch at once."""

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """See `States.read`."""
        arrays = [_tensorstore(str(self.store / name)) for name in self.variables]
        waiting = [[array[tuple(row.tolist())].read() for array in arrays] for row in rows]
        made = np.empty((len(rows), len(self.variables), *self.shape[self.leads :]), np.float32)
        for place, line in enumerate(waiting):
            for number, future in enumerate(line):
                try:
                    made[place, number] = future.result()
                except ValueError as error:
                    why = f"cannot be read ({str(error).splitlines()[0]})"
                    told = (self.store, self.variables[number], rows[place], why, _MEND)
                    raise DamagedError.of(*told) from error
        return made


def _array(store: Path, name: str) -> Any:  # noqa: ANN401  zarr has no types
    """An array of a Zarr store; that of a local one holds no descriptor."""
    key = (os.getpid(), f"zarr {store}/{name}")
    if key not in opened:
        opened[key] = zarr.open_group(store, mode="r")[name]
    return opened[key]


def _tensorstore(path: str) -> Any:  # noqa: ANN401  tensorstore has no types
    import tensorstore

    key = (os.getpid(), f"tensorstore {path}")
    if key not in opened:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
        opened[key] = tensorstore.open(spec, read=True).result()
    return opened[key]


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

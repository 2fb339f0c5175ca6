"""The forecast store on disk: Zarr that is whole or absent, with a checksum on every chunk.

This module knows its layout: chunks, codecs, and how a store is opened. How one grows stands in
`work.py` (what is computed, unit by unit) and `compaction.py` (the canonical layout of it all).
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from diffsci.errors import StorageError
from diffsci.files import put_in_place, storage_errors, sync
from diffsci.forecasting.store.places import Place

CHUNK_BYTES = 4_000_000
"""Cases are put together in a chunk up to this size."""

MOST_BYTES = 100_000_000
"""A chunk of a single case that is larger is split along its leads, levels and space."""

Format = Literal[2, 3]


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which Zarr does not warn of what is meant so.

    Zarr v3 has no consolidated metadata in its text yet; every reader of the field wants it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", category=UserWarning, module="zarr")
        warnings.filterwarnings("ignore", category=FutureWarning, module="zarr")
        # A chunk that is all NaN must be there, too: what is missing is damage.
        with zarr.config.set({"array.write_empty_chunks": True}):
            yield


def codecs(zarr_format: Format) -> tuple[Any, ...]:
    """What compresses chunks and checks them.

    Zarr v3 ends with a crc32c over what is stored. Version 2 has one compressor alone; there it is
    the checksum of Zstandard itself, over the values, which every reader of that checks.
    """
    if zarr_format == 2:
        return (numcodecs.Zstd(level=0, checksum=True),)
    return (ZstdCodec(level=0), Crc32cCodec())


def chunks_of(variable: xr.DataArray, case_dim: str, cases: int) -> dict[str, int]:
    """Chunk sizes of a variable by dim: so many cases, all members, and bounded bytes."""
    return bounded_chunks({str(dim): n for dim, n in variable.sizes.items()}, case_dim, cases)


def bounded_chunks(sizes: dict[str, int], case_dim: str, cases: int) -> dict[str, int]:
    """Chunk sizes by dim of a float32 variable of these sizes; see `chunks_of`."""
    sizes = sizes | {case_dim: min(cases, sizes[case_dim])}
    for dim in sizes:
        # Members stay in one chunk, which scorers need; blocks of cases may share no chunk.
        if dim not in (case_dim, "number"):
            too_large = math.prod(sizes.values()) * 4 / MOST_BYTES
            sizes[dim] = max(1, min(sizes[dim], math.floor(sizes[dim] / max(1.0, too_large))))
    return sizes


def cases_in_chunk(cases: int, bytes_per_case: int) -> int:
    """Cases in one chunk: those of a handy size; it depends on nothing else.

    Args:
        cases: Number of cases.
        bytes_per_case: Of the largest variable, all members and leads.
    """
    return max(1, min(cases, CHUNK_BYTES // max(1, bytes_per_case)))


def encoding_of(
    dataset: xr.Dataset, chunks: dict[str, dict[str, int]], zarr_format: Format
) -> dict[str, dict[str, Any]]:
    """How xarray is to write each variable.

    Args:
        dataset: What is written.
        chunks: Of each data variable.
        zarr_format: Of the store.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        found[str(name)] = {"compressors": codecs(zarr_format)}
        if name in dataset.data_vars:
            sizes = chunks[str(name)]
            found[str(name)]["chunks"] = tuple(sizes[str(dim)] for dim in variable.dims)
            found[str(name)]["_FillValue"] = np.float32(np.nan)
    return found


def write_whole(
    path: Path,
    dataset: xr.Dataset,
    case_dim: str,
    cases: int,
    zarr_format: Format = 3,
    parts: Iterable[tuple[slice, xr.Dataset]] | None = None,
) -> None:
    """Write a data set, replacing what stood there.

    Args:
        path: The store.
        dataset: What to write.
        case_dim: Name of the cases' dimension.
        cases: How many of them lie in one chunk.
        zarr_format: Of the store.
        parts: Cases and their values, in whole chunks, where the data set's own are none (dask
            arrays that are not computed); none writes those of the data set, which are in memory.

    Raises:
        StorageError: When it cannot be written; what was there before stays.
    """
    fresh = path.with_name(f".{path.name}.tmp-whole")
    chunks = {str(n): chunks_of(v, case_dim, cases) for n, v in dataset.data_vars.items()}
    with storage_errors(path, dataset.nbytes), quiet():
        shutil.rmtree(fresh, ignore_errors=True)
        dataset.to_zarr(  # type: ignore[call-overload]  # knows True and False, no bool
            fresh,
            mode="w",
            consolidated=True,
            zarr_format=zarr_format,
            encoding=encoding_of(dataset, chunks, zarr_format),
            write_empty_chunks=True,
            compute=parts is None,
        )
        for chosen, part in parts or ():
            values = part.drop_vars(list(part.coords))
            values.to_zarr(
                fresh, region={case_dim: chosen}, consolidated=True, zarr_format=zarr_format
            )
        put_in_place(fresh, path)
        sync(path.parent)


def open_store(path: Path | str) -> xr.Dataset:
    """A store as xarray sees it, with leads as time differences; read where it is looked at.

    Args:
        path: A folder, or an address of fsspec.

    Raises:
        StorageError: When there is none, or it cannot be opened.
    """
    place = Place.of(path)
    if not place.has_store():
        raise StorageError(f"{place}: no such store; give one that is there, or a finished run")
    # What has a unit of time and is no lead, such as a wave's period in "s", stays a number.
    leads = xr.coders.CFTimedeltaCoder(decode_via_units=False)
    try:
        opened: xr.Dataset = xr.open_zarr(place.address, chunks=None, decode_timedelta=leads)
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{place}: cannot be opened as Zarr ({error})") from None
    return opened


def require_name(place: Place) -> None:
    """Refuse a store whose name says not what it is.

    Raises:
        StorageError: Naming it.
    """
    if not place.name.endswith(".zarr") or place.name == ".zarr":
        raise StorageError(f"{place}: the store's name must end in .zarr, by which readers know it")

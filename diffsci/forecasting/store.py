"""The forecast store on disk: Zarr that is whole or absent, and can be gone on with after a kill.

A store grows under a hidden name beside its own: first the template (all coordinates and
attributes, no values), then block after block of cases, each with a commit record written after its
chunks. Only the whole store takes the final name. Blocks are aligned with chunks, so no two ever
share one.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.errors import StorageError
from diffsci.files import failpoint, remove_folder, storage_errors, sync, write_json

_CHUNK_BYTES = 4_000_000
"""Cases are put together in a chunk up to this size."""

_MOST_BYTES = 100_000_000
"""A chunk of a single case that is larger is split along its leads, levels and space."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Zarr v3 has no consolidated metadata in its text yet; every reader of the field wants it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", category=UserWarning, module="zarr")
        yield


def chunks_of(variable: xr.DataArray, case_dim: str, cases: int) -> dict[str, int]:
    """Chunk sizes of a variable by dim: so many cases, all members, and bounded bytes."""
    sizes = {str(dim): size for dim, size in variable.sizes.items()}
    sizes[case_dim] = min(cases, sizes[case_dim])
    for dim in sizes:
        # Members stay in one chunk, which scorers need; blocks of cases may share no chunk.
        if dim not in (case_dim, "number"):
            too_large = math.prod(sizes.values()) * variable.dtype.itemsize / _MOST_BYTES
            sizes[dim] = max(1, min(sizes[dim], math.floor(sizes[dim] / max(1.0, too_large))))
    return sizes


def _encoding(dataset: xr.Dataset, case_dim: str, cases: int) -> dict[str, dict[str, object]]:
    return {
        str(name): {
            "chunks": tuple(chunks_of(variable, case_dim, cases).values()),
            "_FillValue": np.float32(np.nan),
        }
        for name, variable in dataset.data_vars.items()
    }


def write_whole(path: Path, dataset: xr.Dataset, case_dim: str, cases: int) -> None:
    """Write a data set that is in memory, replacing what stood there.

    Args:
        path: The store.
        dataset: What to write.
        case_dim: Name of the cases' dimension.
        cases: How many of them lie in one chunk.

    Raises:
        StorageError: When it cannot be written; what was there before stays.
    """
    fresh = path.with_name(f".{path.name}.growing")
    with storage_errors(path, dataset.nbytes), _quiet():
        shutil.rmtree(fresh, ignore_errors=True)
        dataset.to_zarr(
            fresh,
            mode="w",
            consolidated=True,
            encoding=_encoding(dataset, case_dim, cases),
            write_empty_chunks=True,
        )
        if path.exists():
            remove_folder(path)
        fresh.rename(path)
        sync(path.parent)


def open_store(path: Path) -> xr.Dataset:
    """A store as xarray sees it, with leads as time differences.

    Raises:
        StorageError: When there is none, or it cannot be opened.
    """
    if not path.exists():
        raise StorageError(f"{path}: no such store")
    # What has a unit of time and is no lead, such as a wave's period in "s", stays a number.
    leads = xr.coders.CFTimedeltaCoder(decode_via_units=False)
    try:
        opened: xr.Dataset = xr.open_zarr(path, chunks=None, decode_timedelta=leads)
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{path}: cannot be opened as Zarr ({error})") from None
    return opened


@dataclass(frozen=True, kw_only=True)
class Growing:
    """A store that is being written, block after block of cases.

    Args:
        path: The final name, ending in `.zarr`.
        case_dim: Name of the cases' dimension in the store.
        blocks: First case and the one after the last, of each block.
        digest: Of all that the store is made from.
    """

    path: Path
    case_dim: str
    blocks: tuple[tuple[int, int], ...]
    digest: str

    @property
    def folder(self) -> Path:
        """Where it grows."""
        return self.path.with_name(f".{self.path.name}.growing")

    @property
    def _commits(self) -> Path:
        return self.path.with_name(f".{self.path.name}.commits")

    def begin(self, template: Callable[[], xr.Dataset]) -> None:
        """Write the template, or find the one of an interrupted run made from the same.

        Args:
            template: Makes the labelled data set; its values are not written.
        """
        head = self._commits / "template.json"
        if head.exists() and self.folder.exists():
            written = json.loads(head.read_text(encoding="utf-8"))
            if written == {"digest": self.digest, "blocks": [list(block) for block in self.blocks]}:
                return
        with storage_errors(self.path), _quiet():
            shutil.rmtree(self._commits, ignore_errors=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            dataset = template()
            size = max((after - first for first, after in self.blocks), default=1)
            encoding = _encoding(dataset, self.case_dim, size)
            # Lazy values are left for later; coordinates stay as they are and are written now.
            lazy = dataset.assign(
                {
                    name: variable.variable.chunk({self.case_dim: size})
                    for name, variable in dataset.data_vars.items()
                }
            )
            lazy.to_zarr(
                self.folder,
                mode="w",
                compute=False,
                consolidated=True,
                encoding=encoding,
                write_empty_chunks=True,
            )
        write_json(head, {"digest": self.digest, "blocks": [list(block) for block in self.blocks]})

    def missing(self) -> list[tuple[int, int]]:
        """Blocks that have no commit record yet."""
        return [block for block in self.blocks if not self._record(block).exists()]

    def _record(self, block: tuple[int, int]) -> Path:
        return self._commits / f"{block[0]:08d}-{block[1]:08d}.json"

    def write(self, block: tuple[int, int], dataset: xr.Dataset) -> None:
        """Write one block's values, then its commit record.

        Args:
            block: One of `blocks`.
            dataset: The labelled values of its cases.
        """
        names = [str(name) for name in dataset.coords]
        with storage_errors(self.path, dataset.nbytes), _quiet():
            dataset.drop_vars(names).to_zarr(
                self.folder,
                mode="r+",
                region={self.case_dim: slice(*block)},
                write_empty_chunks=True,
            )
        failpoint("store.chunks")
        write_json(self._record(block), {"cases": list(block)})
        failpoint("store.block")

    def finish(self) -> None:
        """Give the whole store its name.

        Raises:
            StorageError: When a store stands there already.
        """
        assert not self.missing(), "finish is called after the last block"
        if self.path.exists():
            raise StorageError(f"{self.path}: exists already; choose another name with --out")
        with storage_errors(self.path):
            self.folder.rename(self.path)
            failpoint("store.named")
            sync(self.path.parent)
            shutil.rmtree(self._commits, ignore_errors=True)


def stands(path: Path, attributes: dict[str, Any]) -> bool:
    """Whether a whole store with these attributes is there; then clears the traces of its growth.

    Args:
        path: Of the store.
        attributes: Global attributes that say what it was made from.
    """
    if not path.exists():
        return False
    with open_store(path) as stored:
        if any(stored.attrs.get(name) != value for name, value in attributes.items()):
            return False
    # A kill between the last rename and the removal leaves them.
    shutil.rmtree(path.with_name(f".{path.name}.commits"), ignore_errors=True)
    return True


def blocks_of(cases: int, bytes_per_case: int, most: int) -> tuple[tuple[int, int], ...]:
    """Blocks of cases whose chunks are of a handy size.

    Args:
        cases: Number of cases.
        bytes_per_case: Of the largest variable, all members and leads.
        most: Largest number of cases in a block.
    """
    fitting = max(1, _CHUNK_BYTES // max(1, bytes_per_case))
    size = max(1, min(cases, most, fitting))
    return tuple((first, min(first + size, cases)) for first in range(0, cases, size))

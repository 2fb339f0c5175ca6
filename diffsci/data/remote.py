"""Remote data: a file of an allowed address, fetched once into the cache folder; or a Zarr store.

A file is kept under a digest of its address and of what the server says of its version, so that a
changed one is fetched anew. A store is read chunk by chunk, and what was read is kept there too.
Tries are bounded: `TRIES` of them, each later than the one before.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr
import zarr

from diffsci.data import addresses, lazy, recognising
from diffsci.data.catalog import Entry
from diffsci.data.keeping import Keeping, folder
from diffsci.errors import DataError

log = logging.getLogger(__name__)

TRIES = 4
WAIT = 0.5
"""Seconds before the second try; each further wait is twice as long."""

_EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
T = TypeVar("T")


def is_remote(entry: Entry) -> bool:
    """Whether the entry's source is an address rather than a path."""
    return entry.source.path is not None and addresses.is_address(entry.source.path)


def retried(action: Callable[[], T], what: str) -> T:
    """What an action gives, tried again where a connection fails, `TRIES` times at most.

    Args:
        action: To be done.
        what: Address, for messages.

    Raises:
        DataError: With the last failure.
    """
    for number in range(1, TRIES + 1):
        try:
            return action()
        except FileNotFoundError as error:
            raise DataError(f"{what}: there is nothing; check the address") from error
        except PermissionError as error:
            raise DataError(f"{what}: permission denied; check your credentials") from error
        except (OSError, TimeoutError) as error:
            if number == TRIES:
                raise DataError(
                    f"{what}: cannot be read after {TRIES} tries ({type(error).__name__}); try "
                    "again later, or copy the data here"
                ) from error
            log.info("%s: try %d of %d failed (%s)", what, number, TRIES, type(error).__name__)
            time.sleep(WAIT * 2 ** (number - 1))
    raise AssertionError("a loop of tries ends by itself")


def _system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path on it."""
    import fsspec

    shown, name = addresses.shown(address), addresses.protocol(address)
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = _EXTRAS.get(name, "the package that fsspec names")
        raise DataError(f"{shown}: pip install {package} to read {name}:// addresses") from error
    return system, str(path)


def open_store(entry: Entry) -> xr.Dataset | None:
    """The Zarr store at the entry's address, its times as they are; none where no store is there.

    Raises:
        DataError: When it cannot be reached.
    """
    address = str(entry.source.path)
    addresses.require_allowed(address, f"{entry.yaml}: source")
    shown = addresses.shown(address)
    system, path = _system(address)

    def found() -> dict[str, bytes]:
        names = ("zarr.json", ".zgroup", ".zmetadata")
        have = [f"{path}/{name}" for name in names if system.exists(f"{path}/{name}")]
        return {name.rpartition("/")[2]: system.cat_file(name) for name in have}

    told = retried(found, shown)
    if not told:
        return None
    whole = ".zmetadata" in told or b'"consolidated_metadata": {' in told.get("zarr.json", b"")
    options: dict[str, Any] = {
        "engine": "zarr",
        "decode_times": False,
        "decode_timedelta": xr.coders.CFTimedeltaCoder(decode_via_units=False),
        "chunks": None,
        "consolidated": whole,
    }
    more = dict(entry.open_kwargs)
    version = retried(lambda: _version(system, f"{path}/{next(iter(told))}"), shown)
    mark = hashlib.sha256(f"{address} {version}".encode()).hexdigest()[:20]
    kept = folder() / "remote" / f"{mark}-{Path(shown).name}"
    log.info("data: what is read of %s is kept in %s", shown, kept)

    def opened() -> xr.Dataset:
        asked = more.get("storage_options")
        store = zarr.storage.FsspecStore.from_url(address, read_only=True, storage_options=asked)
        given = {k: v for k, v in more.items() if k != "storage_options"}
        whole: Any = Keeping(store, kept)  # xarray takes any store of Zarr, untold
        return xr.open_dataset(whole, **(options | given))

    ds = retried(opened, shown)
    ds = recognising.in_order(ds, consolidated=whole)
    return ds.assign({n: _patient(v.variable, shown) for n, v in ds.data_vars.items()})


def _patient(source: xr.Variable, shown: str) -> xr.Variable:
    """The variable, each read of it tried again where a connection fails."""
    return lazy.selected(source, lambda key: retried(lambda: source[key].values, shown))


def fetched(entry: Entry) -> Path:
    """The file of an address, in the cache folder; fetched where it is not there yet.

    Raises:
        DataError: When it cannot be fetched.
    """
    address = str(entry.source.path)
    addresses.require_allowed(address, f"{entry.yaml}: source")
    shown = addresses.shown(address)
    system, path = _system(address)
    if addresses.protocol(address) == "file":
        return Path(path)
    version = retried(lambda: _version(system, path), shown)
    mark = hashlib.sha256(f"{address} {version}".encode()).hexdigest()[:20]
    target = folder() / "remote" / f"{mark}-{Path(shown).name}"
    if target.exists():
        return target
    log.info("data: fetching %s once; it is kept in %s", shown, target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        retried(lambda: system.get(path, str(partial)), shown)
        if not partial.is_file():
            raise DataError(f"{shown}: neither a file nor a Zarr store; check the address")
        partial.rename(target)
    finally:
        if partial.is_file():
            partial.unlink()
    return target


def _version(system: Any, path: str) -> str:  # noqa: ANN401  fsspec has no types
    """What the server says of the version: a tag, a time, or the size."""
    told = system.info(path)
    keys = ("ETag", "etag", "last_modified", "LastModified", "mtime", "size")
    return ", ".join(f"{key}={told[key]}" for key in keys if told.get(key) is not None)

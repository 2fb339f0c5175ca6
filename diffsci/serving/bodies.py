"""Bodies of requests: NetCDF, zipped Zarr or JSON, made into a file that the data side can read.

A body is a stranger's. Nothing of it is unpickled, no name in it leads out of its folder, and what
it says of its own size is believed only up to a limit, before anything is allocated.
"""

from __future__ import annotations

import json
import math
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from diffsci.serving.refusals import Refusal

KINDS = {
    "application/x-netcdf": "netcdf",
    "application/netcdf": "netcdf",
    "application/octet-stream": "netcdf",
    "application/zip": "zip",
    "application/json": "json",
}

_CODECS = {
    "blosc", "bz2", "gzip", "lz4", "zlib", "zstd", "lzma", "crc32c", "crc32", "adler32",
    "fletcher32", "shuffle", "delta", "fixedscaleoffset", "astype", "bytes", "transpose",
    "sharding_indexed", "numcodecs.shuffle", "numcodecs.zlib",
}  # fmt: skip
"""Of Zarr; left out are `pickle` and whatever else makes objects of bytes."""

_MOST_FILES = 20_000


def unpacked(body: Path, kind: str, folder: Path, limit: int) -> Path:
    """A file or store with the body's data.

    Args:
        body: The bytes, as they came.
        kind: One of the values of `KINDS`.
        folder: Empty, for what comes out of them.
        limit: Most bytes of the data, unpacked.

    Raises:
        Refusal: For what is no such data, or too large.
    """
    if kind == "zip":
        return _zarr(body, folder, limit)
    if kind == "json":
        return _json(body, folder)
    with body.open("rb") as file:
        head = file.read(8)
    if not head.startswith((b"CDF", b"\x89HDF")):
        raise Refusal(
            422, "body", f"body: is no NetCDF (it begins with {head!r}); send a NetCDF file, or "
            "say by Content-Type that it is application/zip (Zarr) or application/json"
        )  # fmt: skip
    _require_small(body, limit)
    return body


def _require_small(body: Path, limit: int) -> None:
    """Refuse a small file that says it holds much: what is not written in it is filled up."""
    try:
        with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(body) as file:
            for name, variable in file.variables.items():
                size = math.prod(map(int, variable.shape)) * 8
                if size > limit:
                    raise Refusal(
                        413, name, f"variable {name}: has {size:,} bytes, the limit is {limit:,}"
                    )
    except (OSError, RuntimeError, AttributeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__  # without our file's name
        raise Refusal(
            422, "body", f"body: cannot be read as NetCDF ({why}); it may be cut off"
        ) from None


def _zarr(body: Path, folder: Path, limit: int) -> Path:
    store = folder / "body.zarr"
    try:
        with zipfile.ZipFile(body) as archive:
            _extract(archive, store, limit)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise Refusal(422, "body", f"body: is no zip archive that can be read ({error})") from None
    roots = [path.parent for name in ("zarr.json", ".zgroup") for path in store.rglob(name)]
    if not roots:
        raise Refusal(
            422, "body", "body: the archive holds no Zarr store (no zarr.json or .zgroup)"
        )
    _require_plain(store, limit)
    return min(roots, key=lambda path: len(path.parts))


def _extract(archive: zipfile.ZipFile, store: Path, limit: int) -> None:
    members = [each for each in archive.infolist() if not each.is_dir()]
    if len(members) > _MOST_FILES:
        raise Refusal(413, "body", f"body: {len(members)} files, the limit is {_MOST_FILES}")
    left = limit
    for each in members:
        name = PurePosixPath(each.filename)
        linked = stat.S_ISLNK(each.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or "\\" in each.filename or linked:
            raise Refusal(422, "body", f"body: {each.filename!r} leads out of the archive")
        place = store.joinpath(*name.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(each) as packed, place.open("wb") as file:
            # What an archive says of its sizes need not be true.
            while chunk := packed.read(1 << 20):
                left -= len(chunk)
                if left < 0:
                    raise Refusal(413, "body", f"body: unpacks to more than {limit:,} bytes")
                file.write(chunk)


def _require_plain(store: Path, limit: int) -> None:
    """Refuse arrays of objects, codecs that could run code, and arrays beyond the limit."""
    for path in store.rglob("*"):
        if path.name not in ("zarr.json", ".zarray", ".zmetadata"):
            continue
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
            nodes = list(_nodes(metadata))
        except (ValueError, RecursionError, OSError):
            raise Refusal(422, "body", f"body: {path.name} is no metadata of Zarr") from None
        for node in nodes:
            _check_node(node, path.parent.name, limit)


def _check_node(node: dict[str, Any], name: str, limit: int) -> None:
    kind = str(node.get("dtype", node.get("data_type", "")))
    if "O" in kind:
        raise Refusal(422, name, f"variable {name}: holds objects ({kind}), expected numbers")
    shape = node.get("shape")
    if isinstance(shape, list) and all(isinstance(n, int) for n in shape):
        size = math.prod(shape) * 8
        if size > limit:
            raise Refusal(413, name, f"variable {name}: has {size:,} bytes, the limit is {limit:,}")
    for key in ("compressor", "filters", "codecs"):
        listed = node.get(key) or []
        for codec in listed if isinstance(listed, list) else [listed]:
            word = codec.get("id", codec.get("name")) if isinstance(codec, dict) else codec
            if word not in _CODECS:
                raise Refusal(422, name, f"variable {name}: codec {word!r} is not taken")


def _nodes(value: object) -> Iterator[dict[str, Any]]:
    """Every mapping in a JSON document."""
    if isinstance(value, dict):
        yield value
        for inside in value.values():
            yield from _nodes(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _nodes(inside)


def _json(body: Path, folder: Path) -> Path:
    """A data set as `xarray.Dataset.to_dict` has it."""

    def no_constant(word: str) -> float:
        raise ValueError(f"{word} is no number")

    try:
        plain = json.loads(body.read_text(encoding="utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "body", f"body: is no JSON ({error})") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("data_vars"), dict):
        raise Refusal(
            422, "data_vars", "data_vars: is missing; expected what xarray's Dataset.to_dict() "
            "gives: {coords: {NAME: {dims, data, attrs}}, data_vars: {...}}"
        )  # fmt: skip
    parts: dict[str, dict[str, xr.Variable]] = {"coords": {}, "data_vars": {}}
    for part, made in parts.items():
        listed = plain.get(part) or {}
        if not isinstance(listed, dict):
            raise Refusal(
                422, part, f"{part}: got {json.dumps(listed)[:40]}, expected an object, such as "
                "{NAME: {dims, data, attrs}}"
            )  # fmt: skip
        for name, told in listed.items():
            made[name] = _variable(name, told)
    try:
        ds = xr.Dataset(parts["data_vars"], parts["coords"], _attributes(plain.get("attrs")))
        place = folder / "body.nc"
        ds.to_netcdf(place, engine="netcdf4")
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, OverflowError) as error:
        # The last three: names and attributes that NetCDF cannot hold.
        raise Refusal(422, "data_vars", f"body: its arrays do not fit together ({error})") from None
    return place


def _variable(name: str, told: object) -> xr.Variable:
    if not isinstance(told, dict) or "dims" not in told or "data" not in told:
        raise Refusal(422, name, f"variable {name}: expected an object with dims, data and attrs")
    dims = told["dims"]
    if not isinstance(dims, list) or not all(isinstance(dim, str) and dim for dim in dims):
        raise Refusal(
            422, name or "data_vars", f"variable {name}: dims: got {json.dumps(dims)[:40]}, "
            "expected a list of names"
        )  # fmt: skip
    try:
        values = np.asarray(told["data"])
        if values.dtype.kind == "U":
            values = values.astype("datetime64[ns]")
        if values.dtype.kind not in "fiubM":
            raise ValueError(f"its type is {values.dtype}")
        return xr.Variable(tuple(dims), values, _attributes(told.get("attrs")))
    except (ValueError, TypeError) as error:
        raise Refusal(
            422, name, f"variable {name}: expected an array of numbers or of dates, whose dims are "
            f"as many as it has ({error})"
        ) from None  # fmt: skip


def _attributes(told: object) -> dict[str, Any]:
    """Attributes that a file can hold; what is said of time's encoding is for numbers alone."""
    plain = told if isinstance(told, dict) else {}
    return {str(k): v for k, v in plain.items() if isinstance(v, str | int | float)}

"""Recognising: what a file is by its first bytes, whatever its name says.

An error page saved as `.nc` is told as such, and a classic file that was cut off is refused before
its reader fills it up with zeros.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from diffsci.data.sources import arrays, hdf5, images, pdebench, table, the_well
from diffsci.errors import DataError

OWN: dict[str, Callable[[Path, dict[str, Any], str], xr.Dataset]] = {
    "arrays": arrays.open_it,
    "csv": table.open_it,
    "images": images.open_it,
    "pdebench": pdebench.open_it,
    "the_well": the_well.open_it,
}
"""Readers of our own, by the word that `engine:` takes."""

ORDER = "order_of_variables"
"""Attribute of a prepared store: the order that its source had."""

_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_ARRAYS = (b"\x93NUMPY", b"PK\x03\x04", b"MATLAB 5")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store."""
    return any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def consolidated(path: Path) -> bool:
    """Whether a store has consolidated metadata, looked up so that neither kind warns."""
    if (path / ".zmetadata").exists():
        return True
    root = path / "zarr.json"
    try:
        return root.exists() and bool(json.loads(root.read_text()).get("consolidated_metadata"))
    except ValueError:
        return False


def in_order(ds: xr.Dataset, *, consolidated: bool) -> xr.Dataset:
    """The variables of a Zarr store in one order, since channels are numbered by it.

    Without consolidated metadata they come as the file system lists them, otherwise each time.

    Args:
        ds: As opened.
        consolidated: Whether the order is that of the metadata.
    """
    known = [name for name in ds.attrs.get(ORDER, ()) if name in ds.data_vars]
    if consolidated and not known:
        return ds
    rest = sorted(str(name) for name in ds.data_vars if name not in known)
    names = list(ds.data_vars)
    made = ds.drop_vars(names).assign({name: ds[name] for name in (*known, *rest)})
    made.set_close(ds.close)
    return made


def engine(path: Path, like: str = "") -> str:
    """The reader that fits the first bytes: one of `OWN`, or one of xarray's.

    Args:
        path: File or folder.
        like: Reader of a file beside it, whose HDF5 layout it shares; none looks into it.

    Raises:
        DataError: With what the bytes are, where they are no data.
    """
    if path.is_dir():
        if is_zarr(path):
            return "zarr"
        if images.holds(path):
            return "images"
        raise DataError(f"{path}: a folder that is no Zarr store (no zarr.json or .zgroup in it)")
    if path.exists() and not path.is_file():
        # A pipe would be waited for without end.
        raise DataError(f"{path}: a pipe, socket or device, not a file; save its data to a file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not head:
        raise DataError(f"{path}: the file is empty (0 bytes); fetch it again")
    if head.startswith(_CLASSIC):
        if head[3] in (1, 2):
            _require_whole(path)
        return "netcdf4"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return like if like == "netcdf4" else hdf5.layout(path)
    if b"MATLAB 7.3" in head or head.startswith(_ARRAYS):
        return "arrays"
    if head.startswith(_IMAGES):
        return "images"
    if head.startswith(b"GRIB"):
        if importlib.util.find_spec("cfgrib") is None:
            raise DataError(f"{path}: a GRIB file; pip install 'diffsci[grib]' to read it")
        return "cfgrib"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise DataError(f"{path}: a web page, not data (an error page, perhaps); fetch it again")
    raise DataError(
        f"{path}: neither NetCDF, HDF5, GRIB nor Zarr (it begins with {head[:8]!r}); "
        "convert it to NetCDF, or name its xarray reader by `engine:` in a catalog entry"
    )


def _require_whole(path: Path) -> None:
    """Refuse a classic NetCDF file that was cut off: the usual reader would fill up with zeros.

    Raises:
        DataError: When a variable ends beyond the end of the file.
    """
    from scipy.io import netcdf_file  # type: ignore[import-untyped]  # slow, and rarely needed

    cut = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Cannot close a netcdf_file opened with mmap")
        warnings.filterwarnings("ignore", category=ResourceWarning)
        try:
            with netcdf_file(path, mmap=True):
                pass
        except (ValueError, IndexError, TypeError, OSError):
            cut = True
        if cut:
            gc.collect()  # What failed half-way is closed here, while its warnings are not shown.
    if cut:
        raise DataError(f"{path}: the file is cut off or damaged; fetch it again")

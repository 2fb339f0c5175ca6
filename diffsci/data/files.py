"""Files: found, recognised by their first bytes, opened, and put together along their coordinates.

A file is what its bytes say, not what its name says: an error page saved as `.nc` is told as such.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data.catalog import Entry
from diffsci.data.time_axis import dated
from diffsci.errors import DataError

_IN_FOLDERS = ("*.nc", "*.nc4", "*.cdf", "*.h5", "*.hdf5")


def locate(entry: Entry) -> list[Path]:
    """The entry's files, sorted; a Zarr store counts as one.

    Raises:
        DataError: When there is none, or its package is missing.
    """
    if entry.source.package is not None:
        return [_in_package(entry)]
    path = Path(str(entry.source.path))
    if path.is_dir() and not _is_zarr(path):
        found = sorted({file for pattern in _IN_FOLDERS for file in path.glob(pattern)})
        if not found:
            raise DataError(
                f"{path}: a folder with no data in it; expected {', '.join(_IN_FOLDERS)}, "
                "or a Zarr store (with zarr.json or .zgroup)"
            )
        return found
    if path.exists():
        return [path]
    if set("*?[") & set(str(path)):
        anchor = Path(path.anchor)
        found = sorted(anchor.glob(str(path.relative_to(anchor))))
        if found:
            return found
        raise DataError(f"{path}: no file matches; correct `source` in {entry.yaml}")
    raise DataError(f"{path}: no such file; correct `source` in {entry.yaml}")


def _in_package(entry: Entry) -> Path:
    """A file inside an installed package, found without importing it."""
    package, _, inside = str(entry.source.package).partition(":")
    top, *below = package.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        wanted = entry.source.install or top.replace("_", "-")
        raise DataError(
            f"{entry.name}: the package {top!r} that holds the data is not installed; "
            f"pip install {wanted}"
        )
    for folder in spec.submodule_search_locations:
        path = Path(folder).joinpath(*below, *inside.split("/"))
        if path.exists():
            return path
    raise DataError(
        f"{entry.name}: the installed package {top!r} has no {inside}; "
        f"correct `source` in {entry.yaml}"
    )


def open_all(paths: list[Path], entry: Entry) -> xr.Dataset:
    """One data set of all files, lazily where there is one file.

    Raises:
        DataError: Naming every file that cannot be opened.
    """
    opened, faults = [], []
    for path in paths:
        try:
            opened.append(open_one(path, entry))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return opened[0] if len(opened) == 1 else _together(opened, paths, entry)


def open_one(path: Path, entry: Entry) -> xr.Dataset:
    """One file or store.

    Raises:
        DataError: With what the bytes are, where they are no data.
    """
    engine = entry.engine or _engine(path)
    if entry.sha256 and path.is_file():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != entry.sha256.lower():
            raise DataError(
                f"{path}: its sha256 is {found}, {entry.yaml} says {entry.sha256}: fetch it again"
            )
    if engine == "csv":
        return _csv(path, entry)
    options: dict[str, Any] = {
        "decode_times": False,  # `time_axis` does it: with the entry's help, months too.
        # Only what xarray itself wrote as a time difference: a duration in "s" stays a number.
        "decode_timedelta": xr.coders.CFTimedeltaCoder(decode_via_units=False),
        "chunks": None,
        "mask_and_scale": True,
    }
    if engine == "zarr":
        options["consolidated"] = _consolidated(path)
    try:
        ds = xr.open_dataset(path, engine=engine, **(options | entry.open_kwargs))
    except (
        Exception
    ) as error:  # Readers raise whatever they like; the user needs the file and the fix.
        hint = "fetch it again"
        if isinstance(error, TypeError):
            hint = f"check `open_kwargs` in {entry.yaml}"
        elif entry.engine:
            hint = f"check `engine: {entry.engine}` in {entry.yaml}"
        text = str(error).splitlines()[0] if str(error) else ""
        raise DataError(
            f"{path}: cannot be opened with {engine} ({type(error).__name__}: {text}); {hint}"
        ) from error
    try:
        made = dated(ds, entry, path)
    except DataError:
        ds.close()
        raise
    except (OSError, RuntimeError, ValueError) as error:
        ds.close()
        raise DataError(f"{path}: its times cannot be read ({error}); fetch it again") from error
    if made is not ds:
        made.set_close(ds.close)
    return made


def _is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def _consolidated(path: Path) -> bool:
    """Whether a store has consolidated metadata, looked up so that neither kind warns."""
    if (path / ".zmetadata").exists():
        return True
    root = path / "zarr.json"
    try:
        return root.exists() and bool(json.loads(root.read_text()).get("consolidated_metadata"))
    except ValueError:
        return False


def _engine(path: Path) -> str:
    """The reader that fits the first bytes."""
    if path.is_dir():
        if _is_zarr(path):
            return "zarr"
        raise DataError(f"{path}: a folder that is no Zarr store (no zarr.json or .zgroup in it)")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not head:
        raise DataError(f"{path}: the file is empty (0 bytes); fetch it again")
    if head.startswith((b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")):
        if head[3] in (1, 2):
            _require_whole(path)
        return "netcdf4"
    if head.startswith(b"GRIB"):
        if importlib.util.find_spec("cfgrib") is None:
            raise DataError(f"{path}: a GRIB file; pip install cfgrib to read it")
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

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Cannot close a netcdf_file opened with mmap")
        try:
            with netcdf_file(path, mmap=True):
                pass
        except (ValueError, IndexError, TypeError, OSError) as error:
            raise DataError(f"{path}: the file is cut off or damaged; fetch it again") from error


def _together(opened: list[xr.Dataset], paths: list[Path], entry: Entry) -> xr.Dataset:
    """Files of other times or variables as one data set; coordinates must agree exactly."""
    calendars = {
        ds["time"].dt.calendar: path
        for ds, path in zip(opened, paths, strict=True)
        if "time" in ds.coords and ds["time"].dtype.kind in "MO"
    }
    if len(calendars) > 1:
        told = ", ".join(f"{calendar} in {path.name}" for calendar, path in calendars.items())
        raise DataError(f"{entry.location}: calendars differ: {told}; convert to one calendar")
    _require_alike(opened, paths, entry)
    try:
        together: xr.Dataset = xr.combine_by_coords(  # type: ignore[assignment]
            opened, data_vars="minimal", coords="minimal", compat="override", join="exact",
            combine_attrs="override",
        )  # fmt: skip
        return together
    except ValueError:
        pass
    try:
        # Overlapping times, one after the other: the duplicates are then told by their stamps.
        inorder = sorted(opened, key=lambda ds: ds["time"].values[0])
        return xr.concat(
            inorder, dim="time", data_vars="minimal", coords="minimal", compat="override",
            join="exact", combine_attrs="override",
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{entry.location}: {len(opened)} files do not fit together "
            f"({str(error).splitlines()[0]}); their coordinates must be equal except along one dim"
        ) from error


def _require_alike(opened: list[xr.Dataset], paths: list[Path], entry: Entry) -> None:
    """Refuse a variable that is not the same thing in every file that has it.

    xarray would take the first file's units for all, and drop a variable with other dims.
    """
    first: dict[object, tuple[tuple[object, ...], object, Path]] = {}
    for ds, path in zip(opened, paths, strict=True):
        for name, variable in ds.data_vars.items():
            dims, unit = variable.dims, variable.attrs.get("units")
            known = first.setdefault(name, (dims, unit, path))
            what, one, other = (
                ("dims", known[0], dims) if known[0] != dims else ("units", known[1], unit)
            )
            if one != other:
                raise DataError(
                    f"{entry.location}: variable {name} has {what} {one!r} in {known[2].name} and "
                    f"{other!r} in {path.name}; make the files alike, or narrow the pattern in "
                    f"`source` of {entry.yaml}"
                )


def _csv(path: Path, entry: Entry) -> xr.Dataset:
    """A table of one flattened image a row, with its class in the first or last column.

    `open_kwargs` are `shape: [rows, columns]`, `variable: NAME` and, where there are classes,
    `label: first` or `label: last`.
    """
    known = {"shape", "variable", "label"}
    told = entry.open_kwargs
    shape = told.get("shape")
    if (
        set(told) - known
        or not isinstance(shape, list)
        or told.get("label") not in (None, "first", "last")
    ):
        raise DataError(
            f"{entry.yaml}: open_kwargs: got {told}, "
            "expected shape: [rows, columns], variable: NAME, label: first or last"
        )
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float64, ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a table of numbers ({error})") from error
    data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    if told.get("label") == "last":
        table, label = table[:, :-1], table[:, -1]
        data["label"] = (("sample",), label.astype(np.int64))
    elif told.get("label") == "first":
        table, label = table[:, 1:], table[:, 0]
        data["label"] = (("sample",), label.astype(np.int64))
    if table.shape[1] != int(np.prod(shape)):
        raise DataError(
            f"{path}: rows of {table.shape[1]} values, but `shape: {shape}` in {entry.yaml}"
        )
    images = table.reshape(len(table), *shape)
    data[str(told.get("variable", "intensity"))] = (("sample", "y", "x"), images)
    return xr.Dataset(data)

"""Files: found, opened, and put together along their coordinates; each broken one is named."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data import joining, lazy, packing, ranges, recognising, remote
from diffsci.data.canonical.time_axis import dated
from diffsci.data.catalog import Entry
from diffsci.data.sources import hdf5, images
from diffsci.errors import DataError

_IN_FOLDERS = ("*.nc", "*.nc4", "*.cdf", "*.h5", "*.hdf5")


def locate(entry: Entry) -> list[Path]:
    """The entry's files, sorted; a Zarr store counts as one.

    Raises:
        DataError: When there is none, or its package is missing.
    """
    if entry.source.package is not None:
        return [_in_package(entry)]
    if remote.is_remote(entry):
        return [remote.fetched(entry)]
    path = Path(str(entry.source.path))
    if path.is_dir() and not recognising.is_zarr(path) and entry.engine not in recognising.OWN:
        found = sorted({file for pattern in _IN_FOLDERS for file in path.glob(pattern)})
        if not found and not images.holds(path):
            raise DataError(
                f"{path}: a folder with no data in it; expected {', '.join(_IN_FOLDERS)}, "
                "images, or a Zarr store (with zarr.json or .zgroup)"
            )
        return found or [path]
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


class BrokenFiles(DataError):
    """Files that cannot be opened.

    Args:
        faults: What is wrong with each of them.
    """

    def __init__(self, faults: list[tuple[Path, DataError]]) -> None:
        super().__init__("\n".join(str(error) for _, error in faults))
        self.faults = faults


def open_all(paths: list[Path], entry: Entry) -> xr.Dataset:
    """One data set of all files, lazily.

    Raises:
        BrokenFiles: Naming every file that cannot be opened.
        DataError: For files that do not fit together.
    """
    faults: list[tuple[Path, DataError]] = []
    engines: list[str] = []
    for path in paths:
        try:
            like = engines[0] if engines else ""
            engines.append(entry.engine or recognising.engine(path, like))
        except DataError as error:
            faults.append((path, error))
    if not faults and len(paths) > 1 and set(engines) == {"netcdf4"} and not entry.sha256:
        try:
            found = joining.by_headers(paths, entry, lambda path: open_one(path, entry))
            if found is not None:
                return found
        except (OSError, RuntimeError, KeyError, IndexError):
            pass  # Some header cannot be read: which one is found by opening them one by one.
    opened: list[xr.Dataset] = []
    known = {path for path, _ in faults}
    for path in paths:
        try:
            opened += [open_one(path, entry)] if path not in known else []
        except DataError as error:
            faults.append((path, error))
    if faults:
        for ds in opened:
            ds.close()
        raise BrokenFiles(sorted(faults, key=lambda fault: paths.index(fault[0])))
    return opened[0] if len(opened) == 1 else _together(opened, paths, entry)


def open_one(path: Path, entry: Entry) -> xr.Dataset:
    """One file or store.

    Raises:
        DataError: With what the bytes are, where they are no data.
    """
    engine = entry.engine or recognising.engine(path)
    if entry.sha256 and path.is_file():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != entry.sha256.lower():
            raise DataError(
                f"{path}: its sha256 is {found}, {entry.yaml} says {entry.sha256}; fetch it again"
            )
    if engine in recognising.OWN:
        made = recognising.OWN[engine](path, entry.open_kwargs, entry.yaml)
        return dated_or_closed(made, entry, path)
    options: dict[str, Any] = {
        "decode_times": False,  # `time_axis` does it: with the entry's help, months too.
        # Only what xarray itself wrote as a time difference: a duration in "s" stays a number.
        "decode_timedelta": xr.coders.CFTimedeltaCoder(decode_via_units=False),
        "chunks": None,
        "mask_and_scale": True,
    }
    if engine == "zarr":
        options["consolidated"] = recognising.consolidated(path)
    elif engine == "cfgrib":
        options["indexpath"] = ""  # It would write an index file beside the data.
    made = _opened(path, engine, options | entry.open_kwargs, entry)
    if not made.variables and engine == "netcdf4" and hdf5.is_one(path):
        made.close()
        hdf5.require_no_groups(path, entry.yaml)
    try:
        packing.require_numbers(made, path)
    except DataError:
        made.close()
        raise
    if engine == "zarr":
        made = recognising.in_order(made, consolidated=bool(options["consolidated"]))
    return dated_or_closed(made, entry, path)


def _opened(path: Path | str, engine: str, options: dict[str, Any], entry: Entry) -> xr.Dataset:
    """What xarray's reader gives.

    Raises:
        DataError: With the reader's reason and the fix.
    """
    try:
        with warnings.catch_warnings():
            # `_FillValue` and `missing_value` may differ; both become NaN, as CF has it.
            warnings.filterwarnings("ignore", message=".*has multiple fill values")
            return xr.open_dataset(path, engine=engine, **options)
    except (
        Exception
    ) as error:  # Readers raise whatever they like; the user needs the file and the fix.
        if isinstance(error, TypeError | ValueError) and options.get("mask_and_scale"):
            _require_unpackable(path, engine, options, entry)
        hint = "fetch it again"
        if isinstance(error, TypeError):
            hint = f"check `open_kwargs` in {entry.yaml}"
        elif entry.engine:
            hint = f"check `engine: {entry.engine}` in {entry.yaml}"
        elif engine == "cfgrib":
            hint = "choose one kind of field by `open_kwargs: {filter_by_keys: {...}}`"
        text = str(error).splitlines()[0] if str(error) else ""
        raise DataError(
            f"{path}: cannot be opened with {engine} ({type(error).__name__}: {text}); {hint}"
        ) from error


def _require_unpackable(
    path: Path | str, engine: str, options: dict[str, Any], entry: Entry
) -> None:
    """Look for a fault of packing, which xarray tells of coordinates without their name."""
    with _opened(path, engine, options | {"mask_and_scale": False}, entry) as raw:
        packing.require_numbers(raw, path)


def dated_or_closed(ds: xr.Dataset, entry: Entry, path: Path) -> xr.Dataset:
    """The data set with its times as dates and its valid ranges as gaps; closed where that fails.

    Raises:
        DataError: For times that cannot be read.
    """
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
    return ranges.masked(made, entry)


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
    alike = [
        (path, {str(n): (v.dims, v.attrs.get("units")) for n, v in ds.data_vars.items()})
        for ds, path in zip(opened, paths, strict=True)
    ]
    joining.require_alike(alike, entry)
    if all("sample" in ds.dims and _counted(ds["sample"].values) for ds in opened):
        return _samples(opened, entry)
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


def _counted(samples: np.ndarray) -> bool:
    """Whether samples are just numbered, so that those of several files follow one another."""
    return np.array_equal(samples, np.arange(len(samples)))


def _samples(opened: list[xr.Dataset], entry: Entry) -> xr.Dataset:
    """Trajectories of all files, one after another, numbered through.

    Raises:
        DataError: Where the files differ in more than their samples.
    """
    first = opened[0]
    for ds in opened[1:]:
        same = set(ds.variables) == set(first.variables) and all(
            ds[n].equals(first[n]) for n in first.coords if "sample" not in first[n].dims
        )
        if not same or ds.attrs.get("boundary") != first.attrs.get("boundary"):
            raise DataError(
                f"{entry.location}: {len(opened)} files do not fit together; their variables, "
                "coordinates and boundaries must be equal, and the samples alone differ"
            )
    found = {}
    for name, variable in first.data_vars.items():
        if "sample" in variable.dims:
            parts = [ds.variables[name] for ds in opened]
            found[name] = lazy.joined(parts, variable.dims.index("sample"))
    rest = first.drop_dims("sample")
    total = sum(ds.sizes["sample"] for ds in opened)
    return rest.assign(found).assign_coords(sample=np.arange(total))


def engine_of(entry: Entry) -> str:
    """The word of one of our own readers, where the data is read by it; else none."""
    if entry.source.data is not None or entry.source.generator is not None:
        return ""
    found = recognising.engine(locate(entry)[0])
    return found if found in recognising.OWN else ""

"""Forecasts as files of any tool: a Zarr store, NetCDF, a folder or glob of NetCDF; read lazily."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TypeGuard

import numpy as np
import xarray as xr

from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.stages.scores import lexicon, valid_times
from diffsci.stages.scores.starts import INIT, LEAD, LEADS

Given = Path | xr.Dataset | xr.DataArray
"""A forecast or a truth: where it lies, or the data set itself."""


def is_held(given: Given | str) -> TypeGuard[xr.Dataset | xr.DataArray]:
    """Whether it is in Python's hands, and no path."""
    return isinstance(given, xr.Dataset | xr.DataArray)


def opened(path: Given, truth: bool = False) -> xr.Dataset:
    """A Zarr store, NetCDF file, or folder or glob of such files, lazily; a data set as it is.

    Leads are decoded where the file says how.

    Args:
        path: Where it lies.
        truth: Whether `time` is what counts, and not when each file started.

    Raises:
        ConfigError: When there is none, or an array has no name.
        StorageError: When it cannot be opened.
    """
    if isinstance(path, xr.DataArray):
        if lexicon.is_stacked(path):
            return lexicon.split(path, "the array")
        if path.name is None:
            raise ConfigError(
                "an array without a name is no variable; give it that of the other's, as "
                "`array.rename('2m_temperature')`"
            )
        return path.to_dataset()
    if isinstance(path, xr.Dataset):
        return path
    files = files_of(path)
    if not path.exists() and not files:
        raise ConfigError(f"{path}: no such file or store")
    if files:
        return _joined(path, files, truth)
    try:
        with warnings.catch_warnings():
            # Stores of others may not be consolidated, which is slower, and right all the same.
            warnings.filterwarnings("ignore", message=".*onsolidated metadata")
            engine = "zarr" if path.is_dir() else None
            found = xr.open_dataset(path, engine=engine, chunks=None, decode_timedelta=True)
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{path}: cannot be opened as Zarr or NetCDF ({error})") from None
    return found


def files_of(path: Path) -> list[Path]:
    """The files of a folder of NetCDF, or of a glob, sorted; none where it is something else."""
    if set("*?[") & set(path.name):
        return sorted(path.parent.glob(path.name))
    if not path.is_dir() or any((path / name).exists() for name in _ZARR):
        return []
    return sorted(each for each in path.iterdir() if each.suffix in (".nc", ".nc4", ".cdf"))


_VALID = "valid_time"

_ZARR = ("zarr.json", ".zgroup", ".zmetadata")


def _joined(path: Path, files: list[Path], truth: bool) -> xr.Dataset:
    """Several files as one data set, laid side by side by their coordinates.

    Raises:
        DataError: Where one variable has several units.
        StorageError: Naming those that cannot be opened, or that do not fit together.
    """
    parts, bad = [], []
    for file in files:
        try:
            parts.append(xr.open_dataset(file, chunks={}, decode_timedelta=True))
        except (OSError, ValueError, KeyError):
            bad.append(file.name)
    if bad:
        raise StorageError(
            f"{path}: {len(bad)} of {len(files)} files cannot be opened: {', '.join(bad[:20])}; "
            "fetch them again, or take them out"
        )
    _require_one_unit(path, files, parts)
    read = _by_valid_time if truth else _with_one_start
    parts = _along_what_differs(
        [read(ds, file.name) for ds, file in zip(parts, files, strict=True)]
    )
    try:
        # Never fill up what one file lacks: what is missing would be a NaN that nobody wrote.
        joined = xr.combine_by_coords(
            parts, data_vars="minimal", coords="minimal", compat="override", join="exact",
            combine_attrs="override",
        )  # fmt: skip
    except (ValueError, xr.AlignmentError) as error:
        raise StorageError(
            f"{path}: its {len(files)} files do not fit together ({error}); they must differ along "
            "one axis, such as their start, and agree in all others"
        ) from None
    assert isinstance(joined, xr.Dataset)
    _require_all(path, parts, joined)
    return joined


def _along_what_differs(parts: list[xr.Dataset]) -> list[xr.Dataset]:
    """The files with an axis of one item for each single coordinate in which they differ.

    A start has one in any case. Valid times lie along the others, and tell nothing beside leads.
    """
    between = [_lead_between(ds) for ds in parts]
    if all(lead is not None for lead in between) and any(between):
        parts = [ds.assign_coords({LEAD: lead}) for ds, lead in zip(parts, between, strict=True)]
    made = []
    for ds in parts:
        single = {str(name) for name in ds.coords if ds[name].ndim == 0} - {_VALID}
        axes = sorted(name for name in single if name in INIT or _differs(name, parts))
        valid = ds[_VALID].values if _VALID in ds.coords and ds[_VALID].ndim == 0 else None
        ds = ds.expand_dims(axes)
        if valid is not None and axes:
            ds = ds.drop_vars(_VALID)
            if not set(LEADS) & set(axes):
                ds = ds.assign_coords({_VALID: (axes, valid.reshape([1] * len(axes)))})
        made.append(ds)
    return made


def _differs(name: str, parts: list[xr.Dataset]) -> bool:
    """Whether a coordinate that is a single one in some files is another in others."""
    found = [ds[name].values for ds in parts if name in ds.coords]
    return any(each.ndim or each.item() != found[0].item() for each in found)


def _with_one_start(ds: xr.Dataset, file: str) -> xr.Dataset:
    """A file that names its start has as `time` what it is for: a single one, or its leads."""
    named = [n for n in INIT[1:] if n in ds.coords and ds[n].ndim == 0]
    if not named or "time" not in ds.coords or ds["time"].ndim:
        return _without_hollow(valid_times.by_start(ds.drop_vars(named[1:]), file)[0])
    return ds.drop_vars([*named[1:], *({_VALID} & set(ds.coords))]).rename(time=_VALID)


def _without_hollow(ds: xr.Dataset) -> xr.Dataset:
    """The data set with axes of one item that no variable has as single coordinates."""
    used = {str(dim) for variable in ds.data_vars.values() for dim in variable.dims}
    hollow = {str(dim) for dim, size in ds.sizes.items() if size == 1} - used
    return ds.squeeze(sorted(hollow)) if ds.data_vars else ds


def _by_valid_time(ds: xr.Dataset, file: str) -> xr.Dataset:
    """A file of a truth that names its start beside `time` has that as the time it is for."""
    named = [n for n in INIT[1:] if n in ds.coords and ds[n].ndim == 0]
    if not named or "time" not in ds.coords or ds["time"].dims not in ((), ("time",)):
        return ds
    further = [n for n in LEADS if n in ds.coords and n not in ds.dims]
    return ds.drop_vars([*named, *further])


def _lead_between(ds: xr.Dataset) -> np.timedelta64 | None:
    """Between the single start of a file and its single valid time; none where it says a lead."""
    starts = [n for n in INIT if n in ds.coords and ds[n].ndim == 0 and ds[n].dtype.kind == "M"]
    valid = ds[_VALID] if _VALID in ds.coords else None
    if not starts or valid is None or valid.ndim or set(LEADS) & set(map(str, ds.variables)):
        return None
    lead: np.timedelta64 = valid.values - ds[starts[0]].values
    return lead


def _require_one_unit(path: Path, files: list[Path], parts: list[xr.Dataset]) -> None:
    """Refuse files of which one would be read in the units of another.

    Raises:
        DataError: Naming the variable, and a file of each unit.
    """
    known: dict[str, tuple[str, str]] = {}
    for file, ds in zip(files, parts, strict=True):
        for name, values in ds.data_vars.items():
            unit = str(values.attrs.get("units", ""))
            first, of = known.setdefault(str(name), (unit, file.name))
            if unit != first:
                raise DataError(
                    f"{path}: {name} is in {first or 'no unit'} in {of} and in "
                    f"{unit or 'no unit'} in {file.name}: convert one of them, and write `units`"
                )


def _require_all(path: Path, parts: list[xr.Dataset], joined: xr.Dataset) -> None:
    """Refuse files that hide each other: what two of them have at one place.

    Raises:
        StorageError: Naming the variable.
    """
    for name, values in joined.data_vars.items():
        held = [ds[name] for ds in parts if name in ds.data_vars]
        whole = values.size == sum(each.size for each in held)
        if not whole and not all(each.equals(held[0]) for each in held):  # as what never changes
            raise StorageError(
                f"{path}: its files have {name} several times at the same coordinates, or not for "
                f"each of {', '.join(map(str, values.dims))}; which differ must say in what, as by "
                "a coordinate of start, lead or member"
            )

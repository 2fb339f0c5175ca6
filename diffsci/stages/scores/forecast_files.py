"""Forecasts as files of any tool: a Zarr store, NetCDF, a folder or glob of NetCDF; read lazily."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TypeGuard

import xarray as xr

from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.stages.scores.starts import INIT, LEADS

Given = Path | xr.Dataset | xr.DataArray
"""A forecast or a truth: where it lies, or the data set itself."""


def is_held(given: Given | str) -> TypeGuard[xr.Dataset | xr.DataArray]:
    """Whether it is in Python's hands, and no path."""
    return isinstance(given, xr.Dataset | xr.DataArray)


def opened(path: Given) -> xr.Dataset:
    """A Zarr store, NetCDF file, or folder or glob of such files, lazily; a data set as it is.

    Leads are decoded where the file says how.

    Raises:
        ConfigError: When there is none, or an array has no name.
        StorageError: When it cannot be opened.
    """
    if isinstance(path, xr.DataArray):
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
        return _joined(path, files)
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


def _joined(path: Path, files: list[Path]) -> xr.Dataset:
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
    parts = _along_what_differs(parts)
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
    parts = [_with_one_start(ds) for ds in parts]
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


def _with_one_start(ds: xr.Dataset) -> xr.Dataset:
    """A file that names its start has its `time`, if a single one, as the time it is for."""
    named = [n for n in INIT[1:] if n in ds.coords and ds[n].ndim == 0]
    if not named or "time" not in ds.coords or ds["time"].ndim:
        return ds.drop_vars(named[1:])
    return ds.drop_vars([*named[1:], *({_VALID} & set(ds.coords))]).rename(time=_VALID)


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

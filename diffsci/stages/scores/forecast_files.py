"""Forecasts as files of any tool: a Zarr store, NetCDF, a folder or glob of NetCDF; read lazily."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TypeGuard

import xarray as xr

from diffsci.errors import ConfigError, StorageError
from diffsci.stages.scores.starts import INIT

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


_ZARR = ("zarr.json", ".zgroup", ".zmetadata")


def _joined(path: Path, files: list[Path]) -> xr.Dataset:
    """Several files as one data set, laid side by side by their coordinates.

    Raises:
        StorageError: Naming those that cannot be opened, or that do not fit together.
    """
    parts, bad = [], []
    for file in files:
        try:
            parts.append(_with_start(xr.open_dataset(file, chunks={}, decode_timedelta=True)))
        except (OSError, ValueError, KeyError):
            bad.append(file.name)
    if bad:
        raise StorageError(
            f"{path}: {len(bad)} of {len(files)} files cannot be opened: {', '.join(bad[:20])}; "
            "fetch them again, or take them out"
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
    return joined


def _with_start(ds: xr.Dataset) -> xr.Dataset:
    """A file of one start, along a dim of starts."""
    for name in INIT:
        if name in ds.coords and ds[name].ndim == 0:
            return ds.expand_dims(name)
    return ds

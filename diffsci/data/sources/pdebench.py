"""PDEBench's HDF5 layouts: they differ by equation, and each is known by its names.

`tensor` or one array per field with `x-coordinate`, ...; numbered groups of `data` and `grid`; and
the incompressible flow's `velocity`, `particles`, `force`. Source: Takamoto et al. (2022),
PDEBench, arXiv:2210.07182, and the public description of its data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data import lazy
from diffsci.data.sources import hdf5
from diffsci.errors import DataError

_SPACE = ("x", "y", "z")


def open_it(path: Path, options: dict[str, Any], where: str) -> xr.Dataset:
    """The trajectories of one file: dims sample, time and the space dims.

    Args:
        path: The file.
        options: None is known.
        where: The catalog entry, for messages.

    Raises:
        DataError: For an array that fits none of the layouts.
    """
    if options:
        raise DataError(f"{where}: open_kwargs: got {options}; this layout takes none")
    with hdf5.opened(path) as file:
        if all(name.isdigit() for name in file):
            return _numbered(path, file)
        return _flow(path, file) if "velocity" in file else _plain(path, file)


def _plain(path: Path, file: Any) -> xr.Dataset:  # noqa: ANN401
    """Arrays `[sample, time, x, ...]`; one without a time has one dim less."""
    ends = {name.removesuffix("-coordinate"): name for name in file if name.endswith("-coordinate")}
    space = [dim for dim in _SPACE if dim in ends]
    found: dict[str, xr.Variable] = {}
    for name in [n for n in file if n not in ends.values()]:
        dims = {len(space) + 2: ["sample", "time", *space], len(space) + 1: ["sample", *space]}
        if file[name].ndim not in dims:
            raise DataError(
                f"{path}: {name} has shape {file[name].shape}, expected sample, time, "
                f"{', '.join(space)}; name its dims by `engine: arrays` and "
                "`open_kwargs: {dims: {...}}` in a catalog entry"
            )
        found[name] = hdf5.variable(path, name, tuple(dims[file[name].ndim]))
    sizes = {d: n for v in found.values() for d, n in v.sizes.items()}
    coordinates = {dim: (dim, np.asarray(file[ends[dim]][...], dtype="f8")) for dim in space}
    if "t" in ends and "time" in sizes:
        # Some files give the edges of the time steps, one more than there are frames.
        times = np.asarray(file[ends["t"]][...], dtype=np.float64)[: sizes["time"]]
        if sizes["time"] > 1:
            coordinates["time"] = ("time", times)
    return xr.Dataset(found, coordinates, {"title": path.stem})


def _numbered(path: Path, file: Any) -> xr.Dataset:  # noqa: ANN401
    """A group for each trajectory: `data[time, x, ..., field]` and `grid/x`, `grid/t`."""
    names = sorted(file)
    first = file[names[0]]["data"]
    space = [dim for dim in _SPACE if dim in file[names[0]]["grid"]]
    if first.ndim != len(space) + 2:
        raise DataError(
            f"{path}: {first.name} has shape {first.shape}, expected time, space, field"
        )
    odd = [n for n in names if file[n]["data"].shape != first.shape]
    if odd:
        raise DataError(
            f"{path}: trajectory {odd[0]} has shape {file[odd[0]]['data'].shape}, the first has "
            f"{first.shape}; leave out those that differ"
        )
    grid = file[names[0]]["grid"]
    found = {}
    for field in range(first.shape[-1]):

        def read(key: lazy.Key, field: int = field) -> np.ndarray:
            chosen = names[key[0]] if isinstance(key[0], slice) else [names[key[0]]]
            with hdf5.opened(path) as again:
                parts = [np.asarray(again[name]["data"][(*key[1:], field)]) for name in chosen]
            return np.stack(parts) if isinstance(key[0], slice) else parts[0]

        word = "data" if first.shape[-1] == 1 else f"data_{field}"
        shape = (len(names), *first.shape[:-1])
        found[word] = lazy.variable(("sample", "time", *space), shape, first.dtype, read)
    coordinates: dict[str, Any] = {dim: (dim, np.asarray(grid[dim][...], "f8")) for dim in space}
    coordinates["time"] = ("time", np.asarray(grid["t"][...], "f8")[: first.shape[0]])
    return xr.Dataset(found, coordinates, {"title": path.stem})


def _flow(path: Path, file: Any) -> xr.Dataset:  # noqa: ANN401
    """`velocity[sample, time, x, y, component]`, `particles`, `force` without a time, `t`."""
    found = {}
    for name in [n for n in ("velocity", "particles", "force") if n in file]:
        array = file[name]
        lead = ("sample", "time", "x", "y")[: array.ndim - 1]
        lead = ("sample", "x", "y") if array.ndim == 4 else lead
        for item in range(array.shape[-1]):
            word = name if array.shape[-1] == 1 else f"{name}_{_SPACE[item]}"
            found[word] = lazy.variable(
                lead,
                array.shape[:-1],
                array.dtype,
                hdf5.component(path, name, (item,)),
                {"vector": "true"} if array.shape[-1] > 1 else {},
            )
    times = np.asarray(file["t"][...], dtype=np.float64)
    if times.ndim == 2 and not (times == times[:1]).all():
        raise DataError(f"{path}: t differs between trajectories; interpolate to common times")
    return xr.Dataset(found, {"time": ("time", times.reshape(-1, times.shape[-1])[0])})

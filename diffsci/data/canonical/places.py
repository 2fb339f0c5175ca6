"""Places: latitudes and longitudes that depend on two dims, or that a file repeats at each time."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from diffsci.data.canonical.names import NAMES, PLACE_UNITS
from diffsci.data.checks.problems import Report


def curvilinear(ds: xr.Dataset, kind: str = "latitude", wanted: tuple[str, ...] = ()) -> str | None:
    """A latitude (or longitude) that depends on two dims, where there is one.

    Of several, such as those of staggered grids, it is that of the most fields, or of those that
    are `wanted`.
    """
    found = [
        str(name)
        for name, variable in ds.variables.items()
        if variable.ndim == 2 and is_place(name, variable, kind)
    ]
    fields = [
        set(v.dims)
        for n, v in ds.data_vars.items()
        if v.ndim > 1 and v.dtype.kind in "fiu" and n not in found and (not wanted or n in wanted)
    ]
    return max(found, key=lambda n: sum(dims >= set(ds[n].dims) for dims in fields), default=None)


def is_place(name: Hashable, variable: xr.Variable, kind: str) -> bool:
    """Whether a variable is a latitude (or longitude), by attributes or name."""
    told = {key: str(variable.attrs.get(key, "")).lower() for key in ("standard_name", "units")}
    by_units = told["units"] in PLACE_UNITS[kind] and variable.dtype.kind == "f"
    return told["standard_name"] == kind or by_units or str(name).lower() in NAMES[kind]


def are_there(ds: xr.Dataset) -> bool:
    """Whether fields have places over two dims, or over time and two dims."""
    named = [v for n, v in ds.variables.items() if is_place(n, v, "latitude")]
    return any(
        v.ndim == 2 or (v.ndim == 3 and str(v.dims[0]).lower() in NAMES["time"]) for v in named
    )


def still(ds: xr.Dataset, report: Report) -> xr.Dataset:
    """With latitudes and longitudes over two dims where a file has the same ones at all times.

    Raises:
        DataError: Where they move.
    """
    for kind in ("latitude", "longitude"):
        for name, variable in ds.variables.items():
            if variable.ndim != 3 or not is_place(name, variable, kind):
                continue
            if str(variable.dims[0]).lower() not in NAMES["time"]:
                continue
            values = np.asarray(variable.values)
            moved = ~(values == values[:1]).all(axis=(1, 2))
            if moved.any():
                report.stop(
                    "curvilinear",
                    f"{name} moves with time, first at time {int(np.argmax(moved))} of the file: "
                    "cells must stay where they are",
                    "interpolate to places that stay, or cut the file where the grid moves",
                    coordinate=str(name),
                )
            kept = xr.Variable(variable.dims[1:], values[0], variable.attrs)
            ds = ds.drop_vars([name]).assign_coords({name: kept})
    return ds


def rectilinear(ds: xr.Dataset) -> xr.Dataset:
    """With latitude and longitude along a dim each, where they are stored as copies over two dims.

    Only what is exactly equal along the other dim is taken so; a curvilinear grid stays as it is.
    """
    names = curvilinear(ds), curvilinear(ds, "longitude")
    if names[0] is None or names[1] is None or set(ds[names[0]].dims) != set(ds[names[1]].dims):
        return ds
    latitude, longitude = (ds.variables[name] for name in names)
    for rows, columns in (latitude.dims, latitude.dims[::-1]):
        north, east = (np.asarray(v.transpose(rows, columns)) for v in (latitude, longitude))
        if (north == north[:, :1]).all() and (east == east[:1]).all():
            old = [*names, *(dim for dim in (rows, columns) if dim in ds.coords)]
            ds = ds.drop_vars(old).rename({rows: "latitude", columns: "longitude"})
            return ds.assign_coords(
                latitude=("latitude", north[:, 0], latitude.attrs),
                longitude=("longitude", east[0], longitude.attrs),
            )
    return ds

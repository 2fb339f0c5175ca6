"""Places: latitudes and longitudes that depend on two dims, or that a file repeats at each time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

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
    """Whether fields have places over two dims, or over time and two dims, or by a rotated pole."""
    if _rotated(ds) is not None:
        return True
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


def unrotated(ds: xr.Dataset) -> xr.Dataset:
    """With latitudes and longitudes where a file gives them by a rotated pole alone, as CF has it.

    Source: CF conventions, appendix F, `rotated_latitude_longitude`.
    """
    found = _rotated(ds)
    if found is None or curvilinear(ds) is not None:
        return ds
    rows, columns, told = found
    north, east = np.meshgrid(
        np.deg2rad(np.asarray(ds[rows].values, np.float64)),
        np.deg2rad(np.asarray(ds[columns].values, np.float64))
        - np.deg2rad(float(told.get("north_pole_grid_longitude", 0.0))),
        indexing="ij",
    )
    pole = np.deg2rad(float(told["grid_north_pole_latitude"]))
    x, y, z = np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)
    latitude = np.arcsin(np.clip(z * np.sin(pole) + x * np.cos(pole), -1, 1))
    longitude = np.arctan2(y, x * np.sin(pole) - z * np.cos(pole))
    degrees = np.rad2deg(longitude) + float(told["grid_north_pole_longitude"]) + 180
    dims = (rows, columns)
    return ds.assign_coords(
        latitude=(dims, np.rad2deg(latitude), {"standard_name": "latitude"}),
        longitude=(dims, (degrees + 180) % 360 - 180, {"standard_name": "longitude"}),
    )


def _rotated(ds: xr.Dataset) -> tuple[str, str, dict[Hashable, Any]] | None:
    """Rows, columns and pole of a rotated grid; none for any other."""
    told = next(
        (
            variable.attrs
            for variable in ds.variables.values()
            if variable.attrs.get("grid_mapping_name") == "rotated_latitude_longitude"
            and {"grid_north_pole_latitude", "grid_north_pole_longitude"} <= set(variable.attrs)
        ),
        None,
    )
    named = {
        str(ds[dim].attrs.get("standard_name")): str(dim) for dim in ds.dims if dim in ds.coords
    }
    if told is None or not {"grid_latitude", "grid_longitude"} <= set(named):
        return None
    return named["grid_latitude"], named["grid_longitude"], told


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

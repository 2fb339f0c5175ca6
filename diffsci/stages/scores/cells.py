"""Cells of forecasts and truth that are the same: by latitude and longitude, or by place."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from jaxtyping import Int

from diffsci.data.canonical import places, projected
from diffsci.data.checks.problems import Report
from diffsci.errors import DataError

SPACE = ("latitude", "longitude", "z", "y", "x")

_DEGREES = 1e-3
"""How far latitudes and longitudes may be off that are stored as float32 (`Grid.same_place`)."""


def laid_out(ds: xr.Dataset, source: str) -> xr.Dataset:
    """A forecast with dims of space as the truth has them, where its places depend on two dims.

    Copies of one row and one column become latitude and longitude; other grids have y and x.
    """
    if {"latitude", "longitude"} <= set(ds.dims):
        return ds
    report = Report(source)
    ds = places.rectilinear(places.unrotated(places.still(ds, report)))
    flat = projected.laid_out(ds, ds, report)
    return ds if flat is None else flat


def span(numbers: Int[np.ndarray, " n"]) -> slice | np.ndarray:
    """Numbers as a slice where they follow one another either way: stores read that far faster."""
    steps = np.unique(np.diff(numbers))
    if len(numbers) == 0 or len(steps) > 1 or (len(steps) and abs(steps[0]) != 1):
        return numbers
    step = int(steps[0]) if len(steps) else 1
    last = int(numbers[-1]) + step
    return slice(int(numbers[0]), None if last < 0 else last, step)


def taken(ds: xr.Dataset, numbers: dict[str, np.ndarray]) -> xr.Dataset:
    """Those cells of a data set, by dim."""
    return ds.isel({dim: span(order) for dim, order in numbers.items()})


def within(
    forecast: xr.Dataset, truth: xr.Dataset, space: tuple[str, ...], source: str
) -> dict[str, np.ndarray]:
    """Numbers of the truth's cells that the forecast has, by dim, in the truth's order.

    The truth may reach further than the forecast. Longitudes are on a circle.

    Raises:
        DataError: Where a cell of the forecast is not one of the truth's.
    """
    _require_dims(forecast, truth, source)
    found = _found(forecast, truth, space)
    for dim in space:
        if dim not in found:
            raise DataError(
                f"{source}: {dim} has {_extent(forecast, dim)}, the truth {_extent(truth, dim)}: "
                "another grid; regrid one of them"
            )
    return {dim: np.sort(numbers) for dim, numbers in found.items()}


def covering(
    store: xr.Dataset, known: xr.Dataset, space: tuple[str, ...], source: str
) -> dict[str, np.ndarray]:
    """Numbers of a forecast's cells that are those of the truth, by dim, in the truth's order.

    Args:
        store: The forecast, or a baseline, which may reach further.
        known: The truth of the cells that are scored.
        space: Dims of space.
        source: For messages.

    Raises:
        DataError: Where it lacks a cell that is scored.
    """
    _require_dims(store, known, source)
    found = _found(known, store, space)
    for dim in space:
        if dim not in found:
            raise DataError(
                f"{source}: {dim} has {_extent(store, dim)}, of those that are scored "
                f"{_extent(known, dim)} some are not there; regrid it, leave it out, or cut the "
                f"forecast to cells that both have, as `forecast.sel({dim}=...)`"
            )
    return found


def beyond(known: xr.Dataset, whole: xr.Dataset, space: tuple[str, ...]) -> tuple[str, ...]:
    """Cells of the truth beyond the forecast's grid, which are not scored."""
    cells, all_cells = (math.prod(ds.sizes[dim] for dim in space) for ds in (known, whole))
    if cells == all_cells:
        return ()
    return (f"the forecast covers {cells:,} of the truth's {all_cells:,} cells",)


def _require_dims(forecast: xr.Dataset, truth: xr.Dataset, source: str) -> None:
    """Refuse grids of two kinds, and one that lacks a dim."""
    flat = [_is_projected(ds) for ds in (forecast, truth)]
    if flat[0] != flat[1]:
        words = ["projected or curvilinear" if each else "along its dims" for each in flat]
        raise DataError(
            f"{source}: its places are {words[0]}, those of the truth {words[1]}; regrid "
            "one of them"
        )
    for dim in SPACE:
        if (dim in forecast.dims) != (dim in truth.dims):
            where = "the truth" if dim in forecast.dims else "the forecast"
            raise DataError(
                f"{source}: {where} has no dim {dim}, which the other has; where a single cell was "
                f"selected, select it as a list, as `ds.isel({dim}=[0])`"
            )


def _extent(ds: xr.Dataset, dim: str) -> str:
    """Number and ends of the cells along a dim; of a projected grid those of its latitudes."""
    projected_grid = _is_projected(ds)
    at = np.sort(ds["latitude"].values.reshape(-1)) if projected_grid else ds[dim].values
    words = "cells, latitudes" if projected_grid else "cells"
    return f"{ds.sizes[dim]} {words} from {at[0]:g} to {at[-1]:g}"


def _is_projected(ds: xr.Dataset) -> bool:
    return "latitude" in ds.variables and ds["latitude"].dims == projected.SPACE


def _found(wanted: xr.Dataset, have: xr.Dataset, space: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Numbers of one grid's cells on another, by dim; without a dim where one is not there."""
    if _is_projected(wanted) and _is_projected(have):
        return _found_by_place(wanted, have)
    found = {}
    for dim in space:
        at = np.asarray(wanted[dim].values, dtype=np.float64)
        there = np.asarray(have[dim].values, dtype=np.float64)
        apart = np.abs(at[:, None] - there)
        if dim == "longitude":
            apart = np.abs((apart + 180) % 360 - 180)
        cell = float(np.median(np.abs(np.diff(there)))) if len(there) > 1 else 1.0
        nearest = apart.argmin(axis=1)
        if apart.min(axis=1).max() <= 1e-3 * cell and len(set(nearest.tolist())) == len(at):
            found[dim] = nearest
    return found


def _found_by_place(wanted: xr.Dataset, have: xr.Dataset) -> dict[str, np.ndarray]:
    """The same of projected grids, by place: their y and x may be mere counts."""
    at, there = (
        np.stack([np.asarray(ds[name].values, np.float64) for name in ("latitude", "longitude")])
        for ds in (wanted, have)
    )

    def apart(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        north, east = np.abs((one - two + 180) % 360 - 180)
        # Of a degree of longitude there is less near the poles.
        return np.asarray(np.hypot(north, east * np.cos(np.deg2rad(one[0]))))

    corner = apart(at[:, :1, :1], there)
    row, column = np.unravel_index(int(corner.argmin()), corner.shape)
    rows = apart(at[:, :, :1], there[:, None, :, column]).argmin(axis=1)
    columns = apart(at[:, 0, :, None], there[:, None, row]).argmin(axis=1)
    unique = len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns)
    if not unique or apart(at, there[:, rows][:, :, columns]).max() > _DEGREES:
        return {}
    return {"y": rows, "x": columns}

"""The globe: latitudes and longitudes by value, whichever way a file counts them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from diffsci.data.checks.problems import Report

_READ = 256 * 2**20
"""Bytes of fields up to which two columns of them are compared."""


def _rounded(ds: xr.Dataset, dim: str, report: Report) -> np.ndarray:
    """Degrees to 1e-4 (11 m): float32 and float64 files of one grid then agree bit for bit."""
    values = np.asarray(ds[dim].values, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        first = bad[0]
        report.stop(
            "coordinate",
            f"{bad.size} of {values.size} are no numbers: number {first} is {values[first]:g}",
            "write the coordinate anew",
            coordinate=dim,
        )
    return np.round(values, 4)


def latitudes(ds: xr.Dataset, report: Report) -> xr.Dataset:
    """With latitudes ascending.

    Raises:
        DataError: For one beyond a pole, or there twice.
    """
    values = _rounded(ds, "latitude", report)
    if np.abs(values).max() > 90 or len(set(values)) < len(values):
        report.stop(
            "coordinate",
            f"values from {values.min():g} to {values.max():g}, "
            f"{len(values) - len(set(values))} of them twice: "
            "expected distinct latitudes within -90 to 90",
            "correct the file's coordinate",
            coordinate="latitude",
        )
    ds = ds.assign_coords(latitude=("latitude", values, {"units": "degrees_north"}))
    order = np.argsort(values)
    return ds if (np.diff(order) > 0).all() else ds.isel(latitude=order)


def _repeats(ds: xr.Dataset) -> bool:
    """Whether the last column is the first one once more, in all variables; large data is not read.

    Then it is left out: the same values stand at the same place.
    """
    along = [v for v in ds.data_vars.values() if "longitude" in v.dims]
    if sum(4 * v.size for v in along) > _READ:
        return False
    fields = [v for v in along if v.dtype.kind in "fiu"]
    ends = [[np.asarray(v.isel(longitude=i).values) for i in (0, -1)] for v in fields]
    return all(np.array_equal(first, last, equal_nan=True) for first, last in ends)


def longitudes(ds: xr.Dataset, report: Report) -> xr.Dataset:
    """With longitudes ascending: all of the globe from 0, a box without a seam.

    Raises:
        DataError: For a meridian that is there twice.
    """
    values = np.round(_rounded(ds, "longitude", report) % 360, 4) % 360
    if len(values) > 2 and values[0] == values[-1] and _repeats(ds):
        ds, values = ds.isel(longitude=slice(0, -1)), values[:-1]
    if len(set(values)) < len(values):
        report.stop(
            "coordinate",
            "one meridian is there twice (0 and 360, say), with other values",
            "drop the repeated column, such as `ds.isel(longitude=slice(0, -1))`",
            coordinate="longitude",
        )
    order = np.argsort(values)
    values = values[order]
    if len(values) > 1:
        gaps = np.append(np.diff(values), values[0] + 360 - values[-1])
        _tell_seam(values, gaps, report)
        start = 0 if closes(values) else (int(np.argmax(gaps)) + 1) % len(values)
        values, order = np.roll(values, -start), np.roll(order, -start)
        seam = np.flatnonzero(np.diff(values) < 0)
        if len(seam):
            values[: seam[0] + 1] -= 360
    if not np.array_equal(order, np.arange(len(order))):
        ds = ds.isel(longitude=order)
    return ds.assign_coords(longitude=("longitude", np.round(values, 4), {"units": "degrees_east"}))


def _tell_seam(values: np.ndarray, gaps: np.ndarray, report: Report) -> None:
    """Warn of a circle that lacks a column or two: it is read as a box with open edges."""
    spacing, widest = float(np.median(gaps)), int(np.argmax(gaps))
    rest = np.delete(gaps, widest)
    alike = len(rest) > 2 and np.abs(rest - spacing).max() < 1e-3 * spacing + 2e-4
    if alike and 1.5 * spacing < gaps[widest] < 3.5 * spacing:
        west, east = values[widest], values[(widest + 1) % len(values)]
        report.add(
            "seam",
            f"between {west:g} and {east:g} degrees a column or two of the globe are missing: it "
            "is read as a box with open edges",
            "nothing to do if that is meant; else add them to the file",
            coordinate="longitude",
        )


def closes(longitudes: np.ndarray) -> bool:
    """Whether regular longitudes close the circle, the last cell ending where the first begins."""
    if len(longitudes) < 4:
        return False
    steps = np.diff(longitudes)
    spacing = float(np.median(steps))
    # 2e-4: each value was rounded to 1e-4 degrees.
    regular = np.abs(steps - spacing).max() < 1e-3 * spacing + 2e-4
    return bool(
        regular and abs(longitudes[-1] + spacing - longitudes[0] - 360) < 0.01 * spacing + 2e-4
    )

"""Levels: pressures are in hPa; heights, depths and model levels keep what they say of themselves.

A pressure is known by its standard name or its units, and where a file gives neither, by its name:
`plev`, say. A bare `level` counts as pressure unless it just numbers the levels.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data.canonical.units import conversion
from diffsci.data.checks.problems import Report
from diffsci.data.forecast_layout import PRESSURE

_KEPT = ("standard_name", "long_name", "units", "positive", "axis")
_PRESSURES = ("plev", "pressure", "pressure_level", "isobaric", "isobaricinhpa")
_PLAIN = ("level", "lev", "levels")
_HIGHEST = 1100.0
"""In hPa; no pressure on Earth's surface is higher."""


def canonical(ds: xr.Dataset, name: str, report: Report) -> xr.Dataset:
    """The data set with ascending levels, and their CF attributes.

    Args:
        ds: With a dim `level`.
        name: What the file calls it.
        report: Where faults are told.

    Raises:
        DataError: For levels that are no numbers, twice there, or pressures of unknown units.
    """
    values, told = labels(ds["level"], name, report)
    ds = ds.assign_coords(level=("level", values, told))
    return ds.isel(level=np.argsort(values))


def labels(
    found: xr.DataArray, name: str, report: Report
) -> tuple[Float[np.ndarray, " level"], dict[str, str]]:
    """Values of levels, pressures in hPa, and their CF attributes.

    Args:
        found: As the file has them.
        name: What the file calls them.
        report: Where faults are told.

    Raises:
        DataError: For levels that are no numbers, twice there, or pressures of unknown units.
    """
    if found.dtype.kind not in "fiu":
        report.stop(
            "coordinate",
            f"levels are of type {found.dtype}, expected numbers",
            "number them in the file",
            coordinate="level",
        )
    # Of float32 the shortest digits: 0.1 is then the 0.1 of float64.
    short = found.dtype == np.float32
    plain = [float(str(value)) for value in found.values.reshape(-1)] if short else found.values
    values = np.atleast_1d(np.asarray(plain, dtype=np.float64))
    told = {key: str(found.attrs[key]) for key in _KEPT if key in found.attrs}
    factor = _to_hectopascal(values, name.lower(), told, report)
    if factor is not None:
        # 1e-6 hPa: what multiplying leaves of 85000 Pa is 850 hPa exactly.
        values, told = np.round(values * factor, 6), dict(PRESSURE)
    if len(set(values)) < len(values) or not np.isfinite(values).all():
        report.stop(
            "coordinate", "levels are there twice, or NaN", "drop the copies", coordinate="level"
        )
    return values, told or {"long_name": "level number"}


def _to_hectopascal(
    values: np.ndarray, name: str, told: dict[str, str], report: Report
) -> float | None:
    """Factor to hPa; none where the levels are no pressures."""
    standard, units = told.get("standard_name", "").lower(), told.get("units", "")
    pressure = standard == "air_pressure" or (not standard and name in _PRESSURES)
    if units:
        factors = conversion(units, "hPa")
        if factors is not None and (pressure or not standard):
            return factors[0]
        if standard != "air_pressure":
            return None
    elif not pressure:
        numbered = len(values) > 1 and bool((np.abs(np.diff(values)) == 1).all())
        said = told.get("long_name", "pressure").lower() + told.get("positive", "down")
        plain = name in _PLAIN and not standard and "pressure" in said and "down" in said
        inside = values.size and values.min() >= 1 and values.max() <= _HIGHEST
        return 1.0 if plain and inside and not numbered else None
    if units or values.max() > _HIGHEST:
        report.stop(
            "coordinate",
            f"pressures up to {values.max():g} with units {units or 'not said'!r}: "
            "expected Pa, hPa or kPa",
            "write them in the file, such as `ds['plev'].attrs['units'] = 'Pa'`",
            coordinate="level",
        )
    return 1.0

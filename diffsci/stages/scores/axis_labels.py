"""Labels of a forecast's axes, once they have our names: starts are dates, leads are differences.

What stands twice would count twice, and what is no date has no truth: both are refused.
"""

from __future__ import annotations

import cftime
import numpy as np
import xarray as xr

from diffsci.data.canonical import times as stamps
from diffsci.errors import DataError

_UNITS = {
    word: np.timedelta64(count, "s")
    for count, words in (
        (1, ("s", "sec", "second", "seconds")),
        (60, ("min", "minute", "minutes")),
        (3600, ("h", "hr", "hour", "hours")),
        (86400, ("d", "day", "days")),
    )
    for word in words
}
"""Of leads that are numbers with an attribute, which xarray has not decoded."""


def labelled(ds: xr.Dataset, lead: str, named: str, source: str) -> xr.Dataset:
    """The forecast with leads as differences of time.

    Args:
        ds: Under our names.
        lead: Name of the leads' axis; it may be absent.
        named: What the file calls it.
        source: For messages.

    Raises:
        DataError: For leads without a unit, starts that are no dates, and labels that stand twice.
    """
    if lead in ds.dims:
        ds = _with_differences(ds, lead, named, source)
    starts = ds["time"].values if "time" in ds.variables else np.zeros(0)
    if starts.dtype.kind == "O":
        dates = all(isinstance(each, cftime.datetime) for each in starts)
    else:
        dates = starts.dtype.kind == "M" and not np.isnat(starts).any()
    if not dates:
        found = f", such as {starts[0]}" if len(starts) else ""
        raise DataError(
            f"{source}: its times of initialisation are no dates{found}; make them such, as "
            "`ds.assign_coords(time=ds.time.astype('datetime64[ns]'))`, and save it again"
        )
    for dim, word in (("time", "times of initialisation"), (lead, "leads")):
        if dim not in ds.dims:
            continue
        values, counts = np.unique(ds[dim].values, return_counts=True)
        twice = values[counts > 1]
        if len(twice):
            first = twice[0]
            name = stamps.name(first) if dim == "time" else f"{first / np.timedelta64(1, 'h'):g} h"
            raise DataError(
                f"{source}: {len(twice)} of its {word} are there more than once, first {name}, "
                f"and would count so; keep one of each: `ds.drop_duplicates('{dim}')`"
            )
    return ds


def _with_differences(ds: xr.Dataset, lead: str, named: str, source: str) -> xr.Dataset:
    if lead not in ds.variables:
        raise DataError(
            f"{source}: nothing says what its {ds.sizes[lead]} leads ({named}) are; give them a "
            f"coordinate, as `ds.assign_coords({named}=('{named}', [6, 12], {{'units': 'hours'}}))`"
        )
    values = ds[lead].values
    if values.dtype.kind == "m":
        return ds
    unit = str(ds[lead].attrs.get("units", "")).strip().lower()
    if values.dtype.kind not in "iuf" or unit not in _UNITS:
        raise DataError(
            f"{source}: its leads are plain numbers{f' in {unit!r}' if unit else ''}; give them "
            f"units, such as `ds['{named}'].attrs['units'] = 'hours'`, and save it again"
        )
    seconds = np.round(values * (_UNITS[unit] / np.timedelta64(1, "s")))
    return ds.assign_coords({lead: seconds.astype("m8[s]").astype("m8[ns]")})

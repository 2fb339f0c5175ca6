"""Labels of a forecast's axes, once they have our names: starts are dates, leads are differences.

What stands twice would count twice, and what is no date has no truth: both are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    require_once(
        ds, {"time": "times of initialisation", lead: "leads", "number": "members"}, source
    )
    return ds


def require_ahead(ds: xr.Dataset, lead: str, source: str) -> None:
    """Refuse leads before the start, which are no forecast, and those that are not there.

    Args:
        ds: Under our names, of the leads that are scored.
        lead: Name of their axis; it may be absent.
        source: For messages.

    Raises:
        DataError: Naming the first, and how many there are.
    """
    values = ds[lead].values if lead in ds.dims and lead in ds.variables else np.zeros(0)
    if values.dtype.kind != "m":
        return
    hollow, past = np.isnat(values), values < np.timedelta64(0, "h")
    if hollow.any():
        raise DataError(
            f"{source}: {int(hollow.sum())} of its {len(values)} leads have no value (NaT); give "
            f"them one, or leave them out, as `ds.isel({lead}=ds['{lead}'].notnull().values)`"
        )
    if past.any():
        raise DataError(
            f"{source}: {int(past.sum())} of its {len(values)} leads lie before the start, first "
            f"{_named(values[past][0])}, and are no forecast; name those to score by `--leads`, or "
            f"correct {lead}: `time` is the start, and a lead what is added to it"
        )


def require_once(ds: xr.Dataset, words: Mapping[str, str], source: str) -> None:
    """Refuse an axis with a label that stands twice.

    Args:
        ds: Under our names.
        words: Dim -> what its items are called; dims without labels are left alone.
        source: For messages.

    Raises:
        DataError: Naming the first.
    """
    for dim, word in words.items():
        if dim not in ds.dims or dim not in ds.variables:
            continue
        values, counts = np.unique(ds[dim].values, return_counts=True)
        twice = values[counts > 1]
        if len(twice):
            raise DataError(
                f"{source}: {len(twice)} of its {word} are there more than once, first "
                f"{_named(twice[0])}, and would count so; keep one of each: "
                f"`ds.drop_duplicates('{dim}')`" + _MEMBERS * (dim == "number")
            )


_MEMBERS = ", or where they are others, number them: `ds.drop_vars('number')`"


def _named(label: Any) -> str:  # noqa: ANN401  a date, a difference, a number or a text
    if isinstance(label, np.timedelta64):
        return hours(label)
    is_date = isinstance(label, np.datetime64 | cftime.datetime)
    return stamps.name(label) if is_date else str(label)


def hours(lead: np.timedelta64) -> str:
    """A lead in words."""
    return f"{lead / np.timedelta64(1, 'h'):g} h"


def difference(lead: xr.DataArray) -> np.ndarray | None:
    """Leads as differences of time; none where they are numbers of which no unit is told."""
    values = np.asarray(lead.values)
    if values.dtype.kind == "m":
        return values
    unit = str(lead.attrs.get("units", "")).strip().lower()
    if values.dtype.kind not in "iuf" or unit not in _UNITS:
        return None
    seconds = np.round(values * (_UNITS[unit] / np.timedelta64(1, "s")))
    return np.asarray(seconds.astype("m8[s]").astype("m8[ns]"))


def _with_differences(ds: xr.Dataset, lead: str, named: str, source: str) -> xr.Dataset:
    if lead not in ds.variables:
        raise DataError(
            f"{source}: nothing says what its {ds.sizes[lead]} leads ({named}) are; give them a "
            f"coordinate, as `ds.assign_coords({named}=('{named}', [6, 12], {{'units': 'hours'}}))`"
        )
    found = difference(ds[lead])
    if found is None:
        unit = str(ds[lead].attrs.get("units", "")).strip().lower()
        raise DataError(
            f"{source}: its leads are plain numbers{f' in {unit!r}' if unit else ''}; give them "
            f"units, such as `ds['{named}'].attrs['units'] = 'hours'`, and save it again"
        )
    return ds if ds[lead].dtype.kind == "m" else ds.assign_coords({lead: found})

"""Valid ranges: what lies outside `valid_range`, `valid_min` or `valid_max` of a file is missing.

xarray leaves such values as they are, although they are often codes: land, cloud, no retrieval.
Here they are NaN, like a `_FillValue`, so that they need a `missing:` in the entry like any other
gap. Where the file is wrong, the entry's `valid_range:` goes before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data import lazy
from diffsci.data.catalog import Entry

Range = tuple[float, float]
"""Least and largest valid value, both valid, in the units of the unpacked values."""

WITHIN = "within"
"""Attribute of a masked field: its range, as long as its values are in the file's units."""

_KEYS = ("valid_range", "valid_min", "valid_max")


def masked(ds: xr.Dataset, entry: Entry) -> xr.Dataset:
    """With NaN where a field lies outside its valid range, found where it is read.

    The range stays as the attribute `WITHIN`.

    Args:
        ds: As opened: unpacked, how it was packed in its `encoding`, under the file's names.
        entry: Its `valid_range` goes before the file's.
    """
    made = {}
    for key, variable in ds.data_vars.items():
        if variable.ndim < 2 or variable.dtype.kind not in "fiu":
            continue
        found = of(str(key), variable.variable, entry)
        if found is not None:
            made[key] = _masked(variable.variable, found)
            made[key].attrs = {**variable.attrs, WITHIN: found}
            chunks = variable.encoding.get("preferred_chunks")
            made[key].encoding = {"preferred_chunks": chunks} if chunks else {}
    if not made:
        return ds
    whole = ds.assign(made)
    whole.set_close(ds.close)
    return whole


def of(name: str, variable: xr.Variable, entry: Entry) -> Range | None:
    """The valid range of a variable, by the entry or else by the file; none where all is valid."""
    told = entry.variables.get(entry.rename.get(name, name))
    if told is not None and told.valid_range is not None:
        return _bounding(*told.valid_range)
    return declared(variable.attrs, variable.encoding)


def _masked(variable: xr.Variable, valid: Range) -> xr.Variable:
    return lazy.derived(variable, lambda v: within(v, valid), _wide(variable.dtype))


def _wide(kind: np.dtype[Any]) -> np.dtype[Any]:
    """The type that has room for a NaN."""
    return np.result_type(kind, np.float32)


def within(values: np.ndarray, valid: Range) -> np.ndarray:
    """The values, NaN outside a range; infinities are left to be told."""
    wide = values.astype(_wide(values.dtype), copy=False)
    # Bounds and values may each be kept in float32: 6e-8 of a bound is no difference.
    slack = [float(np.finfo(np.float32).eps) * abs(bound) for bound in valid]
    low, high = (
        bound + sign * room if math.isfinite(bound) else bound
        for bound, sign, room in zip(valid, (-1, 1), slack, strict=True)
    )
    if not values.size or (wide.min() >= low and wide.max() <= high):
        return wide
    return np.where(((wide < low) | (wide > high)) & np.isfinite(wide), np.nan, wide)


def declared(attributes: Mapping[Any, Any], encoding: Mapping[Any, Any]) -> Range | None:
    """The valid range that a file declares, unpacked; none where it bounds nothing.

    Of packed integers an integer range is one of the packed numbers; any other is of the values.
    What is no number, or none that the type could exceed, bounds nothing.

    Args:
        attributes: Of the variable.
        encoding: How it is stored: type, `scale_factor`, `add_offset`, `_Unsigned`.

    Source:
        NetCDF Users Guide, appendix A, `valid_range`; CF Conventions, 2.5.1 and 8.1.
    """
    bounds = _bounds(attributes)
    if bounds is None:
        return None
    low, high = bounds
    stored = np.dtype(encoding.get("dtype", np.float32))
    whole = all(b.dtype.kind in "iu" for b in bounds if b is not None)
    if stored.kind in "iu" and whole:
        if str(encoding.get("_Unsigned", "")).lower() == "true":
            stored = np.dtype(f"u{stored.itemsize}")
        room = np.iinfo(stored)
        size = int(room.max) - int(room.min) + 1
        # A range of unsigned bytes is written as signed ones: 254 as -2.
        below, above = (
            None if b is None else int(b) % size if stored.kind == "u" else int(b)
            for b in (low, high)
        )
        least = -math.inf if below is None or below <= room.min else float(below)
        most = math.inf if above is None or above >= room.max else float(above)
        return _unpacked(least, most, encoding)
    least = -math.inf if low is None else float(low)
    most = math.inf if high is None else float(high)
    return _bounding(least, most)


def _bounds(attributes: Mapping[Any, Any]) -> tuple[Any, Any] | None:
    """Least and largest valid number as the file has them, each of them or none."""
    found = {key: np.atleast_1d(attributes[key]) for key in _KEYS if key in attributes}
    found = {k: v for k, v in found.items() if v.dtype.kind in "fiu" and not np.isnan(v).any()}
    if "valid_range" in found and found["valid_range"].size == 2:
        return found["valid_range"][0], found["valid_range"][1]
    pair = [found[k][0] if k in found and found[k].size == 1 else None for k in _KEYS[1:]]
    return None if pair == [None, None] else (pair[0], pair[1])


def _unpacked(least: float, most: float, encoding: Mapping[Any, Any]) -> Range | None:
    """Packed bounds as values; half a step is added, since the packed numbers are whole."""
    scale = float(np.asarray(encoding.get("scale_factor", 1.0)).ravel()[0])
    offset = float(np.asarray(encoding.get("add_offset", 0.0)).ravel()[0])
    if not {"scale_factor", "add_offset"} & set(encoding):
        return _bounding(least, most)
    ends = sorted([(least - 0.5) * scale + offset, (most + 0.5) * scale + offset])
    return _bounding(ends[0], ends[1])


def _bounding(least: float, most: float) -> Range | None:
    return None if math.isinf(least) and math.isinf(most) else (least, most)

"""Notes on data beside its inferred entry: what a person may want to know, or to decide.

They are comments: gaps to be declared, variables that are left out, what else a folder may mean.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from diffsci.data import stacking
from diffsci.data.canonical.axes import COMPONENTS
from diffsci.data.canonical.names import NAMES
from diffsci.data.canonical.places import is_place
from diffsci.data.catalog import MISSING, Entry


def notes(raw: xr.Dataset, canonical: xr.Dataset, entry: Entry, reader: str) -> list[str]:
    """Comment lines for what was understood.

    Args:
        raw: As opened.
        canonical: As understood.
        entry: What the catalog says of it.
        reader: Word of the reader of ours that read it; empty for any other.
    """
    found = [*_places(canonical), *_folders(canonical, entry, reader), *_gaps(canonical)]
    left = _left_out(raw, canonical, entry)
    return [*found, *([f"# left out, having other dims: {', '.join(left)}"] if left else [])]


def _places(canonical: xr.Dataset) -> list[str]:
    """Where a grid lies whose latitudes and longitudes depend on two dims."""
    lines = []
    for name in ("latitude", "longitude"):
        if name in canonical.coords and canonical[name].ndim == 2:
            values = canonical[name].values
            dims = " and ".join(map(str, canonical[name].dims))
            lines.append(f"# {name}, over {dims}: {np.min(values):.6g} to {np.max(values):.6g}")
    return lines


def _folders(canonical: xr.Dataset, entry: Entry, reader: str) -> list[str]:
    """What else the files of a folder of images may be."""
    if reader != "images" or "layout" in entry.open_kwargs or canonical.sizes["sample"] < 2:
        return []
    each = "subfolder is a class" if canonical.attrs.get("classes") else "file is a sample"
    return [f"# each {each}; if they are frames in time, write `open_kwargs: {{layout: frames}}`"]


def _gaps(canonical: xr.Dataset) -> list[str]:
    """Variables that have gaps in their first or last state, which a declaration must allow."""
    space = canonical.attrs.get("space") or canonical.attrs["boundary"].keys() or ()
    named = {*space, "latitude", "longitude", "y", "x", "channel"}
    found = []
    for name, variable in canonical.data_vars.items():
        lead = [dim for dim in variable.dims if dim not in named]
        if variable.dtype.kind != "f" or not lead or variable.attrs.get("missing") in MISSING[1:]:
            continue
        try:
            ends = [variable.isel(dict.fromkeys(lead, end)).variable for end in (0, -1)]
            gaps = [np.isnan(stacking.physical(v.values, dict(variable.attrs))) for v in ends]
        except (OSError, RuntimeError, ValueError, KeyError):
            continue  # What cannot be read is told by a check.
        if any(gap.any() for gap in gaps):
            found.append(str(name))
    if not found:
        return []
    return [
        f"# gaps (NaN) in {', '.join(found)}: say `missing: static` if they are the same cells at "
        "all times,",
        "# such as land, else `missing: moving`; `diffsci check` of this entry tells which",
    ]


def _left_out(raw: xr.Dataset, canonical: xr.Dataset, entry: Entry) -> list[str]:
    """Fields that the entry does not take, with their dims."""
    if entry.variables:
        return []
    bounds = {
        str(v.attrs.get(key) or v.encoding.get(key))
        for v in raw.variables.values()
        for key in ("bounds", "climatology")
    }
    axes = {name for kind in ("time", "latitude", "longitude") for name in NAMES[kind]}
    found = []
    for key, variable in raw.data_vars.items():
        name = entry.rename.get(str(key), str(key))
        split = any(str(dim).lower() in COMPONENTS for dim in variable.dims)
        field = sum(n > 1 for n in variable.shape) > 1 and variable.dtype.kind in "fiu"
        known = name in canonical.variables or name.lower() in axes or str(key) in bounds
        place = any(is_place(key, variable.variable, kind) for kind in ("latitude", "longitude"))
        if field and not (split or known or place):
            dims = (f"{d} {n}" for d, n in zip(variable.dims, variable.shape, strict=True))
            found.append(f"{name}({', '.join(dims)})")
    return found

"""Vectors: axes that a program wrote as matrices of one row or column, such as `x(n, one)`.

MATLAB has no arrays of one dim, and what was converted from it keeps a dim of length 1. A dim that
such an axis counts is known by its name, else by its length where that leaves no choice.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from diffsci.data.canonical.names import NAMES
from diffsci.data.checks.problems import Report

_AXES = {
    "latitude": NAMES["latitude"],
    "longitude": NAMES["longitude"],
    "time": NAMES["time"],
    **{name: (name,) for name in ("z", "y", "x")},
}

_PLACES = ("latitude", "longitude")


def flattened(ds: xr.Dataset, report: Report) -> xr.Dataset:
    """The data set with axes, and parameters of samples, along the one dim that they count.

    Args:
        ds: As opened.
        report: Where faults are told.

    Raises:
        DataError: For an axis that may count one dim as well as another.
    """
    fields = [v for v in ds.data_vars.values() if sum(n > 1 for n in v.shape) > 1]
    dims = list(dict.fromkeys(str(d) for v in fields for d in v.dims if ds.sizes[d] > 1))
    for name, variable in list(ds.variables.items()):
        long = [str(dim) for dim in variable.dims if ds.sizes[dim] > 1]
        if len(long) != 1 or variable.ndim > 2 or variable.dims == (name,):
            continue
        if variable.dims == (long[0],) and long[0] in dims or variable.dtype.kind not in "fiuM":
            continue
        dim = _counted(ds, str(name), long[0], dims, report)
        rest = ds.drop_vars(str(name))
        if dim is None or (dim in rest.coords and not _is_sample(dim)):
            continue
        if name in rest.dims and name != dim:
            continue
        flat = xr.Variable((dim,), np.asarray(variable.values).ravel(), variable.attrs)
        # A parameter of samples is a variable; what lies along any other dim is its coordinate.
        ds = rest.assign({name: flat}) if _is_sample(dim) else rest.assign_coords({name: flat})
    return ds


def _counted(ds: xr.Dataset, name: str, own: str, dims: list[str], report: Report) -> str | None:
    """The dim of the fields that a vector counts; none where it counts none, or is no axis."""
    kind = next((kind for kind, names in _AXES.items() if name.lower() in names), None)
    if kind in _PLACES and _along(ds, own) >= set(_PLACES):
        return None  # A line across the globe, not an axis.
    if own in dims:
        return own if kind is not None or _is_sample(own) else None
    likely = [dim for dim in dims if ds.sizes[dim] == ds.sizes[own] and dim not in ds.coords]
    if kind is None:
        return likely[0] if len(likely) == 1 and _is_sample(likely[0]) else None
    if any(str(other).lower() in _AXES[kind] for other in ds.coords if other != name):
        return None
    named = [dim for dim in likely if dim.lower() in (*_AXES[kind], *NAMES.get(kind, ()))]
    found = named or [dim for dim in likely if not _is_sample(dim)]
    if len(found) > 1:
        shape = ", ".join(f"{dim} {ds.sizes[dim]}" for dim in ds[name].dims)
        report.stop(
            "axis-ambiguous",
            f"{name}({shape}) may count {' or '.join(found)}, which are as long",
            f"write it along the right one in the file, such as `ds['{name}'] = ('{found[0]}', "
            f"ds['{name}'].values.ravel())`",
            coordinate=name,
        )
    return found[0] if found else None


def _along(ds: xr.Dataset, dim: str) -> set[str]:
    """Which of latitude and longitude some variable has along a dim."""
    here = [str(n).lower() for n, v in ds.variables.items() if dim in v.dims]
    return {kind for kind in _PLACES if set(here) & set(_AXES[kind])}


def _is_sample(dim: Hashable) -> bool:
    return str(dim).lower() in NAMES["sample"]

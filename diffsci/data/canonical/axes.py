"""Axes: which coordinate is latitude, time or level, by CF attributes, then by common names.

Names are compared without case. What two coordinates claim is refused, never guessed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable

import numpy as np
import xarray as xr

from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report
from diffsci.errors import ConfigError
from diffsci.families import did_you_mean

NAMES = {
    "latitude": ("latitude", "lat", "nav_lat", "lats", "ylat", "xlat"),
    "longitude": ("longitude", "lon", "long", "nav_lon", "lons", "xlon", "xlong"),
    "time": ("time", "valid_time", "t", "date", "datetime", "times", "time_counter", "xtime"),
    "level": (
        "level", "pressure_level", "plev", "isobaricinhpa", "lev", "levels", "pressure",
        "isobaric", "depth", "height_level",
    ),
    "sample": ("sample", "trajectory", "trajectories", "traj", "index", "image", "batch", "n"),
    "frame": ("time", "frame", "frames", "t"),
    "z": ("z", "depth", "slice"),
    "y": ("y", "height", "row", "rows", "h"),
    "x": ("x", "width", "col", "cols", "column", "w"),
    "channel": ("channel", "channels", "band", "bands", "rgb", "c", "field"),
}  # fmt: skip
COMPONENTS = ("field", "channel")
"""Dims whose items are variables of their own."""

_STANDARD = {
    "latitude": "latitude",
    "longitude": "longitude",
    "time": "time",
    "level": "air_pressure",
}
_UNITS = {"latitude": ("degrees_north", "degree_north", "degrees_n", "degreen"),
          "longitude": ("degrees_east", "degree_east", "degrees_e", "degreee")}  # fmt: skip
_AXIS = {"time": "T", "level": "Z"}


def find(ds: xr.Dataset, kind: str, report: Report) -> str | None:
    """The dim (or scalar coordinate) of this kind; none where the data set has none.

    Raises:
        DataError: When two dims claim to be it with equal right.
    """
    dims = [str(dim) for dim in ds.dims]
    candidates = dims + [str(c) for c in ds.coords if ds[c].ndim == 0 and str(c) not in dims]
    attributes = {
        name: {k: str(v).lower() for k, v in ds[name].attrs.items()} if name in ds.coords else {}
        for name in candidates
    }
    tests: list[Callable[[str], bool]] = [
        lambda n: attributes[n].get("standard_name") == _STANDARD.get(kind, "-"),
        lambda n: attributes[n].get("units") in _UNITS.get(kind, ()),
        lambda n: n == kind,
        lambda n: attributes[n].get("axis") == _AXIS.get(kind, "-").lower(),
        lambda n: n.lower() in NAMES[kind],
    ]
    for test in tests:
        for pool in (dims, candidates):
            found = [name for name in pool if test(name)]
            longer = [name for name in found if ds.sizes.get(name, 1) > 1]
            found = longer if len(longer) == 1 else found
            if len(found) > 1:
                report.stop(
                    "axis-ambiguous",
                    f"{' and '.join(found)} may both be the {kind}",
                    f"say which under `rename:`, such as `{found[0]}: {kind}`; rename the other",
                    coordinate=kind,
                )
            if found:
                return found[0]
    return None


def curvilinear(ds: xr.Dataset, kind: str = "latitude") -> str | None:
    """A latitude (or longitude) that depends on two dims, where there is one."""
    for name, variable in ds.variables.items():
        if variable.ndim == 2 and _is_place(name, variable, kind):
            return str(name)
    return None


def _is_place(name: Hashable, variable: xr.Variable, kind: str) -> bool:
    """Whether a variable is a latitude (or longitude), by attributes or name."""
    told = {key: str(variable.attrs.get(key, "")).lower() for key in ("standard_name", "units")}
    by_units = told["units"] in _UNITS[kind] and variable.dtype.kind == "f"
    return told["standard_name"] == kind or by_units or str(name).lower() in NAMES[kind]


def still(ds: xr.Dataset) -> xr.Dataset:
    """With latitudes and longitudes over two dims where a file has the same ones at all times."""
    for kind in ("latitude", "longitude"):
        for name, variable in ds.variables.items():
            if variable.ndim != 3 or not _is_place(name, variable, kind):
                continue
            values = np.asarray(variable.values)
            if str(variable.dims[0]).lower() in NAMES["time"] and (values == values[:1]).all():
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


def promoted(ds: xr.Dataset) -> xr.Dataset:
    """With a coordinate such as `time(record)` as a dim, where `record` has no coordinate itself.

    What lies along samples is a property of each, not an axis.
    """
    for kind in ("latitude", "longitude", "time", "level"):
        if any(str(dim).lower() in NAMES[kind] for dim in ds.dims if dim in ds.coords):
            continue
        found = [
            str(name)
            for name, coordinate in ds.coords.items()
            if coordinate.ndim == 1
            and coordinate.dims[0] not in ds.coords
            and str(coordinate.dims[0]).lower() not in NAMES["sample"]
            and str(name).lower() in NAMES[kind]
        ]
        if len(found) == 1:
            ds = ds.swap_dims({ds[found[0]].dims[0]: found[0]})
    return ds


def unknown(name: str, entry: Entry, known: list[str]) -> ConfigError:
    """What to raise where a pipeline asks for a variable that is not there."""
    return ConfigError(
        f"data.variables: {entry.name} has no {name!r}{did_you_mean(name, known)}; "
        f"there are {', '.join(known)}"
    )


def narrowed(ds: xr.Dataset, entry: Entry, variables: tuple[str, ...]) -> xr.Dataset:
    """Without variables that are not asked for, and without the dims that they alone have.

    What is one number, or one for each item of a dim, stays: parameters, classes, axes. So does
    everything where names are those of components, which are told apart later.

    Raises:
        ConfigError: For one of `variables` that is not there.
    """
    wanted = [name for name in variables or entry.variables if name in ds.variables]
    components = any(str(dim).lower() in COMPONENTS for dim in ds.dims)
    for name in variables:
        known = list(entry.variables) or [str(n) for n, v in ds.data_vars.items() if v.ndim > 1]
        if name not in known and name not in wanted and not components:
            raise unknown(name, entry, known)
    if not wanted or (components and len(wanted) < len(variables or entry.variables)):
        return ds
    dims = {dim for name in wanted for dim in ds[name].dims}
    flat = {curvilinear(ds), curvilinear(ds, "longitude")}
    keep = [
        str(name)
        for name, variable in ds.data_vars.items()
        if name in wanted or name in flat or (variable.ndim < 2 and dims >= set(variable.dims))
    ]
    return ds[[*keep, *(name for name in wanted if name not in ds.data_vars)]]


def renamed(raw: xr.Dataset, entry: Entry, report: Report) -> xr.Dataset:
    """The data set under the entry's names.

    Raises:
        DataError: For a name that the file does not have.
    """
    have = [str(name) for name in (*raw.variables, *raw.dims)]
    wanted = {}
    for old, new in entry.rename.items():
        if old in have:
            wanted[old] = new
        else:
            report.add(
                "rename-missing",
                f"`rename: {old}`: the data has no such name{did_you_mean(old, have)}",
                f"it has {', '.join(dict.fromkeys(have))}; correct {entry.yaml}",
                variable=old,
            )
    try:
        return under(raw, wanted)
    except ValueError as error:
        report.stop("rename", str(error), f"correct `rename:` in {entry.yaml}")


def under(raw: xr.Dataset, names: dict[str, str]) -> xr.Dataset:
    """The data set under new names; a variable that takes its dim's name is its coordinate."""
    with warnings.catch_warnings():
        # xarray makes no index of such a variable, and warns; the next line does.
        warnings.filterwarnings("ignore", message="rename .* does not create an index")
        ds = raw.rename(names)
    loose = [n for n in names.values() if n in ds.dims and n in ds and n not in ds.indexes]
    return ds.assign_coords(
        {n: (n, ds[n].values, ds[n].attrs) for n in loose if ds[n].dims == (n,)}
    )


def settle(ds: xr.Dataset, kinds: dict[str, str | None]) -> xr.Dataset:
    """Every axis found, under its canonical name; what else had that name gives way."""
    wanted = {found: kind for kind, found in kinds.items() if found and found != kind}
    in_the_way = [kind for kind in wanted.values() if kind in ds.variables or kind in ds.dims]
    ds = ds.drop_vars([name for name in in_the_way if name in ds.variables])
    return ds.rename(wanted)


def squeeze_foreign(
    ds: xr.Dataset, names: list[str], dims: tuple[str, ...], report: Report
) -> xr.Dataset:
    """Without dims of length 1 that the domain has no meaning for.

    Raises:
        DataError: For such a dim that is longer.
    """
    used = {str(dim) for name in names for dim in ds[name].dims}
    for dim in sorted(used - set(dims)):
        if ds.sizes[dim] > 1:
            report.stop(
                "dims",
                f"dim {dim} of length {ds.sizes[dim]} has no meaning here: "
                f"expected {', '.join(dims)}",
                "select one of it in the file, or give it one of these names under `rename:`",
                coordinate=dim,
            )
        ds = ds.isel({dim: 0}, drop=True)
    return ds

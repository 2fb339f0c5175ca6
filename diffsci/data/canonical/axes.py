"""Axes: which coordinate is latitude, time or level, by CF attributes, then by common names.

Names are compared without case. What two coordinates claim is refused, never guessed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import numpy as np
import xarray as xr

from diffsci.data.canonical import times as stamps
from diffsci.data.canonical import vectors
from diffsci.data.canonical.names import NAMES, PLACE_UNITS
from diffsci.data.canonical.places import curvilinear
from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report
from diffsci.errors import ConfigError
from diffsci.families import did_you_mean

COMPONENTS = ("field", "channel")
"""Dims whose items are variables of their own."""

_NUMBERED = re.compile(r"(.*_)?(dim|axis)_?\d+", re.IGNORECASE)
_STANDARD = {
    "latitude": "latitude",
    "longitude": "longitude",
    "time": "time",
    "level": "air_pressure",
}
_AXIS = {"time": "T", "level": "Z"}
_VERTICAL = re.compile(
    "height|altitude|depth|model_level_number|(atmosphere|ocean)_.*coordinate(_g[12])?"
)
"""CF standard names of other vertical axes than pressure, those without a dimension among them."""


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
        lambda n: attributes[n].get("units") in PLACE_UNITS.get(kind, ()),
        lambda n: n == kind,
        lambda n: attributes[n].get("axis") == _AXIS.get(kind, "-").lower(),
        lambda n: n.lower() in NAMES[kind],
        lambda n: kind == "time" and _counts_time(ds, n),
        lambda n: kind == "level" and n in dims and _is_vertical(attributes[n]),
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


def _is_vertical(attributes: dict[str, str]) -> bool:
    """Whether an axis of any name counts levels, as CF has it."""
    parametric = _VERTICAL.fullmatch(attributes.get("standard_name", "")) is not None
    return parametric or bool({"positive", "formula_terms"} & attributes.keys())


def _counts_time(ds: xr.Dataset, name: str) -> bool:
    """Whether a dim's coordinate has dates, or counts time since one."""
    if name not in ds.dims or name not in ds.coords:
        return False
    since = " since " in str(ds[name].attrs.get("units", ""))
    return since or stamps.is_dates(ds[name].values[:1])


def promoted(ds: xr.Dataset) -> xr.Dataset:
    """With a coordinate such as `time(record)` as a dim, where `record` has no coordinate itself.

    So are arrays that a file has among its fields, such as `t(dim_1)`, by the usual names alone.
    What lies along samples is a property of each, not an axis.
    """
    ds = ds.set_coords([str(n) for n, v in ds.data_vars.items() if _lies_along(ds, str(n), v)])
    for kind in ("latitude", "longitude", "time", "level", "z", "y", "x"):
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
        first = ds[found[0]] if found else None
        # A file may have its times twice, as texts and as numbers.
        if first is not None and all(np.array_equal(ds[n].values, first.values) for n in found):
            ds = ds.swap_dims({first.dims[0]: found[0]})
    return ds


def _lies_along(ds: xr.Dataset, name: str, variable: xr.DataArray) -> bool:
    """Whether a variable is the coordinate of its dim, which has none, as its name says."""
    names = {"x", "y", "z"}.union(*(NAMES[kind] for kind in ("time", "latitude", "longitude")))
    fits = variable.ndim == 1 and variable.dtype.kind in "fiuM" and name.lower() in names
    if not fits or variable.dims[0] in ds.coords:
        return False
    return str(variable.dims[0]).lower() not in NAMES["sample"]


def require_known(ds: xr.Dataset, space: list[str], entry: Entry, report: Report) -> None:
    """Refuse dims whose names say nothing, such as `dim_0`: which is time, or counts samples?

    Raises:
        DataError: With the fields that have them.
    """
    odd = [dim for dim in space if _NUMBERED.fullmatch(dim)]
    if odd:
        fields = [
            f"{name}({', '.join(f'{dim} {ds.sizes[dim]}' for dim in v.dims)})"
            for name, v in ds.variables.items()
            if v.ndim
        ]
        names = [name for name in ("sample", "time", "y", "x") if name not in ds.dims]
        likely = dict(zip(odd, names[-len(odd) :], strict=False))
        told = ", ".join(f"{old}: {new}" for old, new in likely.items())
        report.stop(
            "dims",
            f"{', '.join(odd)} do not say what they count: the data has {', '.join(fields)}",
            f"write `rename: {{{told}}}`, or which of sample, time, z, y, x it is, in {entry.yaml}",
            coordinate=odd[0],
        )


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
        return ds.drop_vars(_bounds(ds))
    dims = {dim for name in wanted for dim in ds[name].dims}
    flat = {curvilinear(ds, kind, tuple(wanted)) for kind in ("latitude", "longitude")}
    keep = [
        str(name)
        for name, variable in ds.data_vars.items()
        if name in wanted or name in flat or (variable.ndim < 2 and dims >= set(variable.dims))
    ]
    return ds[[*keep, *(name for name in wanted if name not in ds.data_vars)]]


def _bounds(ds: xr.Dataset) -> list[str]:
    """Variables that say where the cells of others end: no fields."""
    told = [
        variable.attrs.get(key) or variable.encoding.get(key)
        for variable in ds.variables.values()
        for key in ("bounds", "climatology")
    ]
    return [str(name) for name in dict.fromkeys(told) if name in ds.data_vars]


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
        made = under(raw, wanted)
    except ValueError as error:
        report.stop("rename", str(error), f"correct `rename:` in {entry.yaml}")
    return vectors.flattened(made, report)


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
            fix = (
                "name the variables to take, such as those without it, by `variables:`; select one "
                "of it in the file; or give it one of these names under `rename:`"
            )
            if dim == "expver":  # Final and preliminary data of a reanalysis, each with gaps.
                fix = (
                    "fill the gaps of one by the other and save the file anew, such as by "
                    "`ds.sel(expver=1).combine_first(ds.sel(expver=5))`"
                )
            report.stop(
                "dims",
                f"dim {dim} of length {ds.sizes[dim]} has no meaning here: "
                f"expected {', '.join(dims)}",
                fix,
                coordinate=dim,
            )
        ds = ds.isel({dim: 0}, drop=True)
    return ds

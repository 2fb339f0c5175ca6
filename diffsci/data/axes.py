"""Axes: which coordinate is latitude, time or level, by CF attributes, then by common names.

Names are compared without case. What two coordinates claim is refused, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import xarray as xr

from diffsci.data.catalog import Entry
from diffsci.data.problems import Report
from diffsci.families import did_you_mean

NAMES = {
    "latitude": ("latitude", "lat", "nav_lat", "lats", "ylat"),
    "longitude": ("longitude", "lon", "long", "nav_lon", "lons", "xlon"),
    "time": ("time", "valid_time", "t", "date", "datetime", "times", "time_counter"),
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


def curvilinear(ds: xr.Dataset) -> str | None:
    """A latitude that depends on two dims, where there is one."""
    for name, variable in ds.variables.items():
        standard = str(variable.attrs.get("standard_name", "")).lower()
        if variable.ndim == 2 and (
            standard == "latitude" or str(name).lower() in NAMES["latitude"]
        ):
            return str(name)
    return None


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
        return raw.rename(wanted)
    except ValueError as error:
        report.stop("rename", str(error), f"correct `rename:` in {entry.yaml}")


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


def boundaries(raw: xr.Dataset, entry: Entry) -> dict[str, object]:
    """Boundary per space dim: from the entry, else from the file's attribute `boundary`."""
    told = raw.attrs.get("boundary", {})
    if isinstance(told, str):
        try:
            told = json.loads(told)
        except json.JSONDecodeError:
            told = {"*": told}
    found = {str(dim): sides for dim, sides in told.items()} if isinstance(told, dict) else {}
    found |= {
        key.removeprefix("boundary_"): value
        for key, value in raw.attrs.items()
        if str(key).startswith("boundary_")
    }
    return found | dict(entry.boundary)

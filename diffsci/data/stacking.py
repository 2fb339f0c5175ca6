"""Stacking: labelled variables become one float32 array with a channel axis, and come apart again.

Nothing enters that is not a finite number: a NaN, an infinity or a leftover fill value is told with
its variable, its place, and how many there are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float32

from diffsci.data import times as stamps
from diffsci.data.axes import unknown
from diffsci.data.catalog import Entry
from diffsci.data.fields import LEVEL, Channel
from diffsci.data.problems import Report
from diffsci.data.units import conversion, spelling
from diffsci.families import did_you_mean

log = logging.getLogger(__name__)

_FILLS = {float(np.float32(v)) for v in (-9999, -999, -99999, -32768, -32767, -999.9)}
_KEPT = ("long_name", "standard_name", "cell_methods")


def choose(
    ds: xr.Dataset,
    entry: Entry,
    dims: Sequence[str],
    report: Report,
    variables: tuple[str, ...] = (),
) -> list[str]:
    """The variables to take.

    Args:
        ds: Under its canonical names.
        entry: What it names, else every numeric one that has all of `dims`, may be taken.
        dims: What a field needs.
        report: Where faults are told.
        variables: Take only these of them; empty takes all.

    Raises:
        ConfigError: For one of `variables` that is not there.
        DataError: For a named one that is missing, is no number, or lacks a dim; or when none fits.
    """
    fit = [
        str(name)
        for name, variable in ds.data_vars.items()
        if set(dims) <= set(variable.dims) and variable.dtype.kind in "fiu"
    ]
    known = list(entry.variables) or fit
    for name in variables:
        if name not in known and (entry.variables or name not in ds.variables):
            raise unknown(name, entry, known)
    if not entry.variables and not variables:
        if not fit:
            report.stop(
                "no-variables",
                f"no numeric variable has the dims {', '.join(dims)}",
                f"the data has {_listing(ds)}; map its dims under `rename:` in {entry.yaml}",
            )
        return fit
    wanted = variables or tuple(entry.variables)
    chosen = [name for name in wanted if _usable(ds, name, entry, dims, report)]
    if not chosen:
        report.stop(
            "no-variables",
            "none of its variables can be used",
            f"correct `variables:` in {entry.yaml}",
        )
    return chosen


def _usable(ds: xr.Dataset, name: str, entry: Entry, dims: Sequence[str], report: Report) -> bool:
    """Whether a variable that the entry names is there, numeric, and has all dims; else why not."""
    if name not in ds.variables:
        near = did_you_mean(name, [str(n) for n in ds.variables])
        report.add(
            "variable-missing",
            f"the data has no such variable{near}",
            f"it has {_listing(ds)}; correct `variables:` or `rename:` in {entry.yaml}",
            variable=name,
        )
    elif ds[name].dtype.kind not in "fiub":
        report.add(
            "not-numeric",
            f"its type is {ds[name].dtype}, expected numbers",
            f"leave it out of `variables:` in {entry.yaml}",
            variable=name,
        )
    elif set(dims) <= set(ds[name].dims):
        return True
    elif set(ds[name].dims) != {"sample"}:  # A number for each sample is a parameter or a class.
        report.add(
            "dims",
            f"its dims are {', '.join(map(str, ds[name].dims)) or 'none'}, "
            f"expected {', '.join(dims)}",
            f"map them under `rename:` in {entry.yaml}, or leave it out of `variables:`",
            variable=name,
        )
    return False


def _listing(ds: xr.Dataset) -> str:
    return (
        ", ".join(f"{n}({', '.join(map(str, v.dims))})" for n, v in ds.data_vars.items()) or "none"
    )


def in_units(
    variable: xr.DataArray, name: str, entry: Entry, report: Report, default: str | None = None
) -> xr.DataArray:
    """The variable with its attributes, to be in the entry's units by the table alone.

    How to convert is kept as the attribute `conversion` until `gather` has the values in memory:
    only what is selected is then read.

    Args:
        variable: As found.
        name: Its name here.
        entry: What says the wanted units.
        report: Where faults are told.
        default: Units where neither file nor entry has any; none makes that a fault.
    """
    found = variable.attrs.get("units")
    declared = entry.variables.get(name)
    wanted = declared.units if declared else None
    attributes: dict[str, Any] = {k: str(variable.attrs[k]) for k in _KEPT if k in variable.attrs}
    for key in _KEPT:
        if declared and getattr(declared, key):
            attributes[key] = getattr(declared, key)
    if declared and declared.vector is not None:
        attributes["vector"] = "true" if declared.vector else "false"
    elif variable.attrs.get("vector") in ("true", "false"):
        attributes["vector"] = variable.attrs["vector"]
    if found is None and wanted is None and default is None:
        report.add(
            "units-missing",
            "neither the data nor the entry says its units",
            f"write `variables: {{{name}: {{units: UNIT}}}}` in {entry.yaml}",
            variable=name,
        )
    unit = str(wanted if wanted is not None else found if found is not None else default or "")
    if found is None and wanted is not None and spelling(wanted) != "1":
        log.info("%s: variable %s has no units, taken as %s", entry.location, name, wanted)
    if found is not None and wanted is not None:
        factors = conversion(str(found), wanted)
        if factors is None:
            report.add(
                "units",
                f"the data is in {found!r}, the entry wants {wanted!r}, "
                "and no exact conversion is known",
                f"write `units: {found}` in {entry.yaml}, or convert the file",
                variable=name,
            )
        elif factors != (1.0, 0.0):
            attributes["conversion"] = factors
    variable.attrs = {"units": spelling(unit) if wanted is None else unit, **attributes}
    return variable


def gather(
    ds: xr.Dataset, lead_dims: tuple[str, str], stack: str, space: tuple[str, ...], report: Report
) -> tuple[Float32[np.ndarray, "trajectory time channel *space"], tuple[Channel, ...]]:
    """All data variables over the space dims as one array, with what each channel is.

    Args:
        ds: Canonical; a missing lead dim counts as one of length 1.
        lead_dims: Trajectory and time dim.
        stack: Dim whose items become channels of their own, such as `level`.
        space: Space dims in array order.
        report: Where faults are told.
    """
    blocks, channels = [], []
    for name in [n for n, v in ds.data_vars.items() if set(space) <= set(v.dims)]:
        variable = ds[name]
        variable = variable.expand_dims([dim for dim in lead_dims if dim not in variable.dims])
        levels: list[float | None] = [None]
        if stack in variable.dims:
            levels = [float(v) for v in np.asarray(ds[stack].values, dtype=np.float64)]
        else:
            variable = variable.expand_dims(stack)
        variable = variable.transpose(*lead_dims, stack, *space)
        values = np.asarray(variable.values)
        if "conversion" in variable.attrs:
            scale, offset = variable.attrs["conversion"]
            values = values.astype(np.float64) * scale + offset
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        _check_values(values, variable, str(name), report)
        blocks.append(values)
        kept = (*_KEPT, "vector")
        attributes = tuple((k, str(variable.attrs[k])) for k in kept if k in variable.attrs)
        if levels != [None]:
            attributes += tuple((LEVEL + k, str(v)) for k, v in ds[stack].attrs.items())
        channels += [
            Channel(
                variable=str(name),
                unit=str(variable.attrs.get("units", "1")),
                level=level,
                attributes=attributes,
            )
            for level in levels
        ]
    shape = np.broadcast_shapes(*(block.shape[:2] for block in blocks))
    full = [np.broadcast_to(b, (*shape, *b.shape[2:])) for b in blocks]
    values = full[0] if len(full) == 1 else np.concatenate(full, axis=2)
    return np.ascontiguousarray(values), tuple(channels)


def _check_values(values: np.ndarray, variable: xr.DataArray, name: str, report: Report) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        report.add(
            "nan",
            f"{int(bad.sum())} of {bad.size} values are NaN or infinite, the first at "
            f"{place(variable, np.argwhere(bad)[0])}",
            "fill or cut them out of the file: masks are not supported yet",
            variable=name,
        )
        return
    for extreme in (values.min(), values.max()):
        hits = values == extreme
        if _is_fill(float(extreme), values[~hits]):
            report.add(
                "sentinel",
                f"{int(hits.sum())} of {hits.size} values are {extreme:g}, which looks like a "
                f"fill value, the first at {place(variable, np.argwhere(hits)[0])}",
                "declare it as `_FillValue` in the file and fill the gaps",
                variable=name,
            )
            return


def _is_fill(extreme: float, rest: np.ndarray) -> bool:
    """Whether an extreme value is none of the data: it must stand far apart from all others.

    A usual fill value does so by more than half the range of the others; any huge number by a
    factor of 1e4, since data may be huge throughout.
    """
    if not rest.size:
        return False
    low, high = float(rest.min()), float(rest.max())
    if extreme in _FILLS:
        return low - extreme > 0.5 * (high - low)
    return abs(extreme) >= 1e15 and abs(extreme) >= 1e4 * max(abs(low), abs(high))


def place(variable: xr.DataArray, index: np.ndarray) -> str:
    """Coordinates of one value in words: `time=2001-06-01T00:00:00, latitude=15`."""
    words = []
    for dim, i in zip(variable.dims, index, strict=True):
        if variable.sizes[dim] == 1 and dim not in variable.coords:
            continue
        stamp = variable[dim].values[i] if dim in variable.coords else int(i)
        number = isinstance(stamp, int | float | np.integer | np.floating)
        date = not number and stamps.is_dates(np.asarray([stamp]))
        words.append(f"{dim}={stamps.name(stamp) if number or date else stamp}")
    return ", ".join(words)


def spread(
    values: Float32[np.ndarray, "case member lead channel *space"],
    channels: tuple[Channel, ...],
    stack: str,
    space: tuple[str, ...],
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
    """The channels as variables: dims `case, member, lead, [stack,] *space`, values, attributes."""
    variables = {}
    for name in dict.fromkeys(channel.variable for channel in channels):
        which = [i for i, channel in enumerate(channels) if channel.variable == name]
        first = channels[which[0]]
        attributes = {"units": first.unit, **first.variable_attributes}
        attributes.setdefault("long_name", name.replace("_", " "))
        dims = ("case", "member", "lead", stack, *space)
        block = values[:, :, :, which]
        if first.level is None:
            dims, block = (*dims[:3], *space), block[:, :, :, 0]
        variables[name] = (dims, block, attributes)
    return variables


def collect(
    ds: xr.Dataset, channels: tuple[Channel, ...], order: tuple[str, str, str], stack: str,
    space: tuple[str, ...],
) -> Float32[np.ndarray, "case member lead channel *space"]:  # fmt: skip
    """The inverse of `spread`, by names; `order` are the case, member and lead dims."""
    blocks = []
    for channel in channels:
        variable = ds[channel.variable]
        if channel.level is not None:
            variable = variable.sel({stack: channel.level})
        variable = variable.expand_dims([dim for dim in order if dim not in variable.dims])
        blocks.append(np.asarray(variable.transpose(*order, *space).values, dtype=np.float32))
    return np.stack(blocks, axis=3)

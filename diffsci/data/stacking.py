"""Stacking: labelled variables become one float32 array with a channel axis, and come apart again.

Nothing enters that is neither a finite number nor a gap by declaration: a NaN, an infinity or a
leftover fill value is told with its variable, its place, and how many there are.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float32

from diffsci.data.canonical.units import conversion, spelling
from diffsci.data.catalog import MISSING, Entry
from diffsci.data.checks.problems import Report
from diffsci.data.checks.scanning import Scan
from diffsci.data.entry import TRANSFORMS
from diffsci.data.fields import LEVEL, Channel
from diffsci.data.ranges import WITHIN

log = logging.getLogger(__name__)

_KEPT = ("long_name", "standard_name", "cell_methods")

INNER = ("fill", "conversion", WITHIN)
"""Attributes on the way from a file to its values in their units; no store has them."""


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
    if attributes.get("standard_name") == "unknown":  # So GRIB readers write that there is none.
        del attributes["standard_name"]
    for key in _KEPT:
        if declared and getattr(declared, key):
            attributes[key] = getattr(declared, key)
    for key, bound in (("valid_min", "minimum"), ("valid_max", "maximum")):
        if declared and getattr(declared, bound) is not None:
            attributes[key] = str(getattr(declared, bound))
    if declared and declared.vector is not None:
        attributes["vector"] = "true" if declared.vector else "false"
    elif variable.attrs.get("vector") in ("true", "false"):
        attributes["vector"] = variable.attrs["vector"]
    missing = declared.missing if declared else MISSING[0]
    if missing == MISSING[0] and variable.attrs.get("missing") in MISSING:
        missing = variable.attrs["missing"]
    if missing != MISSING[0]:
        attributes["missing"] = missing
    transform = declared.transform if declared else None
    if transform or variable.attrs.get("transform") in TRANSFORMS:
        attributes["transform"] = transform or variable.attrs["transform"]
    if declared and declared.fill is not None:
        attributes["fill"] = declared.fill
    if WITHIN in variable.attrs:
        attributes[WITHIN] = variable.attrs[WITHIN]
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


def physical(values: np.ndarray, attributes: dict[Any, Any]) -> np.ndarray:
    """Values as found, in the units they shall have, with NaN for a fill value of the entry.

    Args:
        values: As the file has them.
        attributes: As `in_units` has left them.
    """
    if "fill" in attributes:
        gaps = values == attributes["fill"]
        values = np.where(gaps, np.nan, values.astype(np.result_type(values, np.float32)))
    if "conversion" in attributes:
        scale, offset = attributes["conversion"]
        values = values.astype(np.float64) * scale + offset
    return values


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
        with np.errstate(over="ignore"):
            values = physical(np.asarray(variable.values), variable.attrs).astype(np.float32)
        scan = Scan.of(str(name), variable.attrs)
        scan.add(values, variable)
        scan.tell(report)
        blocks.append(values)
        if variable.attrs.get("transform") == "log1p" and scan.low <= -1:
            report.add(
                "transform",
                f"values down to {scan.low:g}, and `transform: log1p` takes those above -1 alone",
                "take `transform:` out of the entry, or correct the file",
                variable=str(name),
            )
        kept = (*_KEPT, "vector", "missing", "transform", "valid_min", "valid_max")
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
    # A view where there is one channel: blocks of large stores are read so.
    return np.expand_dims(blocks[0], 3) if len(blocks) == 1 else np.stack(blocks, axis=3)

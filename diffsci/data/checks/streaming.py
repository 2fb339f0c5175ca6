"""Streaming: a data set is looked at block by block, so that it may be larger than memory.

What belongs to axes, times and parameters is found in a hollow copy, whose fields have two cells
along each space dim; the values are scanned a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from diffsci.data import stacking
from diffsci.data.checks.problems import Report
from diffsci.data.checks.scanning import Scan
from diffsci.data.domains.base import Domain

IN_MEMORY = 256 * 2**20
"""Bytes, as float32, up to which a data set is read whole."""

_BLOCK = 64 * 2**20
_LEADS = ("sample", "time")


def size(canonical: xr.Dataset) -> int:
    """Bytes of all fields as float32."""
    return sum(4 * canonical[name].size for name in names(canonical))


def names(canonical: xr.Dataset) -> list[str]:
    """The fields of a canonical data set, without its parameters and classes."""
    return [str(n) for n, v in canonical.data_vars.items() if set(v.dims) - {"sample", "time"}]


def blocks(variable: xr.DataArray, most: int = _BLOCK) -> Iterator[xr.DataArray]:
    """Parts of a variable along samples and times, none much larger than `most` bytes."""
    leads = [dim for dim in _LEADS if dim in variable.dims]
    if not leads or 4 * variable.size <= most:
        yield variable
        return
    dim = max(leads, key=lambda d: variable.sizes[d])
    one = 4 * variable.size // variable.sizes[dim]
    step = max(1, most // one)
    for start in range(0, variable.sizes[dim], step):
        part = variable.isel({dim: slice(start, start + step)})
        yield from blocks(part, most) if step == 1 and 4 * part.size > most else (part,)


def scanned(canonical: xr.Dataset, domain: Domain, source: str, report: Report) -> list[Scan]:
    """What is known of each field after all its values were seen once, in blocks.

    Args:
        canonical: What `Domain.canonical` gave, or a selection of it.
        domain: Its domain.
        source: For messages.
        report: Where faults are told.
    """
    domain.fields(hollow(canonical), source, report)
    found = []
    for name in names(canonical):
        variable = canonical[name]
        scan = Scan.of(name, variable.attrs)
        for block in blocks(variable):
            lead = [dim for dim in _LEADS if dim not in block.dims]
            part = block.expand_dims(lead).transpose(*_LEADS, ...)
            with np.errstate(over="ignore"):
                values = stacking.physical(np.asarray(part.values), variable.attrs)
                scan.add(values.astype(np.float32), part)
        scan.tell(report)
        found.append(scan)
    return found


def hollow(canonical: xr.Dataset) -> xr.Dataset:
    """The same axes with next to no values."""
    space = {d for name in names(canonical) for d in canonical[name].dims} - set(_LEADS)
    few = canonical.isel({dim: slice(0, 2) for dim in space})
    zeros = {
        name: (few[name].dims, np.zeros(few[name].shape, dtype=np.float32), {"units": "1"})
        for name in names(canonical)
    }
    made = few.drop_vars(list(zeros)).assign(zeros)
    made.attrs = dict(canonical.attrs)
    return made

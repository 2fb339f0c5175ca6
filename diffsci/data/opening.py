"""Opening data from Python: any source as one canonical, labelled data set, read when used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci import families
from diffsci.data import lazy, reader, stacking
from diffsci.data.catalog import Entry, Source, load_entry
from diffsci.data.checks import preflight
from diffsci.data.domains.base import Domain
from diffsci.errors import DiffsciError


def open_data(
    data: str | Path | xr.Dataset | Entry,
    domain: str | Domain | None = None,
    variables: tuple[str, ...] = (),
    roots: tuple[Path, ...] = (),
) -> xr.Dataset:
    """The data set in its domain's canonical form: dims, coordinates and units, lazily.

    Written to a file and opened again it gives the same tensors.

    Args:
        data: Name of a catalog entry, its YAML file, a path or address of data, or arrays.
        domain: Its word, or the object; none takes what the entry or the dims say.
        variables: Take only these; empty takes all.
        roots: Folders that may hold a `data_catalog`, beside the working directory's.

    Raises:
        ConfigError: For an unknown entry, domain or variable.
        DataError: For data that is missing or cannot be mapped exactly, with the fix.
    """
    entry = entry_of(data, (*roots, Path.cwd()))
    raw = reader.open_raw(entry)
    try:
        made = families.load("domains", domain)() if isinstance(domain, str) else domain
        chosen: Domain = made or preflight.infer_domain(raw, entry)
        canonical = chosen.canonical(raw, entry, None, tuple(variables))
    except DiffsciError:
        raw.close()
        raise
    opened = told(canonical)
    opened.set_close(raw.close)
    return opened


def entry_of(data: str | Path | xr.Dataset | Entry, roots: tuple[Path, ...]) -> Entry:
    """The catalog entry of whatever a user may hand over; see `open_data`."""
    if isinstance(data, Entry):
        return data
    if isinstance(data, xr.Dataset):
        return Entry(name="arrays", source=Source(data=data))
    return load_entry(str(data), roots)


def told(canonical: xr.Dataset) -> xr.Dataset:
    """The canonical data set as a file may hold it: values in their units, plain attributes."""
    ds = canonical.copy()
    for name in ds.data_vars:
        ds[name] = _converted(ds[name])
    found: dict[str, Any] = dict(canonical.attrs)
    ds.attrs = {"Conventions": "CF-1.11"}
    if found.get("boundary"):
        ds.attrs["boundary"] = json.dumps({k: list(v) for k, v in found["boundary"].items()})
    if "time_unit" in found and "time" in ds.coords:
        ds["time"].attrs["units"] = found["time_unit"]
    return ds


def _converted(variable: xr.DataArray) -> xr.DataArray:
    """The variable in its units: what `stacking.gather` does in memory, done when it is read."""
    told = dict(variable.attrs)
    kept = {k: v for k, v in told.items() if k not in stacking.INNER}
    if len(kept) == len(told):
        return variable
    kind = np.float64 if variable.dtype.kind != "f" else variable.dtype
    made = lazy.derived(variable.variable, lambda v: stacking.physical(v, told), kind)
    return xr.DataArray(made, variable.coords, name=variable.name, attrs=kept)

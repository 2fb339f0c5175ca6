"""Holding: one part of a data set, in memory where it fits, else on disk, read where it is used.

What is on disk gives the numbers that memory gives: the same values in the same order, from a
prepared store, from any Zarr store in canonical form, or from labelled arrays of any other source.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from diffsci.data import reader, recognising, remote, stacking
from diffsci.data.catalog import Entry, load_entry
from diffsci.data.checks import streaming
from diffsci.data.checks.problems import Report
from diffsci.data.domains.base import Domain
from diffsci.data.fields import Channel, Fields
from diffsci.data.prepared import states
from diffsci.data.prepared.blocks import LEADS
from diffsci.data.prepared.labelled import Labelled
from diffsci.data.prepared.numbered import States
from diffsci.data.prepared.stored import Piece, Stored
from diffsci.errors import DiffsciError

if TYPE_CHECKING:
    from diffsci.sections import Part

log = logging.getLogger(__name__)


def held(
    name_or_path: str | Entry,
    domain: Domain,
    part: Part,
    roots: tuple[Path, ...] = (),
    variables: tuple[str, ...] = (),
    memory: int | None = None,
) -> Fields:
    """One part of a data set, as `reader.read` gives it, but for where its values are.

    Args:
        name_or_path: Catalog entry or path of data; `part.entry` goes before it.
        domain: What axes, units and geometry mean.
        part: Which times and samples.
        roots: Folders that may hold a `data_catalog`.
        variables: Take only these; empty takes all of the entry.
        memory: Bytes that the values may take; none has no bound.

    Raises:
        ConfigError: For an unknown entry.
        DataError: For data that is missing, malformed, or empty after the selection.
    """
    entry = load_entry(part.entry or name_or_path, roots)
    raw = reader.open_raw(entry)
    try:
        canonical = domain.canonical(raw, entry, None, variables)
        chosen = reader.select(canonical, part, entry)
        first = _first(canonical, chosen)
        size = streaming.size(chosen)
        if memory is None or size <= memory or entry.source.data is not None:
            fields = domain.fields(chosen, entry.name, Report(entry.location))
        else:
            fields = _on_disk(raw, canonical, chosen, entry, domain, variables)
        measured = _measured(raw, canonical, chosen, first, fields.channels)
    except DiffsciError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise reader.cut_off(entry, error) from error
    finally:
        raw.close()
    return replace(reader.identified(fields), measured=measured)


def _first(canonical: xr.Dataset, chosen: xr.Dataset) -> dict[str, int]:
    """Number of the first sample and time of a selection; both are ranges without holes."""
    return {
        dim: list(canonical[dim].values).index(chosen[dim].values[0]) if dim in chosen.dims else 0
        for dim in LEADS
    }


def _on_disk(
    raw: xr.Dataset,
    canonical: xr.Dataset,
    chosen: xr.Dataset,
    entry: Entry,
    domain: Domain,
    variables: tuple[str, ...],
) -> Fields:
    """The fields with values that stay on disk, each of them seen once where no preparation did."""
    ours = "prepared_from" in raw.attrs
    if ours:
        labels = domain.fields(streaming.hollow(chosen), entry.name, Report(entry.location))
    else:
        streaming.scanned(chosen, domain, entry.location, Report(entry.location))
        labels = domain.fields(streaming.hollow(chosen), entry.name, Report(entry.location, []))
    few = chosen.isel({dim: slice(0, 1) for dim in LEADS if dim in chosen.dims})
    like = domain.fields(few, entry.name, Report(entry.location, []))
    first = _first(canonical, chosen)
    store = _straight(raw, canonical, entry)
    pieces, readers = [], set()
    for name in dict.fromkeys(channel.variable for channel in like.channels):
        variable = canonical[name]
        made = _reader(store, canonical, name, entry, domain, variables)
        readers.add(type(made).__name__.lower())
        rest = [str(dim) for dim in variable.dims if dim not in LEADS]
        stacked = [dim for dim in rest if dim not in like.grid.dims]
        pieces.append(
            Piece(
                name=name,
                reader=made,
                numbered=("sample" in variable.dims, "time" in variable.dims),
                first=(first["sample"], first["time"]),
                order=tuple(rest.index(dim) for dim in (*stacked, *like.grid.dims)),
                missing=str(variable.attrs.get("missing", "forbidden")),
                attributes={k: v for k, v in variable.attrs.items() if k in stacking.INNER},
            )
        )
    advice = "" if ours else "; a store made by `diffsci prepare` would be read faster"
    log.info(
        "data: %s: %s stay on disk, more than memory allows; read by %s%s",
        entry.name,
        mebibytes(streaming.size(chosen)),
        ", ".join(sorted(readers)),
        advice,
    )
    values = Stored(
        pieces=tuple(pieces),
        shape=(len(labels.trajectories), len(labels.times), *like.values.shape[2:]),
        trajectories=labels.trajectories,
        times=labels.times,
        source=entry.location,
    )
    return replace(labels, values=values, channels=like.channels, grid=like.grid)


def mebibytes(size: int) -> str:
    """A size in words."""
    return f"{size / 2**20:,.0f} MiB"


def _reader(
    store: Path | None,
    canonical: xr.Dataset,
    name: str,
    entry: Entry,
    domain: Domain,
    variables: tuple[str, ...],
) -> States:
    if store is not None:
        return states.best(store, (name,), memory=0)
    variable = canonical[name]
    return Labelled(
        store=Path(entry.location),
        variables=(name,),
        leads=sum(dim in LEADS for dim in variable.dims),
        shape=variable.shape,
        entry=entry,
        domain=domain,
        chosen=variables,
    )


def _straight(raw: xr.Dataset, canonical: xr.Dataset, entry: Entry) -> Path | None:
    """The local Zarr store whose arrays are those of the canonical data set; none where it differs.

    So it is where names, dims, coordinates and numbers are the same, without packing.
    """
    if entry.source.path is None or remote.is_remote(entry) or entry.engine not in (None, "zarr"):
        return None
    path = Path(entry.source.path)
    if entry.open_kwargs or not (path.is_dir() and recognising.is_zarr(path)):
        return None
    for name in streaming.names(canonical):
        variable = canonical[name]
        if name not in raw.data_vars or raw[name].dims != variable.dims:
            return None
        told = raw[name].encoding
        plain = told.get("dtype") == np.float32 and raw[name].dtype == np.float32
        fill = told.get("_FillValue", np.nan)
        if not plain or {"scale_factor", "add_offset"} & told.keys() or not np.isnan(fill):
            return None
        for dim in variable.dims:
            if dim in raw.coords and not np.array_equal(raw[dim].values, canonical[dim].values):
                return None
    return path


def _measured(
    raw: xr.Dataset,
    canonical: xr.Dataset,
    chosen: xr.Dataset,
    first: dict[str, int],
    channels: tuple[Channel, ...],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation of each channel, where a preparation took those of this part."""
    rows: dict[str, Any] = {
        dim: [first[dim], first[dim] + chosen.sizes[dim]] for dim in LEADS if dim in chosen.dims
    }
    if raw.attrs.get("statistics_rows") != rows:
        return None
    found = []
    for name in dict.fromkeys(channel.variable for channel in channels):
        own = set(stacking.INNER) & canonical[name].attrs.keys()
        told = raw.attrs["statistics"].get(name, {}).get("channels", [])
        if own or len(told) != sum(channel.variable == name for channel in channels):
            return None
        found += [(each["mean"], each["std"]) for each in told]
    if any(mean is None for mean, _ in found):
        return None
    mean, std = np.array(found, dtype=np.float64).T
    log.info("data: means and standard deviations are those that `diffsci prepare` took")
    return mean, std

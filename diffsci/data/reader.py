"""The reader: from a catalog entry to `Fields` in memory, with every failure told by file and fix.

Data is opened without dask and read only where it is selected. What a solver makes is kept in a
cache folder under a digest of the solver's code and parameters, written under a temporary name
first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from diffsci.data import files, ranges, remote
from diffsci.data.canonical import times as stamps
from diffsci.data.catalog import Entry, load_entry
from diffsci.data.checks import leaks
from diffsci.data.checks.problems import Report
from diffsci.data.domains.base import Domain
from diffsci.data.fields import Fields
from diffsci.data.prepared.stored import frames
from diffsci.errors import DataError, DiffsciError

if TYPE_CHECKING:
    from diffsci.sections import Part


def open_raw(entry: Entry) -> xr.Dataset:
    """The data set as its files have it: lazy, unpacked, times decoded where the file says how.

    Raises:
        DataError: For a missing package, missing or broken files (all of them named), or files
            that do not fit together.
    """
    if entry.source.data is not None:
        return ranges.masked(
            entry.source.data.copy(), entry
        )  # What is done to the copy leaves the user's as it is.
    if entry.source.generator is not None:
        from diffsci.data import generated  # Solvers need torch, which no worker of `prepare` does.

        return files.open_one(generated.store(entry), replace(entry, engine="zarr", open_kwargs={}))
    if remote.is_remote(entry) and not entry.engine:
        store = remote.open_store(entry)
        if store is not None:
            return files.dated_or_closed(store, entry, Path(entry.location))
    return files.open_all(files.locate(entry), entry)


def read(
    name_or_path: str | Entry,
    domain: Domain,
    part: Part,
    roots: tuple[Path, ...] = (),
    variables: tuple[str, ...] = (),
) -> Fields:
    """One part of a data set in memory.

    Args:
        name_or_path: Catalog entry or path of data; `part.entry` goes before it.
        domain: What axes, units and geometry mean.
        part: Which times and samples.
        roots: Folders that may hold a `data_catalog`.
        variables: Take only these; empty takes all of the entry.

    Raises:
        ConfigError: For an unknown entry.
        DataError: For data that is missing, malformed, or empty after the selection.
    """
    entry = load_entry(part.entry or name_or_path, roots)
    raw = open_raw(entry)
    try:
        fields = understood(raw, entry, domain, part, variables)
    except DiffsciError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise cut_off(entry, error) from error
    finally:
        raw.close()
    return identified(fields)


def cut_off(entry: Entry, error: Exception) -> DataError:
    """What a reader's own error means."""
    return DataError(
        f"{entry.location}: cannot be read to the end ({type(error).__name__}: {error}); "
        "the file may be cut off: fetch it again"
    )


def understood(
    raw: xr.Dataset,
    entry: Entry,
    domain: Domain,
    part: Part,
    variables: tuple[str, ...] = (),
    report: Report | None = None,
) -> Fields:
    """One part of opened data: what a run reads, and what a check looks at.

    Args:
        raw: As the files have it.
        entry: What the catalog says of it.
        domain: What axes, units and geometry mean.
        part: Which times and samples.
        variables: Take only these; empty takes all of the entry.
        report: Where faults are told; none raises on the first and logs warnings.

    Raises:
        ConfigError: For one of `variables` that is not there.
        DataError: For what nothing can be read after; without a report for any fault.
    """
    canonical = domain.canonical(raw, entry, report, variables)
    report = report or Report(entry.location)
    return domain.fields(select(canonical, part, entry), entry.name, report)


def select(canonical: xr.Dataset, part: Part, entry: Entry) -> xr.Dataset:
    """The records of one part, by coordinates.

    Raises:
        DataError: When nothing, or less than was asked for, lies there; with the range that does.
    """
    if part.samples is not None:
        count = canonical.sizes.get("sample", 0)
        if count == 0 or part.samples[1] > count:
            there = (
                f"it has samples 0 to {count - 1}" if count else "it has no samples: select by time"
            )
            raise DataError(
                f"{entry.location}: samples {list(part.samples)} are not all there; {there}"
            )
        canonical = canonical.isel(sample=slice(*part.samples))
    if part.time is not None:
        canonical = _select_time(canonical, part.time, entry)
    if part.share is not None:
        canonical = _select_share(canonical, part.share, entry)
    return canonical


def _select_share(canonical: xr.Dataset, share: tuple[float, float], entry: Entry) -> xr.Dataset:
    """Shares that meet, such as [0, 0.7] and [0.7, 1], share no record and leave none out."""
    dim = "sample" if canonical.sizes.get("sample", 1) > 1 else "time"
    count = canonical.sizes.get(dim, 1)
    first, after = (round(bound * count) for bound in share)
    if first == after:
        kind = "trajectories" if dim == "sample" else "time stamps"
        raise DataError(
            f"{entry.location}: the share {list(share)} of its {count} {kind} is none of them; "
            "make it wider"
        )
    return canonical.isel({dim: slice(first, after)})


def _select_time(
    canonical: xr.Dataset, bounds: tuple[str | float, str | float], entry: Entry
) -> xr.Dataset:
    if "time" not in canonical.dims:
        raise DataError(
            f"{entry.location}: no time axis to select {list(bounds)} on; use `samples`"
        )
    times = canonical["time"].values
    valid = f"it has {stamps.name(times[0])} to {stamps.name(times[-1])}"
    try:
        if stamps.is_dates(times):
            first, last = (_date(bound) for bound in bounds)
            chosen = canonical.sel(time=slice(first, last))
        else:
            low, high = (float(bound) for bound in bounds)
            # A millionth of a step: output times are sums of rounded steps.
            slack = 1e-6 * (float(np.median(np.diff(times))) if len(times) > 1 else 1.0)
            chosen = canonical.isel(time=(times >= low - slack) & (times <= high + slack))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{entry.location}: time {list(bounds)} of a part of data.split is not understood: "
            "dates are written 2000-12-31 or 2000-12-31T06, times of simulations as numbers; "
            f"{valid}"
        ) from error
    if chosen.sizes["time"] == 0:
        raise DataError(
            f"{entry.location}: nothing within time {list(bounds)}; {valid}: give a first and a "
            "last time, in this order, within that range"
        )
    return chosen


def _date(bound: str | float) -> str:
    """A date as text: YAML reads the year 2001 and the day 20010131 as numbers."""
    if isinstance(bound, str):
        return bound
    text = f"{bound:04.0f}" if float(bound).is_integer() else f"{bound:.10g}"
    return "-".join([text[:4], text[4:6], text[6:]]).strip("-") if len(text) in (6, 8) else text


def identified(fields: Fields) -> Fields:
    """With the digest of the whole and a key of each field, in one pass over the values."""
    keys = np.zeros(fields.values.shape[:2], dtype=f"V{leaks.BYTES}")
    made = digest(fields, keys)
    return replace(fields, digest=made, keys=keys)


def digest(fields: Fields, keys: np.ndarray | None = None) -> str:
    """SHA-256 of the values and of the labels that say what they are.

    Args:
        fields: What it is of.
        keys: Is filled with the key of each field, where it is given: `[trajectory, time]`.
    """
    labels = {
        "channels": [(c.name, c.unit) for c in fields.channels],
        "grid": fields.grid.to_dict(),
        "times": [stamps.name(stamp) for stamp in fields.times],
        "time_unit": fields.time_unit,
        "trajectories": [str(label) for label in fields.trajectories],
        "scalar_names": fields.scalar_names,
        "shape": fields.values.shape,
    }
    total = hashlib.sha256(json.dumps(labels, sort_keys=True).encode())
    for trajectory, first, block in frames(fields.values):
        total.update(np.ascontiguousarray(block, dtype="<f4").data)
        if keys is not None:
            for time, state in enumerate(block, start=first):
                keys[trajectory, time] = leaks.key(state)
    if fields.scalars is not None:
        total.update(np.ascontiguousarray(fields.scalars, dtype="<f8").data)
    return total.hexdigest()


def describe(entry: Entry) -> str:
    """An entry and what its data holds, in words."""
    lines = [entry.name if not entry.title else f"{entry.name}: {entry.title}"]
    told = {
        "description": entry.description.strip(),
        "providers": ", ".join(entry.providers),
        "license": entry.license,
        "attribution": entry.attribution,
        "citation": entry.citation,
        "version": entry.version,
        "domain": entry.domain,
        "source": entry.location,
    }
    lines += [f"  {key + ':':<13}{value}" for key, value in told.items() if value]
    if entry.source.generator is not None:
        keys = ", ".join(f"{k}={v}" for k, v in entry.source.generator.items() if k != "use")
        return "\n".join([*lines, f"  {'made with:':<13}{keys}", *_variables(entry)])
    raw = open_raw(entry)
    try:
        sizes = ", ".join(f"{dim} {size}" for dim, size in raw.sizes.items())
        lines.append(f"  {'dims:':<13}{sizes}")
        for name, values in raw.coords.items():
            if values.ndim == 1 and values.size and values.dtype.kind in "fiuMO":
                flat = values.values
                lines.append(f"  {'':<13}{name}: {_word(flat[0])} to {_word(flat[-1])}")
        declared = _variables(entry)
        return "\n".join([*lines, *(declared or _found(raw))])
    finally:
        raw.close()


def _word(value: object) -> str:
    try:
        return stamps.name(value)
    except (TypeError, ValueError):
        return str(value)


def _variables(entry: Entry) -> list[str]:
    return [
        f"  {'variable:':<13}{name} [{v.units or '?'}] {v.long_name or ''}".rstrip()
        for name, v in entry.variables.items()
    ]


def _found(raw: xr.Dataset) -> list[str]:
    return [
        f"  {'variable:':<13}{n}({', '.join(map(str, v.dims))}) [{v.attrs.get('units', '?')}]"
        for n, v in raw.data_vars.items()
    ]


__all__ = ["Report", "describe", "digest", "open_raw", "read", "select", "understood"]

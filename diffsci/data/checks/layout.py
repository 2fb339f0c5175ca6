"""Layout of chunks on disk: how much is read for a single field, and what to do about it."""

from __future__ import annotations

import math

import xarray as xr

from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report

FACTOR = 32.0
"""Times the bytes of a field that reading it may cost before it is told."""

LARGE = 2 * 2**30
"""Bytes of a variable below which the layout does not matter: it is read once, whole."""

_LEADS = ("sample", "time")


def amplification(variable: xr.DataArray | xr.Variable) -> float:
    """Bytes read for one field over the bytes of the field; 1 where chunks are not known.

    A chunk is read whole, however little of it is wanted.
    """
    chunks = variable.encoding.get("preferred_chunks") or {}
    read = wanted = 1.0
    for dim, size in variable.sizes.items():
        chunk = min(int(_first(chunks.get(dim, 1 if _is_lead(dim) else size))), size) or 1
        read *= chunk if _is_lead(dim) else math.ceil(size / chunk) * chunk
        wanted *= 1 if _is_lead(dim) else size
    return read / wanted


def _first(chunk: object) -> int:
    return int(chunk[0]) if isinstance(chunk, tuple | list) else int(chunk)  # type: ignore[call-overload]


def _is_lead(dim: object) -> bool:
    from diffsci.data.canonical.names import NAMES

    word = str(dim).lower()
    return word in NAMES["time"] or word in NAMES["sample"] or word in NAMES["frame"]


def tell_chunks(raw: xr.Dataset, entry: Entry, report: Report) -> None:
    """Warn of large variables whose single fields cost many times their size to read."""
    for name, variable in raw.data_vars.items():
        if variable.ndim < 2 or 4 * variable.size < LARGE:
            continue
        factor = amplification(variable)
        if factor >= FACTOR:
            sizes = variable.encoding.get("preferred_chunks")
            report.add(
                "chunks",
                f"its chunks are {dict(sizes or {})}: one field costs {factor:.0f} times its bytes",
                f"`diffsci prepare {entry.file or entry.source.path}` writes a field to a chunk",
                variable=str(name),
            )

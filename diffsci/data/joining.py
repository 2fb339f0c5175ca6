"""Many files as one data set, by their coordinates, with values left in the files.

Of NetCDF files the headers alone are read, one after another, and no handle is kept: ten thousand
of them need one descriptor. What is small (times, their bounds) is read with the header.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from diffsci.data import lazy, ranges
from diffsci.data.canonical import times as stamps
from diffsci.data.canonical.time_axis import dated
from diffsci.data.catalog import Entry
from diffsci.errors import DataError

_SMALL = 64
"""Values a file may have of a variable that is read with the header."""

_SECONDS = {"day": 86_400, "hour": 3600, "hr": 3600, "minute": 60, "min": 60, "second": 1, "sec": 1}
_PLAIN = ("standard", "gregorian", "proleptic_gregorian")
_GREGORIAN = np.datetime64("1678-01-01", "s")
"""Before it, calendars and ranges are left to the decoder of dates."""


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What one file says of itself.

    Args:
        path: The file.
        variables: Dims, shape and attributes of each.
        small: Raw values of small variables along a dim.
    """

    path: Path
    variables: dict[str, tuple[tuple[str, ...], tuple[int, ...], dict[str, Any]]]
    small: dict[str, np.ndarray]


def require_alike(found: list[tuple[Path, dict[str, tuple[Any, Any]]]], entry: Entry) -> None:
    """Refuse a variable that is not the same thing in every file that has it.

    xarray would take the first file's units for all, and drop a variable with other dims.

    Args:
        found: For each file, dims and units of its fields.
        entry: For messages.

    Raises:
        DataError: Naming the variable and both files.
    """
    first: dict[str, tuple[Any, Any, Path]] = {}
    for path, fields in found:
        for name, (dims, unit) in fields.items():
            known = first.setdefault(name, (dims, unit, path))
            what, one, other = (
                ("dims", known[0], dims) if known[0] != dims else ("units", known[1], unit)
            )
            if one != other:
                raise DataError(
                    f"{entry.location}: variable {name} has {what} {one!r} in {known[2].name} and "
                    f"{other!r} in {path.name}; make the files alike, or narrow the pattern in "
                    f"`source` of {entry.yaml}"
                )


def by_headers(
    paths: list[Path], entry: Entry, open_one: Callable[[Path], xr.Dataset]
) -> xr.Dataset | None:
    """NetCDF files of one kind, joined along the one dim that differs; none where they are not so.

    Args:
        paths: The files.
        entry: What the catalog says of them.
        open_one: Opens one of them.

    Raises:
        DataError: For files that are not alike, or whose calendars differ.
    """
    headers = [_header(path) for path in paths]
    require_alike([(h.path, _fields(h)) for h in headers], entry)
    groups: dict[frozenset[str], list[_Header]] = {}
    for header in headers:
        groups.setdefault(frozenset(header.variables), []).append(header)
    parts = [_one_kind(group, entry, open_one) for group in groups.values()]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    if len(whole) == 1:
        return whole[0]
    made = whole[0]
    for part in whole[1:]:
        if not all(n in made.coords and made[n].equals(c) for n, c in part.coords.items()):
            return None
        made = made.assign({n: v.variable for n, v in part.data_vars.items() if n not in made})
    return made


def _fields(header: _Header) -> dict[str, tuple[Any, Any]]:
    return {
        name: (dims, attributes.get("units"))
        for name, (dims, _, attributes) in header.variables.items()
        if len(dims) > 1
    }


def _header(path: Path) -> _Header:
    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        variables, small = {}, {}
        for name, found in file.variables.items():
            attributes = {key: found.getncattr(key) for key in found.ncattrs()}
            variables[name] = (tuple(found.dimensions), tuple(found.shape), attributes)
            if found.dimensions and found.size <= _SMALL or found.dimensions == (name,):
                small[name] = np.asarray(found[...])
    return _Header(path=path, variables=variables, small=small)


def _one_kind(
    headers: list[_Header], entry: Entry, open_one: Callable[[Path], xr.Dataset]
) -> xr.Dataset | None:
    first = open_one(headers[0].path)
    if len(headers) == 1:
        return first
    dim = _dim(headers)
    if dim is None or dim not in first.coords:
        first.close()
        return None
    along = [n for n, (dims, *_) in headers[0].variables.items() if dim in dims]
    small = [n for n in along if all(n in h.small for h in headers)]
    read = _small(headers, small, dim, entry)
    order = np.argsort([_first(part[dim].values) for part in read], kind="stable")
    together = {name: _in_a_row([read[i].variables[name] for i in order], dim) for name in small}
    for name in [n for n in along if n not in small and n in first.variables]:
        dims = headers[0].variables[name][0]
        like = first.variables[name]
        parts = [_piece(headers[i], name, like, entry) for i in order]
        together[name] = lazy.joined(parts, dims.index(dim))
        together[name].attrs = dict(first.variables[name].attrs)
    coordinates = {n: v for n, v in together.items() if n in first.coords}
    rest = first.drop_dims(dim).load()
    first.close()
    made = rest.assign_coords(coordinates)
    return made.assign({n: v for n, v in together.items() if n not in coordinates})


def _in_a_row(parts: list[xr.Variable], dim: str) -> xr.Variable:
    values = np.concatenate([part.values for part in parts], axis=parts[0].dims.index(dim))
    return xr.Variable(parts[0].dims, values, parts[0].attrs)


def _first(values: np.ndarray) -> Any:  # noqa: ANN401  a date or a number
    """What files are sorted by."""
    return values.flat[0] if values.size else np.inf


def _dim(headers: list[_Header]) -> str | None:
    """The one dim whose coordinate differs between the files; none where that is not so."""
    axes = [n for n, (dims, *_) in headers[0].variables.items() if dims == (n,)]
    sizes = [
        {d: n for v in h.variables.values() for d, n in zip(*v[:2], strict=True)} for h in headers
    ]
    for dim in {d for found in sizes for d in found} - set(axes):
        if len({found.get(dim) for found in sizes}) > 1:
            return None
    differ = [
        name
        for name in axes
        if any(
            name not in h.small
            or not np.array_equal(h.small[name], headers[0].small[name])
            or h.variables[name][2].get("units") != headers[0].variables[name][2].get("units")
            for h in headers[1:]
        )
    ]
    return differ[0] if len(differ) == 1 else None


def _small(headers: list[_Header], names: list[str], dim: str, entry: Entry) -> list[xr.Dataset]:
    """Small variables of each file, decoded; all at once where the files say them in one way."""
    headers = headers if entry.time else _since_one_date(headers, names)
    said = [repr([sorted(h.variables[n][2].items(), key=str) for n in names]) for h in headers]
    if len(set(said)) == 1:
        raw = {
            n: (
                headers[0].variables[n][0],
                _concatenated([h.small[n] for h in headers], h0, n, dim),
            )
            for n in names
            for h0 in headers[:1]
        }
        whole = _decoded(raw, headers[0], entry)
        ends = np.cumsum([0, *(len(h.small[dim]) for h in headers)])
        return [whole.isel({dim: slice(a, b)}) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    parts = [
        _decoded({n: (h.variables[n][0], h.small[n]) for n in names}, h, entry) for h in headers
    ]
    calendars = {
        stamps.calendar(part[dim].values.flat[0]): h.path
        for part, h in zip(parts, headers, strict=True)
        if part[dim].size and stamps.is_dates(part[dim].values)
    }
    if len(calendars) > 1:
        told = ", ".join(f"{calendar} in {path.name}" for calendar, path in calendars.items())
        raise DataError(f"{entry.location}: calendars differ: {told}; convert to one calendar")
    return parts


def _since_one_date(headers: list[_Header], names: list[str]) -> list[_Header]:
    """The same headers, whole numbers since many dates counted in seconds since the first of them.

    Files often count from their own start; decoded one by one they would take most of the time.
    Headers that say it in another way stay as they are.
    """
    dates: dict[str, np.datetime64] = {}
    changed = []
    for header in headers:
        variables, small = dict(header.variables), dict(header.small)
        for name in names:
            dims, shape, told = variables[name]
            step, _, date = str(told.get("units", "")).partition(" since ")
            seconds = _SECONDS.get(step.strip().lower().rstrip("s"))
            plain = str(told.get("calendar", "standard")).lower() in _PLAIN
            if not date or seconds is None or not plain or small[name].dtype.kind not in "iu":
                continue
            try:
                start = np.datetime64(date.strip().replace(" ", "T"), "s")
            except ValueError:
                continue
            first = dates.setdefault(name, start)
            if first < _GREGORIAN or start < _GREGORIAN:
                continue
            units = f"seconds since {first}"
            variables[name] = (dims, shape, {**told, "units": units})
            small[name] = small[name].astype(np.int64) * seconds + (start - first).astype(int)
        changed.append(_Header(path=header.path, variables=variables, small=small))
    return changed


def _concatenated(parts: list[np.ndarray], header: _Header, name: str, dim: str) -> np.ndarray:
    return np.concatenate(parts, axis=header.variables[name][0].index(dim))


def _decoded(
    raw: dict[str, tuple[tuple[str, ...], np.ndarray]], header: _Header, entry: Entry
) -> xr.Dataset:
    variables = {n: (dims, v, header.variables[n][2]) for n, (dims, v) in raw.items()}
    ds = xr.decode_cf(xr.Dataset(variables), decode_times=False, decode_coords=False)
    try:
        return ranges.masked(dated(ds, entry, header.path), entry)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{header.path}: its times cannot be read ({error}); fetch it again"
        ) from error


def _piece(header: _Header, name: str, like: xr.Variable, entry: Entry) -> xr.Variable:
    """One variable of one file, read and unpacked box by box; each may be packed in its own way."""
    dims, shape, attributes = header.variables[name]

    def read(key: lazy.Key) -> np.ndarray:
        kept = tuple(d for d, k in zip(dims, key, strict=True) if isinstance(k, slice))
        with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(header.path) as file:
            file.set_auto_maskandscale(False)
            raw = xr.Variable(kept, np.asarray(file[name][key]), attributes)
        plain = xr.conventions.decode_cf_variable(name, raw, decode_times=False)
        valid = ranges.of(name, plain, entry) if len(dims) > 1 and like.dtype.kind == "f" else None
        values = np.asarray(plain.values)
        return np.asarray(values if valid is None else ranges.within(values, valid), like.dtype)

    return lazy.variable(dims, shape, like.dtype, read)

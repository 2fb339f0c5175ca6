"""Cases of forecasts and truth that belong together: by start and lead, valid time, or sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import cftime
import numpy as np
import xarray as xr
from jaxtyping import Int

from diffsci.data.canonical import times as stamps
from diffsci.errors import DataError
from diffsci.evaluation.blocks import Values
from diffsci.stages.scores import cells
from diffsci.stages.scores.starts import LEAD
from diffsci.stages.scores.stored import Layout

log = logging.getLogger(__name__)


def require_one_calendar(stores: Mapping[str, xr.Dataset], known: xr.Dataset) -> None:
    """Refuse dates of two calendars, of which none is the other's.

    Args:
        stores: Name of a forecast -> its data, with starts along `time`.
        known: The truth, with `time`.

    Raises:
        DataError: Naming both calendars, and how to convert.
    """
    theirs = _calendar(known)
    for name, store in stores.items():
        ours = _calendar(store)
        if not ours or not theirs or ours == theirs:
            continue
        both = {ours: name, theirs: "truth"}
        which, calendar = (theirs, ours) if _STANDARD not in both else (
            next(one for one in both if one != _STANDARD), "standard"
        )  # fmt: skip
        plain = ", use_cftime=False" if calendar == "standard" else ""
        raise DataError(
            f"{name}: its dates are of the calendar {ours}, those of the truth of {theirs}: no "
            "date of one is the other's; convert one of them, as of "
            f"{both[which]} `ds.convert_calendar('{calendar}'{plain})`"
        )


_STANDARD = "standard"


def _calendar(ds: xr.Dataset) -> str:
    """That of the dates; empty where they are none."""
    values = ds["time"].values.reshape(-1) if "time" in ds.variables else np.zeros(0)
    if values.dtype.kind == "M":
        return _STANDARD
    first = values[0] if len(values) else None
    if not isinstance(first, cftime.datetime):
        return ""
    return f"{first.calendar} of cftime" if first.calendar == _STANDARD else str(first.calendar)


def taken(ds: xr.Dataset, dim: str, wanted: np.ndarray, source: str) -> xr.Dataset:
    """Those items of an axis, in their order.

    Raises:
        DataError: Where it lacks one, or the axis.
    """
    if dim not in ds.dims:
        raise DataError(
            f"{source}: has no axis {dim}, which the forecast has with {len(wanted)} items; say "
            f"which it is, as `ds.expand_dims({dim}=forecast.{dim}[:1].values)`, and take that "
            "alone of the forecast"
        )
    place = numbers(wanted, ds[dim].values)
    if (place < 0).any():
        raise DataError(
            f"{source}: lacks {(place < 0).sum()} of {len(wanted)} items of {dim}; give one that "
            "has them, or leave them out with `--leads`"
        )
    return ds.isel({dim: cells.span(place)})


def numbers(wanted: np.ndarray, there: np.ndarray) -> Int[np.ndarray, " n"]:
    """Number of each label among those that are there, by value, whatever type keeps it; or -1.

    Dates and differences may be kept in any unit, numbers in float32.
    """
    if len(there) and wanted.dtype.kind == there.dtype.kind and there.dtype.kind in "Mm":
        unit = f"{there.dtype.kind}8[us]"  # of ns, years from 1678 to 2262 are all there are
        wanted, there = wanted.astype(unit), there.astype(unit)
    elif len(there) and {wanted.dtype.kind, there.dtype.kind} in ({"f"}, {"f", "i"}, {"f", "u"}):
        order = np.argsort(there)
        at, here = np.asarray(there[order], np.float64), np.asarray(wanted, np.float64)
        after = np.searchsorted(at, here).clip(max=len(at) - 1)
        before = (after - 1).clip(min=0)
        nearest = np.where(np.abs(here - at[before]) <= np.abs(here - at[after]), before, after)
        near = np.isclose(at[nearest], here, rtol=1e-6, atol=1e-9)
        return np.asarray(np.where(near, order[nearest], -1), dtype=np.int64)
    place = {value: number for number, value in enumerate(there.tolist())}
    return np.array([place.get(value, -1) for value in wanted.tolist()], dtype=np.int64)


def shared(stores: Mapping[str, xr.Dataset], case_dim: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Those that all forecasts have, by date or in the order of the first, and what is left out."""
    first = stores["model"][case_dim].values
    shared = np.ones(len(first), dtype=bool)
    told: tuple[str, ...] = ()
    for name, store in stores.items():
        has = numbers(first, store[case_dim].values) >= 0
        if not has.all():
            told += (f"{(~has).sum()} of {len(first)} cases are not there in {name}",)
            log.warning("%s: %d of %d cases are not there", name, (~has).sum(), len(first))
        shared &= has
    if not shared.any():
        raise DataError("no case is in all forecasts; give forecasts of the same starts")
    # Blocks of neighbouring cases are drawn for intervals: neighbours must follow in time.
    return np.sort(first[shared]) if case_dim == "time" else np.asarray(first[shared]), told


def verifying(
    known: xr.Dataset, first: xr.Dataset, cases: np.ndarray, layout: Layout
) -> tuple[Values, np.ndarray, tuple[str, ...]]:
    """The truth of the cases that have one, those cases, and what is left out."""
    case_dim, lead_dim = layout.case_dim, layout.lead_dim
    laid_out = case_dim == "sample" or LEAD in known.dims
    rows = np.zeros((len(cases), 1), dtype=np.int64)
    if laid_out:
        has = numbers(cases, known[case_dim].values) >= 0
        if lead_dim in first.dims:
            there = numbers(first[lead_dim].values, known[lead_dim].values) >= 0
            if not there.all():
                raise DataError(f"the truth lacks {int((~there).sum())} of {len(there)} leads")
    else:
        valid = _valid(cases, first)
        found = numbers(valid.reshape(-1), known["time"].values)
        rows = np.asarray(found.reshape(len(valid), -1))
        has = np.asarray((rows >= 0).all(axis=1))
    if not has.any() and case_dim == "sample":
        ours, theirs = (", ".join(map(str, at[:3])) for at in (cases, known["sample"].values))
        raise DataError(
            f"the truth has none of the samples of the forecast: {ours} ... beside {theirs} ... of "
            "the truth; give them the same labels, as "
            "`truth.assign_coords(sample=forecast.sample.values)`"
        )
    if not has.any():
        raise DataError(
            f"the truth has none of the valid times of the forecasts, which start at {cases[0]}; "
            f"it reaches to {known['time'].values[-1]}"
        )
    told: tuple[str, ...] = ()
    if not has.all():
        told = (f"{(~has).sum()} of {len(has)} cases are left out, whose truth is not all there",)
        log.warning("%s", told[0])
    cases = cases[has]
    if not laid_out:
        return layout.by_valid_time(known, rows[has]), cases, told
    part = taken(known, case_dim, cases, "the truth")
    if lead_dim in first.dims:
        part = taken(part, lead_dim, first[lead_dim].values, "the truth")
    return layout.values(part), cases, told


def _valid(cases: np.ndarray, first: xr.Dataset) -> np.ndarray:
    """Valid time of each case and lead."""
    if LEAD not in first.dims:
        return cases[:, None]
    return stamps.moved(cases[:, None], first[LEAD].values)

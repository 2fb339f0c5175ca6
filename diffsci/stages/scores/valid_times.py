"""Forecasts that a file keeps by the time they are for, laid out by start and lead.

CF has a single forecast so (`time` is valid, `forecast_reference_time` the start), tools that lay
forecasts of one date side by side have a start for each valid time and lead. Values are selected,
none is computed: a pair of start and lead is one place along the valid times.
"""

from __future__ import annotations

import logging

import numpy as np
import xarray as xr
from jaxtyping import Int

from diffsci.data.canonical import times as stamps
from diffsci.errors import DataError
from diffsci.stages.scores import axis_labels, cells
from diffsci.stages.scores.starts import INIT, LEAD, LEADS, is_difference, scalar_lead

log = logging.getLogger(__name__)

_VALID = "valid_time"
_PERIOD = "forecast_period"


def by_start(ds: xr.Dataset, source: str) -> tuple[xr.Dataset, tuple[str, ...]]:
    """The forecast by start and lead, and which starts are left out for want of some leads.

    One that is laid out so already comes back as it is.

    Args:
        ds: As the file has it.
        source: For messages.

    Raises:
        DataError: Where its dates contradict each other, or no start has all leads.
    """
    dims = {str(dim) for dim in ds.dims}
    valid = next((dim for dim in (_VALID, "time") if dim in dims), None)
    if valid is None or dims & set(INIT) - {valid}:
        return ds, ()
    lead = next((name for name in LEADS if name in dims), None)
    name = _reference(ds, valid, lead)
    _require_plain(ds, valid, lead, source)
    if _kind(ds, valid) != "M":
        return ds, ()
    if lead and lead not in ds.variables:
        return ds, ()
    for each in (lead, _PERIOD):
        ahead = axis_labels.difference(ds[each]) if each in ds.variables else None
        if ahead is None and each == lead and lead:
            return ds, ()  # Plain numbers are told of later, by what they lack.
        if ahead is not None:
            ds = ds.assign_coords({str(each): (ds[each].dims, ahead)})
    found = _starts(ds, valid, lead, name, source)
    if found is None:
        return ds, ()
    return _laid_out(ds, found, (valid, lead), source)


def _kind(ds: xr.Dataset, name: str) -> str:
    """`M` of dates of any calendar, `m` of differences; empty where there is no such variable."""
    if name not in ds.variables:
        return ""
    label = ds[name]
    dated = label.dtype.kind == "O" and stamps.is_dates(label.values.reshape(-1)[:1])
    return "M" if dated else label.dtype.kind


def _require_plain(ds: xr.Dataset, valid: str, lead: str | None, source: str) -> None:
    """Refuse dates of other calendars whose starts lie along the valid times and leads."""
    both = {valid, lead}
    named = [each for each in INIT if each in ds.variables and set(ds[each].dims) == both]
    if lead and named and ds[valid].dtype.kind == "O":
        raise DataError(
            f"{source}: is laid out by valid time, {named[0]} says the starts, and its dates are "
            "of another calendar than the standard one; lay it out by start and lead, or convert "
            "it by `ds.convert_calendar('standard', use_cftime=False)`"
        )


def _reference(ds: xr.Dataset, valid: str, lead: str | None) -> str | None:
    """The variable that has the start of each valid time, and of each lead."""
    names = [each for each in INIT if each != valid]
    along = {valid, lead}
    there = [each for each in names if _kind(ds, each) == "M" and set(ds[each].dims) <= along]
    return there[0] if there else None


def _starts(
    ds: xr.Dataset, valid: str, lead: str | None, name: str | None, source: str
) -> xr.DataArray | None:
    """Start of each valid time [and lead]; none where the valid times are starts themselves."""
    times = ds[valid]
    ahead = _moved(times, ds[lead], -1) if lead else None
    if name is not None:
        starts = ds[name] if ahead is None else ds[name].broadcast_like(ahead)
        starts = starts.broadcast_like(times)
        there = starts.notnull()
        if bool((starts == times).where(there, True).all()):
            return None  # Another name of the same dates.
        if ahead is not None and not bool((starts == ahead).where(there, True).all()):
            if _is_start(ds, valid, lead, name):
                return None
            raise DataError(
                f"{source}: its {name} is neither its {valid} nor {lead} before that; say which is "
                f"right: drop the other, as `ds.drop_vars('{name}')`"
            )
        return starts
    if ahead is None:
        period = ds[_PERIOD] if _kind(ds, _PERIOD) == "m" else None
        if period is None or period.dims != (valid,):
            return None
        return _moved(times, ds[_PERIOD], -1)
    if valid == _VALID:
        return ahead
    known = ds[_VALID] if _kind(ds, _VALID) == "M" else None
    if known is None or set(known.dims) != {valid, lead}:
        if known is None and times.attrs.get("standard_name") == "time":
            log.warning(
                "%s: its times are taken to be starts, since they have leads beside them, and "
                "their standard_name is that of the time that values are for",
                source,
            )
        return None
    if bool((known == _moved(times, ds[str(lead)])).all()):
        return None
    if bool((known == times).all()):
        return ahead
    raise DataError(
        f"{source}: its {_VALID} is neither its {valid} nor {lead} after that; say which is right: "
        f"drop the other, as `ds.drop_vars('{_VALID}')`"
    )


def _is_start(ds: xr.Dataset, valid: str, lead: str | None, name: str) -> bool:
    """Whether `valid_time` says that times are starts, whatever else a file calls a start."""
    known = ds[_VALID] if valid != _VALID and _kind(ds, _VALID) == "M" else None
    if known is None or lead is None:
        return False
    return bool((known == _moved(ds[valid], ds[lead])).all())


def _moved(times: xr.DataArray, lead: xr.DataArray, sign: int = 1) -> xr.DataArray:
    """Times a lead later, or before."""
    found: xr.DataArray = xr.apply_ufunc(stamps.moved, times, sign * lead)
    return found


def _laid_out(
    ds: xr.Dataset, starts: xr.DataArray, axes: tuple[str, str | None], source: str
) -> tuple[xr.Dataset, tuple[str, ...]]:
    valid, lead = axes
    order = (valid,) if lead is None else (valid, lead)
    begun = starts.transpose(*order).values
    ahead = (ds[valid] - starts).transpose(*order).values
    known = starts.transpose(*order).notnull().values
    rows, steps = np.unique(begun[known]), np.unique(ahead[known])
    if not len(rows) or (steps < np.timedelta64(0)).any():
        raise DataError(
            f"{source}: a start is after the time that it is for, {valid}; correct one of the two"
        )
    if lead is None and not steps.any():
        return ds, ()
    single = scalar_lead(ds) if lead is None else None
    if single and is_difference(ds, single) and list(steps) != [ds[single].values]:
        (said,) = np.atleast_1d(ds[single].values)
        raise DataError(
            f"{source}: its lead is {axis_labels.hours(said)} by {single}, and "
            f"{', '.join(map(axis_labels.hours, steps[:3]))} between start and {valid}; drop the "
            f"one that is wrong, as `ds.drop_vars('{single}')`"
        )
    there = np.argwhere(known)
    place = _places(there, (begun[known], ahead[known]), (rows, steps), source)
    whole = np.asarray((place >= 0).all(axis=1))
    if not whole.any():
        raise DataError(
            f"{source}: no start has all {len(steps)} leads among its valid times; take the leads "
            "that one has, or the valid times that are lacking"
        )
    told: tuple[str, ...] = ()
    if not whole.all():
        told = (f"{(~whole).sum()} of {len(whole)} starts are left out, which lack some leads",)
        log.warning("%s: %s", source, told[0])
    # What lies along the valid times is no coordinate of a start.
    dated = [n for n in ds.coords if set(ds[n].dims) & set(order) or n in (*INIT, _VALID, *LEADS)]
    return _selected(ds.drop_vars(dated), place[whole], axes).assign_coords(
        {"time": rows[whole], LEAD: steps}
    ), told


def _places(
    there: Int[np.ndarray, "field axis"],
    at: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    source: str,
) -> Int[np.ndarray, "start lead"]:
    """Number of the valid time of each start and lead; -1 where there is none.

    Args:
        there: Number of the valid time, and of the lead, of each field.
        at: Its start and lead.
        labels: All starts and leads.
        source: For messages.

    Raises:
        DataError: Where one is there twice.
    """
    place = np.full((len(labels[0]), len(labels[1])), -1)
    row, step = (np.searchsorted(all_of, each) for all_of, each in zip(labels, at, strict=True))
    if len(set(zip(row.tolist(), step.tolist(), strict=True))) < len(row):
        raise DataError(
            f"{source}: one start is there more than once at one lead, and would count so; keep "
            "one of each"
        )
    place[row, step] = there[:, 0]
    return place


def _selected(
    ds: xr.Dataset, place: Int[np.ndarray, "start lead"], axes: tuple[str, str | None]
) -> xr.Dataset:
    """Fields of each start and lead; slices where they do, which stores read far faster."""
    valid, lead = axes
    if len(place) == 1 and lead is None:
        return ds.isel({valid: cells.span(place[0])}).rename({valid: LEAD})
    if lead is not None and ds.sizes[lead] == 1:
        return ds.isel({valid: cells.span(place[:, 0])}).rename(
            {old: new for old, new in ((valid, "time"), (lead, LEAD)) if old != new}
        )
    if lead is None and place.shape[1] == 1:
        kept = ds.isel({valid: cells.span(place[:, 0])})
        return kept if valid == "time" else kept.rename({valid: "time"})
    inner = {name: f"of {name}" for name in axes if name}
    picked = {inner[valid]: xr.DataArray(place, dims=("time", LEAD))}
    if lead is not None:
        picked[inner[lead]] = xr.DataArray(np.arange(place.shape[1]), dims=(LEAD,))
    return ds.rename(inner).isel(picked)

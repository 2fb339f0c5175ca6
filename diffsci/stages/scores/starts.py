"""When a forecast starts, and how far ahead it looks, however its file says so.

An axis may be a dim, a single coordinate that a selection left, or what lies between the start and
a valid time. Axes of one item are coordinates alone: no value is read to make them.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from diffsci.errors import DataError
from diffsci.stages.scores import axis_labels

LEAD = "prediction_timedelta"
LEADS = (LEAD, "lead_time", "step", "forecast_period", "lead")
INIT = ("time", "init_time", "forecast_reference_time", "initialization_time", "reftime")


def is_difference(ds: xr.Dataset, name: str) -> bool:
    """Whether a variable is there and counts time from another."""
    return name in ds.variables and ds[name].dtype.kind == "m"


def scalar_lead(ds: xr.Dataset) -> str | None:
    """Name of the lead of a forecast that has one alone, as a selection leaves it, or none.

    Args:
        ds: As the file has it.
    """
    if set(LEADS) & set(map(str, ds.dims)) or (is_difference(ds, "time") and "time" in ds.dims):
        return None
    names = [*LEADS, "time"] if is_difference(ds, "time") else LEADS
    return next((name for name in names if name in ds.variables and ds[name].ndim == 0), None)


def with_lead(ds: xr.Dataset) -> xr.Dataset:
    """A forecast of one lead with an axis of leads, where its file says which lead it is."""
    name = scalar_lead(ds)
    if name is None:
        return ds
    lead = ds[name]
    ds = ds.drop_vars(name).assign_coords({name: (name, lead.values[None], lead.attrs)})
    if name == "time" and "datetime" in ds.variables:
        # GenCast's dates are those of the leads, be there one or many.
        dates = ds["datetime"]
        ds = ds.drop_vars("datetime").assign_coords(
            datetime=((*dates.dims, name), dates.values[..., None])
        )
    return ds


def with_lead_of_valid_times(ds: xr.Dataset, source: str) -> xr.Dataset:
    """A forecast of one lead whose file says when it starts and which time it is for.

    Args:
        ds: With starts along `time`.
        source: For messages.

    Raises:
        DataError: Where the times between the two are not the same.
    """
    if LEAD in ds.dims or "valid_time" not in ds.variables:
        return ds
    valid, starts = ds["valid_time"], ds["time"]
    if not set(valid.dims) <= {"time"} or (valid.dtype.kind, starts.dtype.kind) != ("M", "M"):
        return ds
    leads = np.unique(np.atleast_1d(valid.values - starts.values))
    if len(leads) > 1:
        hours = ", ".join(f"{lead / np.timedelta64(1, 'h'):g}" for lead in leads[:3])
        raise DataError(
            f"{source}: has no axis of leads, and its `valid_time` is {hours} hours after the "
            "start, not always as long; give it the axis, or drop `valid_time` where `time` is "
            "the time that values are for"
        )
    if leads[0] == np.timedelta64(0, "h"):
        return ds
    return ds.drop_vars("valid_time").assign_coords({LEAD: leads})


def at_valid_times(ds: xr.Dataset) -> xr.Dataset | None:
    """A truth of one lead, as a selection leaves it, by the time it is for; none where it is so.

    Raises:
        DataError: For a lead without units, or where `time` is neither start nor valid time.
    """
    name = scalar_lead(ds)
    if name is None or name == "time" or "time" not in ds.variables:
        return None
    times, lead = ds["time"], axis_labels.difference(ds[name])
    if times.dtype.kind != "M" or (ds[name].dtype.kind in "iuf" and ds[name].values == 0):
        return None
    if lead is None:
        raise DataError(
            f"truth: its {name} is {ds[name].values}, and nothing says in what; say it, as "
            f"`truth['{name}'].attrs['units'] = 'hours'`, or drop it where `time` is the time that "
            f"values are for: `truth.drop_vars('{name}')`"
        )
    if lead == np.timedelta64(0, "h") or _is_valid(ds, times, lead):
        return None
    ds = ds.drop_vars([each for each in (name, "valid_time") if each in ds.variables])
    return ds.assign_coords(time=ds["time"].copy(data=times.values + lead))


def _is_valid(ds: xr.Dataset, times: xr.DataArray, lead: np.ndarray) -> bool:
    """Whether the times of a truth are those that its values are for, as other dates tell."""
    for name in (*INIT[1:], "valid_time"):
        if name not in ds.variables or ds[name].dtype.kind != "M":
            continue
        if not set(ds[name].dims) <= set(times.dims):
            continue
        start, valid = (0 * lead, lead) if name == "valid_time" else (-lead, 0 * lead)
        for shift, told in ((start, True), (valid, False)):
            if bool((ds[name] == times + shift).all()):
                return told
        raise DataError(
            f"truth: its `time` and {name} do not lie its lead apart; drop the one that is wrong, "
            f"as `truth.drop_vars('{name}')`"
        )
    return False


def of_batches(ds: xr.Dataset, source: str) -> xr.Dataset:
    """Batches of GenCast as starts: `datetime` is the valid time of each lead of each batch.

    Raises:
        DataError: Where nothing says when the batches start.
    """
    ds = ds.rename(time=LEAD) if is_difference(ds, "time") else ds
    if "datetime" in ds.variables and set(ds["datetime"].dims) == {"batch", LEAD}:
        starts = (ds["datetime"] - ds[LEAD]).transpose("batch", LEAD).values
        if (starts == starts[:, :1]).all():
            ds = ds.drop_vars(["datetime", "batch"], errors="ignore")
            return ds.assign_coords(batch=starts[:, 0]).rename(batch="time")
    if ds.sizes["batch"] == 1:
        return ds.squeeze("batch", drop=True)
    raise DataError(
        f"{source}: nothing says when its {ds.sizes['batch']} batches start; give them a "
        "coordinate `datetime` (batch, time), start plus lead, or starts of their own: "
        "`ds.rename(batch='init_time').assign_coords(init_time=[...])`"
    )


def with_start(ds: xr.Dataset, source: str) -> xr.Dataset:
    """A single forecast as one case, if the file says when it starts.

    Raises:
        DataError: Where it does not, or says several.
    """
    for name in (*INIT, "datetime"):
        if name not in ds.variables or ds[name].dtype.kind != "M":
            continue
        found = ds[name]
        if name == "datetime" and found.dims == (LEAD,) and is_difference(ds, LEAD):
            found = found - ds[LEAD]
        starts = np.unique(found.values)
        if len(starts) > 1:
            raise DataError(
                f"{source}: {name} has {len(starts)} starts along {', '.join(map(str, found.dims))}"
                f", from {starts[0]} to {starts[-1]}: expected one, or a dim of starts"
            )
        return ds.drop_vars(name).assign_coords(time=starts)
    raise DataError(
        f"{source}: no time of initialisation among the dims {', '.join(map(str, ds.dims))}; "
        "add it, such as `ds.expand_dims(time=[start])`"
    )

"""Forecast stores of any tool under one set of names: dims, leads as time differences, variables.

Known are the names of WeatherBench 2 and X, earth2studio, GenCast, cfgrib, and CF's standard names.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Int

from diffsci.data.canonical import units
from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.forecasting.store.names import renaming
from diffsci.stages.scores import axis_labels

log = logging.getLogger(__name__)

LEAD = "prediction_timedelta"
MEMBER = ("number", "realization", "ensemble", "ensemble_member", "member", "mem", "ens")
_LEAD = (LEAD, "lead_time", "step", "forecast_period", "lead")
INIT = ("time", "init_time", "forecast_reference_time", "initialization_time", "reftime")
_OTHERS = {
    "level": ("level", "pressure_level", "isobaricInhPa", "plev", "pressure"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon"),
}


def canonical(ds: xr.Dataset, source: str) -> xr.Dataset:
    """A forecast under the names of our stores; of a simulation `sample, number, time`.

    Args:
        ds: As the file has it.
        source: For messages.

    Raises:
        DataError: Where an axis is not there, leads are plain numbers, starts are no dates, or a
            start or lead is there twice.
    """
    if "batch" in ds.dims:
        ds = _with_starts_of_batches(ds, source)
    dims = {str(dim) for dim in ds.dims}
    if "sample" in dims and "number" in dims and LEAD not in dims:
        return ds
    lead = _first(dims, _LEAD) or ("time" if _is_difference(ds, "time") else None)
    member = _first(dims, MEMBER) or ("sample" if "sample" in dims and lead else None)
    init = _first(dims - {lead or ""}, INIT)
    names = {name: word for word, name in (("number", member), (LEAD, lead)) if name}
    new = {old: word for old, word in names.items() if old != word}
    for word, spellings in _OTHERS.items():
        found = _first(dims, spellings)
        if found and found != word:
            new[found] = word
    # A date that is not the initialisation's, such as `valid_time`, must not be in the way.
    if lead == "time":
        ds = ds.rename({"time": LEAD})
        new.pop("time", None)
    if init and init != "time":
        new[init] = "time"
    ds = ds.drop_vars([word for word in new.values() if word in ds.variables and word not in dims])
    ds = ds.rename(new)
    if "time" not in ds.dims:
        ds = _with_init(ds, source)
    ds = axis_labels.labelled(ds, LEAD, source)
    # Stores of earth2studio say no units: the name is enough here, and `conversions` warns.
    known, _ = renaming(ds, "wb2", unit_absent=None)
    return ds.rename(known)


def _with_starts_of_batches(ds: xr.Dataset, source: str) -> xr.Dataset:
    """Batches of GenCast as starts: `datetime` is the valid time of each lead of each batch.

    Raises:
        DataError: Where nothing says when the batches start.
    """
    ds = ds.rename(time=LEAD) if _is_difference(ds, "time") else ds
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


def _with_init(ds: xr.Dataset, source: str) -> xr.Dataset:
    """A single forecast as one case, if the file says when it starts."""
    for name in (*INIT, "datetime"):
        if name in ds.variables and ds[name].dtype.kind == "M":
            start = np.asarray(ds[name].values).reshape(-1)[0]
            return ds.drop_vars(name).expand_dims(time=[start])
    raise DataError(
        f"{source}: no time of initialisation among the dims {', '.join(map(str, ds.dims))}; "
        "add it, such as `ds.expand_dims(time=[start])`"
    )


def _first(there: set[str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in there), None)


def _is_difference(ds: xr.Dataset, name: str) -> bool:
    return name in ds.variables and ds[name].dtype.kind == "m"


def shared_variables(
    forecast: xr.Dataset, truth: xr.Dataset, source: str
) -> tuple[list[str], tuple[str, ...]]:
    """Variables that both have, and what is not scored for want of a truth.

    Raises:
        DataError: Where there is none.
    """
    ours = [str(name) for name in forecast.data_vars if forecast[name].ndim > 1]
    both = [name for name in ours if name in truth.data_vars]
    if not both:
        theirs = ", ".join(map(str, truth.data_vars))
        raise DataError(
            f"{source}: its variables are {', '.join(ours)}, those of the truth {theirs}: none is "
            "in both; rename them in one of the files"
        )
    return both, _unscored([name for name in ours if name not in both], source)


def _unscored(names: list[str], source: str) -> tuple[str, ...]:
    """What the truth lacks, in words, and a warning that says so."""
    if not names:
        return ()
    told = f"the truth has no {', '.join(names)}"
    log.warning("%s: %s: not scored", source, told)
    return (f"{told}: not scored",)


def beyond(known: xr.Dataset, whole: xr.Dataset, space: tuple[str, ...]) -> tuple[str, ...]:
    """Cells that are not scored: of the truth beyond the forecast's grid, and without a value."""
    found = []
    cells, all_cells = (math.prod(ds.sizes[dim] for dim in space) for ds in (known, whole))
    if cells < all_cells:
        found.append(f"the forecast covers {cells:,} of the truth's {all_cells:,} cells")
    for name, values in known.data_vars.items():
        if values.attrs.get("missing") == "static":
            first = values.isel({dim: 0 for dim in values.dims if dim not in space})
            empty = int(np.isnan(first.values).sum())
            if empty:
                found.append(f"{name} has no truth in {empty:,} of {cells:,} cells")
    for each in found:
        log.warning("%s: scored without the others", each)
    return tuple(found)


def require_same(
    store: xr.Dataset, names: list[str], channels: tuple[Channel, ...], source: str
) -> tuple[str, ...]:
    """Refuse a forecast that lacks variables or levels which are scored; further levels in words.

    Raises:
        DataError: Naming what it lacks.
    """
    lacking = [name for name in names if name not in store.data_vars]
    if lacking:
        raise DataError(f"{source}: lacks {', '.join(lacking)}; leave it out of --baseline")
    for channel in channels:
        if channel.level is None or channel.variable in lacking:
            continue
        levels = store["level"].values.astype(float) if "level" in store.coords else np.zeros(0)
        if channel.level not in levels:
            there = ", ".join(f"{level:g}" for level in levels)
            fix = f"score against those alone, as `truth.sel(level=[{there}])`"
            if channel.level in levels / 100:
                fix = "these are Pa: write them as hPa, as `ds.assign_coords(level=ds.level / 100)`"
            raise DataError(
                f"{source}: {channel.variable} has no level {channel.level:g}, which the truth "
                f"has; it has {there or 'none'}: {fix}"
            )
    known = {channel.level for channel in channels}
    if "level" not in store.dims or known == {None}:
        return ()
    levels = store["level"].values.astype(float)
    return _unscored([f"level {level:g}" for level in levels if level not in known], source)


def conversions(
    forecast: xr.Dataset, truth: xr.Dataset, source: str
) -> dict[str, tuple[float, float]]:
    """Scale and offset of the variables that are in other units than the truth's.

    Raises:
        DataError: Where one does not convert into the other.
    """
    made = {}
    for name in map(str, forecast.data_vars):
        ours, theirs = (str(ds[name].attrs.get("units", "")) for ds in (forecast, truth))
        if not ours or not theirs:
            who = source if not ours else "the truth"
            log.warning("%s: %s has no units; taken to be alike", who, name)
            continue
        found = units.conversion(ours, theirs)
        if found is None:
            raise DataError(
                f"{source}: {name} is in {ours}, the truth in {theirs}, which do not convert; "
                "convert one of the files"
            )
        if found != (1.0, 0.0):
            log.info("%s: %s converted from %s to %s", source, name, ours, theirs)
            made[name] = found
    return made


def unstated(forecast: xr.Dataset, truth: xr.Dataset) -> tuple[str, ...]:
    """Variables that have no units in one of the two."""
    return tuple(
        str(name)
        for name in forecast.data_vars
        if not all(str(ds[name].attrs.get("units", "")) for ds in (forecast, truth))
    )


def converted(ds: xr.Dataset, by: Mapping[str, tuple[float, float]]) -> xr.Dataset:
    """The values of a block in the units of the truth."""
    changed = {
        name: ds[name] * scale + offset for name, (scale, offset) in by.items() if name in ds
    }
    return ds.assign(changed) if changed else ds


def span(numbers: Int[np.ndarray, " n"]) -> slice | np.ndarray:
    """Numbers as a slice where they follow one another either way: stores read that far faster."""
    steps = np.unique(np.diff(numbers))
    if len(numbers) == 0 or len(steps) > 1 or (len(steps) and abs(steps[0]) != 1):
        return numbers
    step = int(steps[0]) if len(steps) else 1
    last = int(numbers[-1]) + step
    return slice(int(numbers[0]), None if last < 0 else last, step)


def places(
    forecast: xr.Dataset, truth: xr.Dataset, space: tuple[str, ...], source: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Numbers of the cells of the forecast and of the truth that are the same, by dim.

    The truth may reach further than the forecast. Longitudes are on a circle.

    Raises:
        DataError: Where a cell of the forecast is not one of the truth's.
    """
    for dim in ("latitude", "longitude", "z", "y", "x"):
        if (dim in forecast.dims) != (dim in truth.dims):
            where = "the truth" if dim in forecast.dims else "the forecast"
            raise DataError(
                f"{source}: {where} has no dim {dim}, which the other has; where a single cell was "
                f"selected, select it as a list, as `ds.isel({dim}=[0])`"
            )
    ours: dict[str, np.ndarray] = {}
    theirs: dict[str, np.ndarray] = {}
    for dim in space:
        at = np.asarray(forecast[dim].values, dtype=np.float64)
        there = np.asarray(truth[dim].values, dtype=np.float64)
        apart = np.abs(at[:, None] - there)
        if dim == "longitude":
            apart = np.abs((apart + 180) % 360 - 180)
        cell = float(np.median(np.abs(np.diff(there)))) if len(there) > 1 else 1.0
        nearest = apart.argmin(axis=1)
        if apart.min(axis=1).max() > 1e-3 * cell or len(set(nearest.tolist())) < len(at):
            raise DataError(
                f"{source}: {dim} has {len(at)} cells from {at[0]:g} to {at[-1]:g}, the truth "
                f"{len(there)} from {there[0]:g} to {there[-1]:g}: another grid; regrid one of them"
            )
        order = np.argsort(nearest)
        ours[dim], theirs[dim] = order, nearest[order]
    return ours, theirs

"""Forecast stores of any tool under one set of names: dims, leads as time differences, variables.

Known are the names of WeatherBench 2 and X, earth2studio, GenCast, cfgrib, and CF's standard names.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import xarray as xr

from diffsci.data.canonical import axes, units
from diffsci.data.checks.problems import Report
from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.stages.scores import axis_labels, cells, naming, starts, verticals
from diffsci.stages.scores.starts import INIT, LEAD, LEADS

log = logging.getLogger(__name__)

MEMBER = ("number", "realization", "ensemble", "ensemble_member", "member", "mem", "ens")
_LEVEL = ("level", "pressure_level", "isobaricInhPa", "plev", "pressure")
_OTHERS = {
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
    ds = starts.with_lead(ds)
    if "batch" in ds.dims:
        ds = starts.of_batches(ds, source)
    dims = {str(dim) for dim in ds.dims}
    if "sample" in dims and "number" in dims and LEAD not in dims:
        once = {"sample": "samples", "number": "members", "time": "leads"}
        axis_labels.require_once(ds, once, source)
        return ds
    lead = _first(dims, LEADS) or ("time" if starts.is_difference(ds, "time") else None)
    # Of simulations samples are cases; what has leads or dates is a forecast, of some members.
    dated = lead or ("time" in ds.dims and ds["time"].dtype.kind == "M")
    member = _first(dims, MEMBER) or ("sample" if "sample" in dims and dated else None)
    init = _first(dims - {lead or ""}, INIT)
    names = {name: word for word, name in (("number", member), (LEAD, lead)) if name}
    new = {old: word for old, word in names.items() if old != word}
    level = _first(dims, _LEVEL) or axes.find(ds, "level", Report(source))
    if level in dims and level != "level":
        new[str(level)] = "level"
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
        ds = starts.with_start(ds, source)
    ds = axis_labels.labelled(ds, LEAD, lead or LEAD, source)
    ds = verticals.canonical(ds, level or "level", source)
    ds = cells.laid_out(starts.with_lead_of_valid_times(ds, source), source)
    return naming.named(ds, source)


def _first(there: set[str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in there), None)


def shared_variables(
    forecast: xr.Dataset, truth: xr.Dataset, source: str
) -> tuple[list[str], tuple[str, ...]]:
    """Variables that both have, and what is not scored for want of a truth.

    Raises:
        DataError: Where there is none, and for one that is in units which do not convert.
    """
    naming.require_units(forecast, truth, source)
    ours = [str(name) for name in forecast.data_vars if forecast[name].ndim > 1]
    both = [name for name in ours if name in truth.data_vars]
    ahead = {"time", LEAD}
    moving = [name for name in both if ahead & set(forecast[name].dims)]
    static = [name for name in both if moving and name not in moving]
    both = [name for name in both if name not in static]
    if not both:
        theirs = ", ".join(map(str, truth.data_vars))
        raise DataError(
            f"{source}: its variables are {', '.join(ours)}, those of the truth {theirs}: none is "
            "in both; rename them in one of the files"
        )
    lacking = [name for name in ours if name not in (*both, *static)]
    told = _unscored(lacking, f"the truth has no {', '.join(lacking)}", source)
    return both, told + _unscored(
        static, f"{', '.join(static)}: the same at each start and lead", source
    )


def _unscored(names: list[str], told: str, source: str) -> tuple[str, ...]:
    """What is not scored and why, in words, and a warning that says so."""
    if not names:
        return ()
    log.warning("%s: %s: not scored", source, told)
    return (f"{told}: not scored",)


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
        has = "level" in store.coords
        levels = np.atleast_1d(store["level"].values).astype(float) if has else np.zeros(0)
        if not np.isclose(levels, channel.level, rtol=1e-6).any():
            there = ", ".join(f"{level:g}" for level in levels)
            fix = f"score against those alone, as `truth.sel(level=[{there}])`"
            for who, these, other in (
                ("these are Pa: say so, as `ds", levels / 100, channel.level),
                ("those of the truth are Pa: say so, as `truth", levels, channel.level / 100),
            ):
                if other in these:
                    fix = f"{who}['level'].attrs['units'] = 'Pa'`"
            raise DataError(
                f"{source}: {channel.variable} has no level {channel.level:g}, which the truth "
                f"has; it has {there or 'none'}: {fix}"
            )
    known = {channel.level for channel in channels}
    if "level" not in store.dims or known == {None}:
        return ()
    levels = store["level"].values.astype(float)
    others = [f"level {level:g}" for level in levels if level not in known]
    return _unscored(others, f"the truth has no {', '.join(others)}", source)


def without_foreign_dims(
    store: xr.Dataset, known: xr.Dataset, dims: tuple[str, ...], source: str
) -> xr.Dataset:
    """The variables of a forecast that are scored, without axes of one item that mean nothing here.

    Args:
        store: The forecast; its coordinates are kept, also those that no variable has.
        known: The truth of what is scored.
        dims: Of cases, members, leads and space.
        source: For messages.

    Raises:
        DataError: For such an axis of more items, and for a variable without the truth's levels.
    """
    store = store.drop_vars([name for name in store.data_vars if name not in known.data_vars])
    for name in map(str, store.data_vars):
        _require_axes(store, name, dims, source)
        meant = (*dims, "level") if "level" in known[name].dims else dims
        for dim in [str(dim) for dim in store[name].dims if dim not in meant]:
            if store.sizes[dim] > 1:
                fix = f"of members, `ds.rename({dim}='number')`; else take one"
                if dim == "level":
                    fix = "the truth has no levels: take the one that it is of"
                raise DataError(
                    f"{source}: dim {dim} of {name} has {store.sizes[dim]} items and no meaning "
                    f"here; {fix}, as `ds.isel({dim}=0)`"
                )
            store = store.assign({name: store[name].isel({dim: 0}, drop=True)})
        if "level" in meant and "level" not in store[name].dims:
            raise DataError(
                f"{source}: {name} has no axis of levels, which the truth has: take one of the "
                "truth's, as `truth.sel(level=500, drop=True)`, or name the forecast's `level`"
            )
    return store


def _require_axes(store: xr.Dataset, name: str, dims: tuple[str, ...], source: str) -> None:
    """Refuse a variable that is not there at each start, lead and cell.

    Raises:
        DataError: Naming the dim, and a variable that has it.
    """
    for dim in dims:
        # An axis of one item may be a coordinate alone.
        if dim == "number" or dim in store[name].dims or store.sizes.get(dim, 1) == 1:
            continue
        others = [str(each) for each in store.data_vars if dim in store[each].dims]
        whose = f"which {others[0]} has" if others else f"of which there are {store.sizes[dim]}"
        raise DataError(
            f"{source}: {name} has no dim {dim}, {whose}, so that one field would be scored many "
            f"times; score it in a file of its own, or leave it out: `ds.drop_vars('{name}')`"
        )


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

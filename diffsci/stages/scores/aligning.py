"""Forecasts and truth laid side by side: the same cases, leads and cells, read block by block."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cftime
import numpy as np
import xarray as xr

from diffsci import families
from diffsci.data.catalog import Entry, Source, load_entry
from diffsci.data.domains.base import Domain
from diffsci.data.fields import Channel
from diffsci.data.reader import open_raw
from diffsci.errors import ConfigError, DataError
from diffsci.evaluation.blocks import Values
from diffsci.forecasting.store.names import renaming
from diffsci.forecasting.store.views import store_of
from diffsci.grid import Grid
from diffsci.stages.scores import forecast_files, foreign
from diffsci.stages.scores.alike import require_alike
from diffsci.stages.scores.foreign import LEAD
from diffsci.stages.scores.stored import Layout

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Forecasts and truth, case by case, as they are read.

    Args:
        forecasts: Name -> members, in the truth's units; `model` first.
        truth: Of the same cases, leads and cells, as a single member.
        channels: What each channel is.
        grid: Where the values sit.
        leads: Hours, or the unit of a simulation's time; none without leads.
        lead_unit: Of those.
        keys: Name of each case.
        sources: Name of a forecast, or `truth` -> where it lies.
        left_out: Cases of the forecast that are not scored, for what reason.
    """

    forecasts: Mapping[str, Values]
    truth: Values
    channels: tuple[Channel, ...]
    grid: Grid
    leads: tuple[float, ...] | None
    lead_unit: str
    keys: tuple[str, ...]
    sources: Mapping[str, str]
    left_out: tuple[str, ...] = ()


def align(
    forecast: Path | xr.Dataset,
    truth: Path | str | xr.Dataset,
    baselines: Mapping[str, Path | xr.Dataset] | None = None,
    *,
    leads: Sequence[float] = (),
    missing: str = "forbidden",
) -> Aligned:
    """Forecasts and truth, of the cases that all of them have.

    Args:
        forecast: Store, file, run folder, or data set.
        truth: Path, catalog entry, or data set.
        baselines: Name -> forecasts of the same cases.
        leads: Hours (or the unit of a simulation's time) of those to take; empty takes all.
        missing: What a NaN of the truth means, where its own attributes do not say.

    Raises:
        ConfigError: For a baseline that is called as the forecast or the truth is.
        DataError: For another grid, other units, or no case in common.
        StorageError: When something is not there.
    """
    for name in {"model", "truth"} & set(baselines or {}):
        raise ConfigError(f"baselines: {name} is the name of another row; give it one of its own")
    stores, sources = {}, {}
    for name, given in {"model": forecast, **(baselines or {})}.items():
        sources[name] = _source(name, given)
        opened = forecast_files.opened(
            given if isinstance(given, xr.Dataset) else Path(sources[name])
        )
        stores[name] = foreign.canonical(opened, sources[name])
    first, source = stores["model"], sources["model"]
    case_dim = "sample" if "sample" in first.dims else "time"
    lead_dim = "time" if case_dim == "sample" else LEAD
    first = stores["model"] = _with_leads(first, lead_dim, leads, source)
    domain: Domain = families.load("domains", "pde" if case_dim == "sample" else "weather")()
    known = _truth(truth, domain, lead_dim)
    names, unscored = foreign.shared_variables(first, known, source)
    known = _declared(known[names], missing)
    space = tuple(d for d in ("latitude", "longitude", "z", "y", "x") if d in first[names[0]].dims)
    _, theirs = foreign.places(first, known, space, source)
    known, whole = known.isel({dim: foreign.span(at) for dim, at in theirs.items()}), known
    beyond = foreign.beyond(known, whole, space)
    channels, grid = _labels(known, domain, case_dim, lead_dim)
    layout = Layout(
        domain=domain, case_dim=case_dim, lead_dim=lead_dim, channels=channels, grid=grid
    )
    cases, left_out = _cases(stores, case_dim)
    true, cases, unverified = _verifying(known, first, cases, layout)
    left_out += unscored + unverified + beyond
    made = {}
    for name, store in stores.items():
        further = foreign.require_same(store, names, channels, sources[name])
        left_out += further if name == "model" else ()
        cells, _ = foreign.places(store, known, space, sources[name])
        part = store[names].isel({dim: foreign.span(order) for dim, order in cells.items()})
        part = _taken(part, case_dim, cases, sources[name])
        if lead_dim in first.dims:
            part = _taken(part, lead_dim, first[lead_dim].values, sources[name])
        conversions = foreign.conversions(store[names], known, sources[name])
        made[name] = layout.values(part, conversions)
    for name in made:
        unstated = foreign.unstated(stores[name][names], known)
        require_alike(made[name], true, channels, unstated, sources[name])
    hours, unit = _leads(first, lead_dim)
    return Aligned(
        forecasts=made,
        truth=true,
        channels=channels,
        grid=grid,
        leads=hours,
        lead_unit=unit,
        keys=tuple(_key(case) for case in cases),
        sources=sources | {"truth": "truth" if isinstance(truth, xr.Dataset) else str(truth)},
        left_out=left_out,
    )


def _source(name: str, given: Path | str | xr.Dataset) -> str:
    """Where a forecast lies; a file of any tool is taken as it is."""
    if isinstance(given, xr.Dataset):
        return name
    return str(given) if Path(given).is_file() else str(store_of(given))


def _taken(ds: xr.Dataset, dim: str, wanted: np.ndarray, source: str) -> xr.Dataset:
    """Those items of an axis, in their order."""
    place = {value: number for number, value in enumerate(ds[dim].values.tolist())}
    lacking = [value for value in wanted.tolist() if value not in place]
    if lacking:
        raise DataError(
            f"{source}: lacks {len(lacking)} of {len(wanted)} items of {dim}; give one that has "
            "them, or leave them out with `--leads`"
        )
    return ds.isel({dim: foreign.span(np.array([place[v] for v in wanted.tolist()]))})


def _with_leads(ds: xr.Dataset, lead_dim: str, leads: Sequence[float], source: str) -> xr.Dataset:
    """The forecast at some leads."""
    if not leads:
        return ds
    there, unit = _leads(ds, lead_dim)
    lacking = [lead for lead in leads if there is None or lead not in there]
    if there is None or lacking:
        known = "none" if there is None else ", ".join(f"{lead:g}" for lead in there)
        raise DataError(
            f"{source}: has no lead {', '.join(f'{lead:g}' for lead in lacking)}; "
            f"it has {known} {unit}".rstrip()
        )
    return ds.isel({lead_dim: foreign.span(np.array([there.index(lead) for lead in leads]))})


def _declared(known: xr.Dataset, missing: str) -> xr.Dataset:
    """The truth with what its NaN mean, where it does not say."""
    if missing == "forbidden":
        return known
    return known.assign(
        {
            name: values.assign_attrs(missing=values.attrs.get("missing", missing))
            for name, values in known.data_vars.items()
        }
    )


def _truth(truth: Path | str | xr.Dataset, domain: Domain, lead_dim: str) -> xr.Dataset:
    """The truth under our names: by valid time, or laid out as a forecast."""
    if isinstance(truth, xr.Dataset) or Path(truth).exists():
        found = forecast_files.opened(truth if isinstance(truth, xr.Dataset) else Path(truth))
        laid_out = any(
            name in found.dims for name in (LEAD, "lead_time", "step", "forecast_period")
        )
        if laid_out or (lead_dim == "time" and "sample" in found.dims):
            members = [str(dim) for dim in found.dims if dim in foreign.MEMBER]
            if any(found.sizes[dim] > 1 for dim in members):
                raise DataError(
                    f"the truth has {found.sizes[members[0]]} members ({members[0]}); a truth is "
                    "one field a time: select one of them, and save it again"
                )
            return foreign.canonical(found, "truth") if laid_out else found
        if isinstance(truth, xr.Dataset):
            entry = Entry(name="truth", source=Source(path="truth"))
            read = domain.canonical(found, entry)
            return read.rename(renaming(read, "wb2", unit_absent=None)[0])
        found.close()
    entry = load_entry(str(truth), (Path.cwd(),))
    read = domain.canonical(open_raw(entry), entry)
    known, _ = renaming(read, "wb2", unit_absent=None)
    return read.rename(known)


def _labels(
    known: xr.Dataset, domain: Domain, case_dim: str, lead_dim: str
) -> tuple[tuple[Channel, ...], Grid]:
    """Channels and grid, from one frame of the truth."""
    frame = known.isel({dim: [0] for dim in (case_dim, "time") if dim in known.dims})
    if lead_dim in frame.dims and lead_dim != "time":
        frame = frame.isel({lead_dim: 0}, drop=True)
    frame = frame.drop_vars([name for name in ("valid_time", "number") if name in frame.coords])
    entry = Entry(name="truth", source=Source(path="truth"))
    attributes = {k: v for k, v in frame.attrs.items() if isinstance(v, str)}
    # Gaps are told where scores are made, with case and lead.
    plain = domain.canonical(frame.load().fillna(0.0).assign_attrs(attributes), entry)
    fields = domain.fields(plain, "truth")
    return fields.channels, fields.grid


def _cases(stores: Mapping[str, xr.Dataset], case_dim: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Those that all forecasts have, by date or in the order of the first, and what is left out."""
    first = stores["model"][case_dim].values
    shared = np.ones(len(first), dtype=bool)
    told: tuple[str, ...] = ()
    for name, store in stores.items():
        has = np.isin(first, store[case_dim].values)
        if not has.all():
            told += (f"{(~has).sum()} of {len(first)} cases are not there in {name}",)
            log.warning("%s: %d of %d cases are not there", name, (~has).sum(), len(first))
        shared &= has
    if not shared.any():
        raise DataError("no case is in all forecasts; give forecasts of the same starts")
    # Blocks of neighbouring cases are drawn for intervals: neighbours must follow in time.
    return np.sort(first[shared]) if case_dim == "time" else np.asarray(first[shared]), told


def _verifying(
    known: xr.Dataset, first: xr.Dataset, cases: np.ndarray, layout: Layout
) -> tuple[Values, np.ndarray, tuple[str, ...]]:
    """The truth of the cases that have one, those cases, and what is left out."""
    case_dim, lead_dim = layout.case_dim, layout.lead_dim
    laid_out = case_dim == "sample" or LEAD in known.dims
    rows = np.zeros((len(cases), 1), dtype=np.int64)
    if laid_out:
        has = np.asarray(np.isin(cases, known[case_dim].values))
        if lead_dim in first.dims:
            there = np.isin(first[lead_dim].values, known[lead_dim].values)
            if not there.all():
                raise DataError(f"the truth lacks {int((~there).sum())} of {len(there)} leads")
    else:
        place = {stamp: number for number, stamp in enumerate(known["time"].values)}
        valid = _valid(cases, first)
        rows = np.array([[place.get(stamp, -1) for stamp in line] for line in valid])
        has = np.asarray((rows >= 0).all(axis=1))
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
    part = _taken(known, case_dim, cases, "the truth")
    if lead_dim in first.dims:
        part = _taken(part, lead_dim, first[lead_dim].values, "the truth")
    return layout.values(part), cases, told


def _valid(cases: np.ndarray, first: xr.Dataset) -> np.ndarray:
    """Valid time of each case and lead."""
    if LEAD not in first.dims:
        return cases[:, None]
    leads = first[LEAD].values
    # Dates of a calendar of their own are objects, which take differences of Python's.
    leads = leads.astype("m8[us]").astype(object) if cases.dtype == "O" else leads
    return np.asarray(cases[:, None] + leads)


def _leads(first: xr.Dataset, lead_dim: str) -> tuple[tuple[float, ...] | None, str]:
    if lead_dim not in first.dims:
        return None, ""
    values = first[lead_dim].values
    if values.dtype.kind == "m":
        return tuple((values / np.timedelta64(1, "h")).astype(float).tolist()), "h"
    return tuple(float(v) for v in values), str(first[lead_dim].attrs.get("units", "1"))


def _key(case: object) -> str:
    if isinstance(case, cftime.datetime):
        return str(case.isoformat())
    return str(case.astype("datetime64[s]")) if isinstance(case, np.datetime64) else str(case)

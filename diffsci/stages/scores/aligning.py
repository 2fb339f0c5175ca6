"""Forecasts and truth laid side by side: the same cases, leads and cells, read block by block."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cftime
import numpy as np
import xarray as xr

from diffsci import families
from diffsci.data.catalog import MISSING, Entry, Source
from diffsci.data.checks.problems import Problem, Report
from diffsci.data.domains.base import Domain
from diffsci.data.fields import Channel
from diffsci.errors import ConfigError, DataError
from diffsci.evaluation.blocks import Values
from diffsci.forecasting.store.views import store_of
from diffsci.grid import Grid
from diffsci.stages.scores import (
    areas,
    axis_labels,
    cells,
    fills,
    forecast_files,
    foreign,
    lexicon,
    matching,
    truths,
    valid_times,
    verticals,
)
from diffsci.stages.scores.alike import require_alike
from diffsci.stages.scores.forecast_files import Given, is_held
from diffsci.stages.scores.starts import LEAD
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
    forecast: Given,
    truth: Given | str,
    baselines: Mapping[str, Given] | None = None,
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
        ConfigError: For a path that is not there, a lead that is named twice, or a baseline that is
            called as the forecast or the truth is.
        DataError: For another grid, other units, or no case in common.
        StorageError: When something cannot be opened.
    """
    if missing not in MISSING:
        raise ConfigError(f"missing: got {missing!r}, expected {', '.join(MISSING)}")
    for name in {"model", "truth"} & set(baselines or {}):
        raise ConfigError(f"baselines: {name} is the name of another row; give it one of its own")
    every = {"model": forecast, **(baselines or {})}
    sources = {name: _source(name, given) for name, given in every.items()}
    found = {name: _opened(given, sources[name]) for name, given in every.items()}
    stores = {name: each.ds for name, each in found.items()}
    first, source = stores["model"], sources["model"]
    case_dim = "sample" if "sample" in first.dims else "time"
    lead_dim = "time" if case_dim == "sample" else LEAD
    first = stores["model"] = _with_leads(first, lead_dim, leads, source)
    axis_labels.require_ahead(first, lead_dim, source)
    domain: Domain = families.load("domains", "pde" if case_dim == "sample" else "weather")()
    known, told = truths.opened(truth, domain, lead_dim)
    if case_dim == "time":
        raw = {name: each.raw for name, each in found.items()}
        stores, known = lexicon.beside_levels(stores, known, raw, sources)
        first = stores["model"]
    names, unscored = foreign.shared_variables(first, known, source)
    known = truths.declared(known[names], missing)
    at, ours = verticals.of(known, "the truth"), verticals.of(first, source)
    known, at, level = verticals.taken(known, at, first, ours, ("the truth", source))
    flat = [name for name in names if "level" not in known[name].dims]
    unscored += told + found["model"].told + level + verticals.unsaid(ours, at, flat, first)
    space = tuple(dim for dim in cells.SPACE if dim in known[names[0]].dims)
    dims = (case_dim, "number", lead_dim, *space)
    whole = known = foreign.without_foreign_dims(known, known, dims, "the truth")
    known = cells.taken(known, cells.within(first, known, space, source))
    beyond = cells.beyond(known, whole, space)
    channels, grid = _labels(known, domain, case_dim, lead_dim)
    layout = Layout(
        domain=domain, case_dim=case_dim, lead_dim=lead_dim, channels=channels, grid=grid
    )
    if case_dim == "time":
        matching.require_one_calendar({sources[name]: s for name, s in stores.items()}, known)
    cases, left_out = matching.shared(stores, case_dim)
    values, cases, unverified = matching.verifying(known, first, cases, layout)
    true = fills.Watched(values=values, name="the truth", channels=channels)
    beyond += _gaps(true, channels)
    for each in beyond:
        log.warning("%s: scored without the others", each)
    left_out += unscored + unverified + beyond
    made = {}
    for name, store in stores.items():
        store = verticals.like(store, known, at, sources[name])
        beside = foreign.require_same(store, names, channels, sources[name])
        left_out += beside if name == "model" else ()
        part = foreign.without_foreign_dims(store, known, dims, sources[name])
        part = cells.taken(part, cells.covering(store, known, space, sources[name]))
        part = matching.taken(part, case_dim, cases, sources[name])
        if lead_dim in first.dims:
            part = matching.taken(part, lead_dim, first[lead_dim].values, sources[name])
        elif lead_dim in store.dims:
            raise DataError(
                f"{sources[name]}: has leads, and {source} has none: say which that is, as "
                f"`ds.expand_dims({lead_dim}=[np.timedelta64(6, 'h')])`"
            )
        conversions = foreign.conversions(store[names], known, sources[name])
        made[name] = fills.Watched(
            values=layout.values(part, conversions),
            name=sources[name],
            channels=channels,
            conversions=fills.by_channel(channels, conversions),
            ranges=true.ranges,
        )
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
        sources=sources | {"truth": "truth" if is_held(truth) else str(truth)},
        left_out=left_out,
    )


class _Found(NamedTuple):
    """A forecast that is there.

    Args:
        ds: Under our names.
        told: What of its file is not scored, or not used.
        raw: Names of its variables in the file.
    """

    ds: xr.Dataset
    told: tuple[str, ...]
    raw: frozenset[str]


def _opened(given: Given, source: str) -> _Found:
    found = lexicon.split(forecast_files.opened(given if is_held(given) else Path(source)), source)
    laid_out, lacking = valid_times.by_start(found, source)
    raw = frozenset(map(str, found.data_vars))
    return _Found(foreign.canonical(laid_out, source), lacking + areas.told(found, source), raw)


def _source(name: str, given: Given | str) -> str:
    """Where a forecast lies; a file of any tool is taken as it is."""
    if isinstance(given, xr.Dataset | xr.DataArray):
        return name
    return str(given) if Path(given).is_file() else str(store_of(given))


def _gaps(true: Values, channels: tuple[Channel, ...]) -> tuple[str, ...]:
    """Cells without a truth at any time, as the first field that is scored tells.

    `Counted` refuses others that lack more, or fewer.
    """
    found = []
    first = (slice(0, 1), slice(0, 1))
    for number, channel in enumerate(channels):
        if channel.missing == "static":
            empty = np.isnan(true.read(*first, number))
            if empty.any():
                found.append(
                    f"{channel.name} has no truth in {int(empty.sum()):,} of {empty.size:,} cells"
                )
    return tuple(found)


def _with_leads(ds: xr.Dataset, lead_dim: str, leads: Sequence[float], source: str) -> xr.Dataset:
    """The forecast at some leads."""
    if not leads:
        return ds
    twice = sorted({f"{lead:g}" for lead in leads if list(leads).count(lead) > 1})
    if twice:
        raise ConfigError(
            f"--leads: has {', '.join(twice)} twice, which would count twice; name each once"
        )
    there, unit = _leads(ds, lead_dim)
    lacking = [lead for lead in leads if there is None or lead not in there]
    if there is None or lacking:
        known = "none" if there is None else ", ".join(f"{lead:g}" for lead in there)
        raise DataError(
            f"{source}: has no lead {', '.join(f'{lead:g}' for lead in lacking)}; "
            f"it has {known} {unit}".rstrip()
        )
    return ds.isel({lead_dim: cells.span(np.array([there.index(lead) for lead in leads]))})


def _labels(
    known: xr.Dataset, domain: Domain, case_dim: str, lead_dim: str
) -> tuple[tuple[Channel, ...], Grid]:
    """Channels and grid, from one frame of the truth."""
    frame = known.isel({dim: [0] for dim in (case_dim, "time") if dim in known.dims})
    if lead_dim in frame.dims and lead_dim != "time":
        frame = frame.isel({lead_dim: 0}, drop=True)
    frame = verticals.without(frame)
    frame = frame.drop_vars([name for name in ("valid_time", "number") if name in frame.coords])
    entry = Entry(name="truth", source=Source(path="truth"))
    attributes = {k: v for k, v in frame.attrs.items() if isinstance(v, str)}
    # Gaps are told where scores are made, with case and lead.
    problems: list[Problem] = []
    report = Report("truth", problems)
    plain = domain.canonical(frame.load().fillna(0.0).assign_attrs(attributes), entry, report)
    fields = domain.fields(plain, "truth", report)
    # That it is a single state, say, is no news of the user's file.
    for problem in problems:
        if not problem.warning:
            raise truths.refused(problem)
    return fields.channels, fields.grid


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

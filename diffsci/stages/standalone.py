"""Scores of forecasts that are there, whoever made them, against a truth that is there.

    diffsci score FORECAST --truth PATH --baseline PATH --out DIR

The truth is an analysis by valid time, or a store of the forecast's own layout (a run's
`truth.zarr`). Cases whose truth is not all there are left out, and counted in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from diffsci import families
from diffsci.data.catalog import Entry, Source, load_entry
from diffsci.data.domains.base import Domain
from diffsci.data.fields import Channel
from diffsci.data.reader import open_raw
from diffsci.errors import DataError
from diffsci.evaluation.canvas import Results
from diffsci.evaluation.cases_file import write_cases
from diffsci.evaluation.plots import figures
from diffsci.evaluation.report import write_report
from diffsci.evaluation.scores.base import Score
from diffsci.evaluation.table import Scores, evaluate
from diffsci.forecasting.names import renaming
from diffsci.forecasting.views import store_of
from diffsci.grid import Grid
from diffsci.sections import Evaluate
from diffsci.stages import foreign
from diffsci.stages.foreign import LEAD

log = logging.getLogger(__name__)

DEFAULT = ("crps", "rmse", "bias", "spread_skill", "rank_histogram", "coverage", "spectrum")


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Forecasts and truth as arrays, case by case.

    Args:
        forecasts: Name -> members, in the truth's units; `model` first.
        truth: Of the same cases, leads and cells.
        channels: What each channel is.
        grid: Where the values sit.
        leads: Hours, or the unit of a simulation's time; none without leads.
        lead_unit: Of those.
        keys: Name of each case.
    """

    forecasts: Mapping[str, np.ndarray]
    truth: np.ndarray
    channels: tuple[Channel, ...]
    grid: Grid
    leads: tuple[float, ...] | None
    lead_unit: str
    keys: tuple[str, ...]


def score(
    forecast: Path,
    truth: Path | str,
    out: Path,
    *,
    baselines: Sequence[Path] = (),
    scores: Sequence[str] = (),
    seed: int = 0,
) -> Scores:
    """Write `scores.csv`, `scores.json`, `figures/` and `report.html` into a folder.

    Args:
        forecast: Store, file, or run folder.
        truth: Path or catalog entry.
        out: The folder.
        baselines: Forecasts of the same cases; a row of the table for each, named as the file.
        scores: Words of the family; empty takes the usual ones.
        seed: Of the bootstrap resamples.

    Raises:
        ConfigError: For an unknown score.
        DataError: For another grid, other units, or no case in common.
        StorageError: When something is not there, or cannot be written.
    """
    section = Evaluate(scores=(), baselines=())
    measures = tuple[Score, ...](families.load("scores", word)() for word in scores or DEFAULT)
    aligned = align(forecast, truth, baselines)
    found = evaluate(
        aligned.forecasts,
        aligned.truth,
        channels=aligned.channels,
        grid=aligned.grid,
        leads=aligned.leads,
        scores=measures,
        resamples=section.resamples,
        confidence=section.confidence,
        seed=seed,
        keys=aligned.keys,
    )
    out.mkdir(parents=True, exist_ok=True)
    found.write(out)
    write_cases(out, found, aligned.keys)
    results = Results(
        forecasts=aligned.forecasts,
        truth=aligned.truth,
        given=None,
        channels=aligned.channels,
        grid=aligned.grid,
        leads=aligned.leads,
        lead_unit=aligned.lead_unit,
        keys=aligned.keys,
        labels=None,
    )
    drawn = figures(out / "figures", results, found)
    cases, members = aligned.forecasts["model"].shape[:2]
    inputs = {"forecast": str(forecast), "truth": str(truth)}
    inputs |= {f"baseline {name}": name for name in list(aligned.forecasts)[1:]}
    write_report(
        out / "report.html",
        title=f"Scores of {Path(forecast).name}",
        summary=f"{members} members of {cases} cases, {aligned.keys[0]} to {aligned.keys[-1]}, "
        f"against {Path(truth).name}.",
        scores=found,
        figures=drawn,
        config="\n".join(f"{key}: {value}" for key, value in inputs.items()),
        provenance={"Inputs": dict(inputs)},
        lead_unit=aligned.lead_unit,
    )
    return found


def align(forecast: Path, truth: Path | str, baselines: Sequence[Path] = ()) -> Aligned:
    """Forecasts and truth, of the cases that all of them have."""
    paths = {"model": Path(store_of(forecast))}
    paths |= {Path(path).stem: Path(store_of(path)) for path in baselines}
    stores = {
        name: foreign.canonical(foreign.opened(path), str(path)) for name, path in paths.items()
    }
    first = stores["model"]
    case_dim = "sample" if "sample" in first.dims else "time"
    lead_dim = "time" if case_dim == "sample" else LEAD
    domain: Domain = families.load("domains", "pde" if case_dim == "sample" else "weather")()
    known = _truth(truth, domain, lead_dim)
    names = foreign.shared_variables(first, known, str(paths["model"]))
    space = tuple(d for d in ("latitude", "longitude", "z", "y", "x") if d in first[names[0]].dims)
    ours, theirs = foreign.places(first, known, space, str(paths["model"]))
    known = known[names].isel(theirs)
    channels, grid = _labels(known, domain, case_dim, lead_dim)
    cases = _cases(stores, case_dim)
    known, cases = _verifying(known, first, cases, case_dim, lead_dim)
    made = {}
    for name, store in stores.items():
        source = str(paths[name])
        missing = [word for word in names if word not in store.data_vars]
        if missing:
            raise DataError(f"{source}: lacks {', '.join(missing)}; leave it out of --baseline")
        cells, _ = foreign.places(store, known, space, source)
        part = foreign.in_units_of(store[names].isel(cells).sel({case_dim: cases}), known, source)
        if lead_dim in first.dims:
            part = part.sel({lead_dim: first[lead_dim]})
        made[name] = domain.unlabel(part, channels, grid)
    leads, unit = _leads(first, lead_dim)
    return Aligned(
        forecasts=made,
        truth=domain.unlabel(known, channels, grid)[:, 0],
        channels=channels,
        grid=grid,
        leads=leads,
        lead_unit=unit,
        keys=tuple(_key(case) for case in cases),
    )


def _truth(truth: Path | str, domain: Domain, lead_dim: str) -> xr.Dataset:
    """The truth under our names: by valid time, or laid out as a forecast."""
    path = Path(truth)
    if path.exists():
        found = foreign.opened(path)
        if lead_dim == "time" and "sample" in found.dims:
            return found
        if any(name in found.dims for name in (LEAD, "lead_time", "step", "forecast_period")):
            return foreign.canonical(found, str(truth))
        found.close()
    entry = load_entry(str(truth), (Path.cwd(),))
    read = domain.canonical(open_raw(entry), entry)
    known, _ = renaming(read, "wb2")
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
    plain = domain.canonical(frame.load().assign_attrs(attributes), entry)
    fields = domain.fields(plain, "truth")
    return fields.channels, fields.grid


def _cases(stores: Mapping[str, xr.Dataset], case_dim: str) -> np.ndarray:
    """Those that all forecasts have, in the order of the first."""
    first = stores["model"][case_dim].values
    shared = np.ones(len(first), dtype=bool)
    for name, store in stores.items():
        has = np.isin(first, store[case_dim].values)
        if not has.all():
            log.warning("%s: %d of %d cases are not there", name, (~has).sum(), len(first))
        shared &= has
    if not shared.any():
        raise DataError("no case is in all forecasts; give forecasts of the same starts")
    return np.asarray(first[shared])


def _verifying(
    known: xr.Dataset, first: xr.Dataset, cases: np.ndarray, case_dim: str, lead_dim: str
) -> tuple[xr.Dataset, np.ndarray]:
    """The truth of the cases that have one, laid out as the forecasts, and those cases."""
    laid_out = case_dim == "sample" or LEAD in known.dims
    if laid_out:
        has = np.asarray(np.isin(cases, known[case_dim].values))
        if lead_dim in first.dims:
            there = np.isin(first[lead_dim].values, known[lead_dim].values)
            if not there.all():
                raise DataError(f"the truth lacks {int((~there).sum())} of {len(there)} leads")
    else:
        place = {stamp: number for number, stamp in enumerate(known["time"].values)}
        leads = first[LEAD].values if LEAD in first.dims else np.zeros(1, "timedelta64[ns]")
        valid = cases[:, None] + leads
        rows = np.array([[place.get(stamp, -1) for stamp in line] for line in valid])
        has = np.asarray((rows >= 0).all(axis=1))
    if not has.any():
        raise DataError(
            f"the truth has none of the valid times of the forecasts, which start at {cases[0]}; "
            f"it reaches to {known['time'].values[-1]}"
        )
    if not has.all():
        log.warning(
            "%d of %d cases are left out, whose truth is not all there", (~has).sum(), len(has)
        )
    cases = cases[has]
    if laid_out:
        part = known.sel({case_dim: cases})
        return (part.sel({lead_dim: first[lead_dim]}) if lead_dim in first.dims else part), cases
    taken = known.isel(time=xr.DataArray(rows[has], dims=("case", LEAD))).drop_vars("time")
    taken = taken.rename(case="time").assign_coords(time=cases)
    if LEAD in first.dims:
        return taken.assign_coords({LEAD: first[LEAD].values}), cases
    return taken.isel({LEAD: 0}, drop=True), cases


def _leads(first: xr.Dataset, lead_dim: str) -> tuple[tuple[float, ...] | None, str]:
    if lead_dim not in first.dims:
        return None, ""
    values = first[lead_dim].values
    if values.dtype.kind == "m":
        return tuple((values / np.timedelta64(1, "h")).astype(float).tolist()), "h"
    return tuple(float(v) for v in values), str(first[lead_dim].attrs.get("units", "1"))


def _key(case: object) -> str:
    return str(case.astype("datetime64[s]")) if isinstance(case, np.datetime64) else str(case)

"""Weather and climate on latitude and longitude: canonical by coordinates, never by position.

Canonical is: time, [level,] latitude ascending, longitude ascending within 0..360. A box across
Greenwich keeps continuous longitudes instead, such as -10..20. A global box is periodic in
longitude, and its outermost latitudes touch the poles where their cells reach them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data import choosing, forecast_layout, stacking
from diffsci.data.canonical import accumulations, axes, edges, globe, levels, places, projected
from diffsci.data.canonical import times as stamps
from diffsci.data.canonical.names import NAMES
from diffsci.data.canonical.time_axis import decoded, ordered, tell_gaps
from diffsci.data.canonical.units import conversion
from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report
from diffsci.data.domains.base import Domain
from diffsci.data.examples import around
from diffsci.data.fields import Cases, Channel, Fields
from diffsci.errors import ConfigError, require
from diffsci.families import did_you_mean
from diffsci.grid import Boundary, Grid

_SPACE = ("latitude", "longitude")
_COMPONENT = re.compile(r"[uv]([-_]?\d+m?|wnd|[-_]?wind|as?|[-_]component.*)?$", re.IGNORECASE)
"""Usual names of the wind to the east and the north: u, v10, uwnd, vas, u-component_of_wind."""


@dataclass(frozen=True, kw_only=True)
class Weather(Domain):
    """Fields on latitude and longitude, with dates and optional pressure levels.

    Args:
        forcings: What the network is given of each valid time: `hour_of_day` and `day_of_year` as
            waves, `solar_zenith` as the cosine of the zenith angle, 0 at night; and of each place:
            `latitude` as its sine, `longitude` as waves, or a variable of `statics`.
        statics: Entry or path of a data set with fields that are the same at all times, such as an
            orography or a land mask.
    """

    forcings: tuple[str, ...] = ()
    statics: str | None = None

    def __post_init__(self) -> None:
        layers = around.layer_names(self.forcings)
        if layers and self.statics is None:
            hint = did_you_mean(layers[0], around.names())
            raise ConfigError(
                f"forcings: got {layers[0]!r}, expected {', '.join(around.names())}, or a variable "
                f"of a data set that `statics` names{hint}"
            )
        if self.statics is not None and not layers:
            raise ConfigError(
                f"statics: got {self.statics!r}, and `forcings` names none of its variables; name "
                "them there, or leave it out"
            )
        twice = len(set(self.forcings)) < len(self.forcings)
        require(not twice, "forcings", self.forcings, "each of them once")

    def canonical(
        self,
        raw: xr.Dataset,
        entry: Entry,
        report: Report | None = None,
        variables: tuple[str, ...] = (),
    ) -> xr.Dataset:
        """See `Domain.canonical`: dims time, [level,] latitude, longitude; or y, x, projected."""
        report = report or Report(entry.location)
        whole = places.unrotated(places.still(axes.renamed(raw, entry, report), report))
        ds, space = _laid_out(axes.narrowed(whole, entry, variables), whole, report)
        ds = axes.promoted(ds)
        kinds = {kind: axes.find(ds, kind, report) for kind in ("time", "level")}
        kinds |= {
            kind: kind if space == projected.SPACE else axes.find(ds, kind, report)
            for kind in space
        }
        if kinds["level"] not in ds.dims:
            kinds["level"] = None
        ds = axes.settle(ds, kinds)
        self._require_axes(ds, space, entry, report)
        needed = ("time", *space) if "time" in ds.dims else space
        names = choosing.choose(ds, entry, needed, report, variables)
        if "time" not in ds.dims:
            ds = ds.assign({n: ds[n].expand_dims("time") for n in names})
        ds = axes.squeeze_foreign(ds[names], names, ("time", "level", *space), report)
        keep = ("time", "level", *space, *(projected.COORDINATES if space != _SPACE else ()))
        ds = ds.drop_vars([name for name in ds.coords if name not in keep])
        ds = ordered(decoded(ds, entry, report, dates=True), report)
        if space == _SPACE:
            ds = globe.longitudes(globe.latitudes(ds, report), report)
        if "level" in ds.dims:
            ds = levels.canonical(ds, str(kinds["level"]), report)
        ds = accumulations.resolved(ds, names, entry, report)
        # Assigned one by one: a variable without levels stays without.
        for name in names:
            ds[name] = stacking.in_units(ds[name], name, entry, report)
        ds = ds.transpose("time", "level", *space, missing_dims="ignore")
        ds.attrs = {"boundary": edges.told(raw, entry, space, report)}
        return ds

    def _require_axes(
        self, ds: xr.Dataset, space: tuple[str, ...], entry: Entry, report: Report
    ) -> None:
        """Refuse data without places or times."""
        have = ", ".join(map(str, ds.dims))
        flat = [d for d in ds.dims if str(projected.told(ds, d)).startswith("projection_")]
        for kind in space:
            if kind in ds.coords and kind in ds.dims:
                continue
            fix = (
                "write latitude and longitude over both dims into the file, such as by pyproj or "
                "cdo, since they are computed of rotated poles alone"
                if flat
                else f"name it under `rename:` in {entry.yaml}, such as `{kind[:3]}_0: {kind}`"
            )
            report.stop(
                "axis-missing",
                f"no {kind} coordinate among the dims {have}",
                f"{fix}; or read a simulation by `domain: pde`",
                coordinate=kind,
            )
        odd = [str(n) for n, v in ds.variables.items() if set(v.dims) & set(space)]
        moving = [name for name in odd if name.lower() in NAMES["time"]]
        if moving and "time" not in ds.dims:
            along = ", ".join(map(str, ds[moving[0]].dims))
            report.stop(
                "axis-missing",
                f"{moving[0]} lies along {along} of the places: swaths or tracks, expected maps, "
                "each at one time",
                "put them on a grid that stays, such as the mean of each day in each cell, with a "
                "dim time",
                coordinate="time",
            )
        if "time" not in ds.coords:
            rest = [str(d) for d in ds.dims if d not in (*space, "level")]
            report.stop(
                "axis-missing",
                f"no time coordinate among {have}",
                f"name it under `rename:` in {entry.yaml}, such as `{(rest or ['T'])[0]}: time`",
                coordinate="time",
            )

    def fields(self, canonical: xr.Dataset, source: str, report: Report | None = None) -> Fields:
        """See `Domain.fields`: one trajectory; levels are channels."""
        report = report or Report(source)
        space = _SPACE if "latitude" in canonical.dims else projected.SPACE
        values, channels = stacking.gather(canonical, ("sample", "time"), "level", space, report)
        times = stamps.canonical_stamps(canonical["time"].values)
        _, breaks = stamps.regular_step(times)
        tell_gaps(times, breaks, report)
        grid = _grid(canonical, report)
        _tell_vectors(channels, grid, report)
        return Fields(
            values=values,
            channels=channels,
            grid=grid,
            trajectories=np.zeros(1, dtype=np.int64),
            times=times,
            breaks=breaks,
            source=source,
        )

    def cases(self, fields: Fields, rows: np.ndarray, leads: tuple[int, ...]) -> Cases:
        """See `Domain.cases`: the key of a case is its time."""
        times = fields.times[rows[:, 1]]
        step, _ = stamps.regular_step(fields.times)
        return Cases(
            rows=rows.astype(np.int64),
            keys=tuple(stamps.name(stamp) for stamp in times),
            trajectories=fields.trajectories[rows[:, 0]],
            times=times,
            leads=leads,
            step=step if leads else None,
            stamps=fields.times,
        )

    def label(
        self,
        values: Float[np.ndarray, "case member lead channel *space"],
        cases: Cases,
        channels: tuple[Channel, ...],
        grid: Grid,
        members: np.ndarray | None,
        time_unit: str = "",
    ) -> xr.Dataset:
        """See `Domain.label`: time, number, prediction_timedelta, [level,] latitude, longitude."""
        case_dim = "time" if len(cases.times) else "sample"
        ds = forecast_layout.build(
            values, cases, channels, grid, members, (case_dim, "prediction_timedelta", "level")
        )
        if case_dim == "sample":
            return ds.assign_coords(sample=("sample", cases.trajectories, {"long_name": "sample"}))
        standard = "forecast_reference_time" if cases.leads else "time"
        ds = ds.assign_coords(
            time=("time", cases.times, {"standard_name": standard, "axis": "T"}),
        )
        if not cases.leads:
            return ds
        step = cases.step
        assert isinstance(step, np.timedelta64)
        lead = np.array([step * n for n in cases.leads]).astype("timedelta64[ns]")
        told = {"standard_name": "forecast_period", "long_name": "time since initialisation"}
        if stamps.months_of(step, cases.times[0]):
            told["comment"] = "steps are calendar months, as mean months here; see valid_time"
        return ds.assign_coords(
            prediction_timedelta=("prediction_timedelta", lead, told),
            valid_time=(("time", "prediction_timedelta"), cases.valid(), {"standard_name": "time"}),
        )

    def unlabel(
        self, dataset: xr.Dataset, channels: tuple[Channel, ...], grid: Grid
    ) -> Float[np.ndarray, "case member lead channel *space"]:
        """See `Domain.unlabel`."""
        case_dim = "sample" if "sample" in dataset.dims else "time"
        order = (case_dim, "number", "prediction_timedelta")
        return stacking.collect(dataset, channels, order, "level", grid.dims)


def _tell_vectors(channels: tuple[Channel, ...], grid: Grid, report: Report) -> None:
    """Warn of winds that nothing marks as components, on grids where their sign matters."""
    if not any("pole" in sides for sides in grid.boundary):
        return
    likely = {
        channel.variable
        for channel in channels
        if _COMPONENT.match(channel.variable) and conversion(channel.unit, "m s-1") is not None
        if not channel.variable_attributes.keys() & {"vector", "standard_name"}
    }
    for name in sorted(likely):
        report.add(
            "vector",
            "looks like a component of the wind, whose sign changes across a pole; nothing says so",
            f"write `variables: {{{name}: {{vector: true}}}}` in the entry, or `vector: false`",
            variable=name,
        )


def _laid_out(
    ds: xr.Dataset, whole: xr.Dataset, report: Report
) -> tuple[xr.Dataset, tuple[str, ...]]:
    """With its dims of space, and which these are."""
    if not all(axes.find(ds, kind, report) in ds.dims for kind in _SPACE):
        ds = places.rectilinear(ds)
        flat = projected.laid_out(ds, whole, report)
        if flat is not None:
            return flat, projected.SPACE
    return ds, _SPACE


def _grid(ds: xr.Dataset, report: Report) -> Grid:
    if "latitude" not in ds.dims:
        flat = edges.grid(ds, projected.SPACE, ds.attrs["boundary"], report)
        return replace(flat, places=projected.places(ds))
    latitude, longitude = (np.asarray(ds[dim].values, dtype=np.float64) for dim in _SPACE)
    around = globe.closes(longitude)
    # Regular rows end on the pole or half a cell off, Gaussian ones somewhat farther: a row more
    # would lie on the pole or beyond it.
    first, last = np.diff(latitude)[[0, -1]] * 1.001 if len(latitude) > 1 else (0.0, 0.0)
    south: Boundary = "pole" if around and latitude[0] - first <= -90 else "open"
    north: Boundary = "pole" if around and latitude[-1] + last >= 90 else "open"
    side: Boundary = "periodic" if around else "open"
    sides: dict[str, tuple[Boundary, Boundary]] = {
        "latitude": (south, north),
        "longitude": (side, side),
    }
    return edges.grid(ds, _SPACE, sides | ds.attrs["boundary"], report, "sphere")

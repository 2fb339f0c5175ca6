"""Trajectories of partial differential equations: sample, time and one to three space dims.

What lies beyond each edge comes from the entry or from the file's attribute `boundary`; without
either an edge is open. Numbers per trajectory are its physical parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data import choosing, forecast_layout, stacking
from diffsci.data.canonical import axes, edges
from diffsci.data.canonical import times as stamps
from diffsci.data.canonical.time_axis import decoded, ordered, tell_gaps
from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report
from diffsci.data.domains.base import Domain
from diffsci.data.fields import Cases, Channel, Fields
from diffsci.grid import Grid

_TAKEN = ("sample", "trajectory", "start_time", "time", "number", "label", "component")
"""Names that mean something else in the forecast store; a parameter called so gets a prefix."""


@dataclass(frozen=True, kw_only=True)
class Pde(Domain):
    """Simulated trajectories in one to three space dims, with parameters and boundaries.

    Args:
        log: Parameters, all above 0, that the network is given by their logarithm: those whose
            ratios matter, as of a viscosity that spans decades.
    """

    log: tuple[str, ...] = ()

    def canonical(
        self,
        raw: xr.Dataset,
        entry: Entry,
        report: Report | None = None,
        variables: tuple[str, ...] = (),
    ) -> xr.Dataset:
        """See `Domain.canonical`: dims sample, time, [z, y,] x; parameters along sample."""
        report = report or Report(entry.location)
        ds = axes.narrowed(axes.renamed(raw, entry, report), entry, variables)
        ds = axes.settle(axes.promoted(ds), _axes(axes.promoted(ds), report))
        ds = _split_components(ds)
        space = self._space(ds, variables or tuple(entry.variables), entry, report)
        names = choosing.choose(ds, entry, space, report, variables)
        parameters = [
            str(n)
            for n, v in ds.data_vars.items()
            if v.dims == ("sample",) and v.dtype.kind in "fiu"
        ]
        times = ds["time"].attrs if "time" in ds.coords else {}
        ds = ds[[*names, *parameters]]
        ds = axes.squeeze_foreign(ds, names, ("sample", "time", *space), report)
        ds = _with_lead_dims(ds)
        if ds.sizes["sample"] == ds.sizes["time"] == 1:
            report.add(
                "one-state",
                f"its dims {', '.join(space)} are taken for space, and there is one state alone",
                f"if one of them is time or counts samples, write `rename: {{{space[0]}: time}}`, "
                f"say, in {entry.yaml}",
            )
        ds = ordered(decoded(ds, entry, report, dates=False), report)
        for dim in space:
            ds = _space_coordinate(ds, dim, report)
        for name in names:
            ds[name] = stacking.in_units(ds[name], name, entry, report, default="1")
        ds = ds.transpose("sample", "time", *space)
        ds.attrs = {
            "boundary": edges.told(raw, entry, space, report),
            "time_unit": _time_unit({**times, **ds["time"].attrs}, entry, report),
            "parameters": parameters,
            "space": space,
        }
        return ds

    def _space(
        self, ds: xr.Dataset, wanted: tuple[str, ...], entry: Entry, report: Report
    ) -> tuple[str, ...]:
        named = [ds[n] for n in wanted if n in ds.data_vars]
        fields = named or [v for v in ds.data_vars.values() if v.dtype.kind in "fiu"]
        if not fields:
            report.stop(
                "no-variables",
                f"no variable has numbers; there are {', '.join(map(str, ds)) or 'none'}",
                "fetch it anew; fields in a group need `engine: netcdf4` and "
                f"`open_kwargs: {{group: NAME}}` in {entry.yaml}",
            )
        longest = max(fields, key=lambda v: (v.ndim, v.size)).dims
        space = [str(d) for d in longest if d not in ("sample", "time") and ds.sizes[d] > 1]
        axes.require_known(ds, space, entry, report)
        if not 1 <= len(space) <= 3:
            report.stop(
                "dims",
                f"{len(space)} space dims ({', '.join(space) or 'none'}), expected 1 to 3",
                f"name them sample, time, z, y, x under `rename:` in {entry.yaml}",
            )
        order = {"z": 0, "y": 1, "x": 2}
        return tuple(sorted(space, key=lambda dim: order.get(dim, -1)))

    def fields(self, canonical: xr.Dataset, source: str, report: Report | None = None) -> Fields:
        """See `Domain.fields`: every trajectory shares the times."""
        report = report or Report(source)
        space = tuple(canonical.attrs["space"])
        values, channels = stacking.gather(
            canonical, ("sample", "time"), "component", space, report
        )
        times = stamps.canonical_stamps(canonical["time"].values)
        _, breaks = stamps.regular_step(times)
        tell_gaps(times, breaks, report)
        names = tuple(str(name) for name in canonical.attrs["parameters"])
        scalars = None
        if names:
            columns = [np.asarray(canonical[n].values, dtype=np.float64) for n in names]
            scalars = np.stack(columns, axis=1)
            for name, column in zip(names, columns, strict=True):
                bad = np.flatnonzero(~np.isfinite(column))
                if len(bad):
                    report.add(
                        "parameter-missing",
                        f"{len(bad)} trajectories have no value, the first is {bad[0]}",
                        "write the parameter of every trajectory, or leave those out",
                        variable=name,
                    )
        self._check_logs(names, scalars, report)
        return Fields(
            values=values,
            channels=channels,
            grid=edges.grid(canonical, space, canonical.attrs["boundary"], report),
            trajectories=np.asarray(canonical["sample"].values),
            times=times,
            breaks=breaks,
            time_unit=str(canonical.attrs["time_unit"]),
            scalars=scalars,
            scalar_names=names,
            scalar_logs=self.log,
            source=source,
        )

    def _check_logs(
        self, names: tuple[str, ...], scalars: np.ndarray | None, report: Report
    ) -> None:
        """Parameters whose logarithm is asked for are there, and above 0."""
        for name in self.log:
            if name not in names or scalars is None:
                there = ", ".join(names) or "none"
                report.stop(
                    "parameter-log",
                    f"data.domain.log asks for {name}, and the parameters are {there}",
                    "correct the name, or take it out of data.domain.log",
                )
            column = scalars[:, names.index(name)]
            bad = np.flatnonzero(column <= 0)
            if len(bad):
                report.add(
                    "parameter-log",
                    f"{len(bad)} trajectories have no logarithm of it, the first is {bad[0]} with "
                    f"{column[bad[0]]:g}, expected above 0",
                    "take it out of data.domain.log",
                    variable=name,
                )

    def cases(self, fields: Fields, rows: np.ndarray, leads: tuple[int, ...]) -> Cases:
        """See `Domain.cases`: the key of a case is its trajectory and its time."""
        trajectories, times = fields.trajectories[rows[:, 0]], fields.times[rows[:, 1]]
        step, _ = stamps.regular_step(fields.times)
        labels = {}
        if fields.scalars is not None:
            for number, name in enumerate(fields.scalar_names):
                word = f"parameter_{name}" if name in _TAKEN else name
                labels[word] = fields.scalars[rows[:, 0], number]
        return Cases(
            rows=rows.astype(np.int64),
            keys=tuple(
                f"sample={s},time={stamps.name(t)}"
                for s, t in zip(trajectories, times, strict=True)
            ),
            trajectories=trajectories,
            times=times,
            leads=leads,
            step=step if leads else None,
            labels=labels,
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
        """See `Domain.label`: sample, number, [time since the start,] [z, y,] x."""
        names = ("sample", "time", "component")
        ds = forecast_layout.build(values, cases, channels, grid, members, names)
        return forecast_layout.with_samples(ds, cases, time_unit)

    def unlabel(
        self, dataset: xr.Dataset, channels: tuple[Channel, ...], grid: Grid
    ) -> Float[np.ndarray, "case member lead channel *space"]:
        """See `Domain.unlabel`."""
        order = ("sample", "number", "time")
        return stacking.collect(dataset, channels, order, "component", grid.dims)


def _axes(ds: xr.Dataset, report: Report) -> dict[str, str | None]:
    """The data's own name of each dim; frames count time where no dim is called so."""
    found = {kind: axes.find(ds, kind, report) for kind in ("sample", "time", "z", "y", "x")}
    if found["time"] not in ds.dims:
        found["time"] = axes.find(ds, "frame", report)
    return {kind: name if name in ds.dims else None for kind, name in found.items()}


def _time_unit(told: dict[str, Any], entry: Entry, report: Report) -> str:
    """Unit of the times; where both file and entry say one, they must agree."""
    unit = str(told.get("units", ""))
    if entry.time is None:
        return unit or "1"
    if unit and entry.time.units not in (unit, unit.partition(" since ")[0]):
        report.add(
            "time-units",
            f"the file says {unit!r}, `time:` says {entry.time.units!r}",
            f"write `time: {{units: {unit.partition(' since ')[0]}}}` in {entry.yaml}",
            coordinate="time",
        )
    return entry.time.units


def _split_components(ds: xr.Dataset) -> xr.Dataset:
    """A dim `field` or `channel` becomes variables: by its names, else numbered."""
    dim = next((str(d) for d in ds.dims if str(d).lower() in axes.COMPONENTS), None)
    if dim is None:
        return ds
    labels = ds[dim].values if dim in ds.coords else np.arange(ds.sizes[dim])
    for name in [str(n) for n, v in ds.data_vars.items() if dim in v.dims]:
        parts = {
            str(label) if labels.dtype.kind in "UTO" else f"{name}_{label}": ds[name].isel(
                {dim: i}, drop=True
            )
            for i, label in enumerate(labels)
        }
        ds = ds.drop_vars(name).assign(parts)
    return ds


def _with_lead_dims(ds: xr.Dataset) -> xr.Dataset:
    """One trajectory, or one time, has its label all the same; missing labels are counted.

    The values get that dim when they are in memory, since to expand them reads them.
    """
    for dim, start in (("sample", np.arange), ("time", lambda n: np.arange(n, dtype=np.float64))):
        if dim not in ds.dims:
            ds = ds.drop_vars(dim, errors="ignore").assign_coords({dim: start(1)})
        if dim not in ds.coords:
            ds = ds.assign_coords({dim: start(ds.sizes[dim])})
    return ds


def _space_coordinate(ds: xr.Dataset, dim: str, report: Report) -> xr.Dataset:
    """Cell numbers where the file has no coordinate; ascending; refused where it is not regular."""
    if dim not in ds.coords:
        return ds.assign_coords({dim: (dim, np.arange(ds.sizes[dim], dtype=np.float64))})
    values = np.asarray(ds[dim].values, dtype=np.float64)
    order = np.argsort(values)
    steps = np.diff(values[order])
    # 1e-3 of a cell, and what a float32 leaves of a coordinate far from 0: half a unit of its last
    # place at either end of a cell, of two cells that are compared.
    rounding = 2 * float(np.finfo(np.float32).eps) * np.abs(values).max()
    slack = 1e-3 * steps.mean() + rounding if len(steps) else 0.0
    if len(steps) and (steps.min() <= 0 or steps.max() - steps.min() > slack):
        report.add(
            "mesh",
            f"cells from {steps.min():g} to {steps.max():g} wide, expected a regular mesh",
            "interpolate to a regular mesh, since the network knows no other",
            coordinate=dim,
        )
    return ds if (np.diff(order) > 0).all() else ds.isel({dim: order})

"""Images: samples of pixels, with colour channels and a class each; frames in time, or volumes.

A pixel is a cell of a flat grid, whose edges are open where nothing else is said. A class becomes a
one-hot vector: all zeros then means "no class", which is what classifier-free guidance needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data import choosing, forecast_layout, stacking
from diffsci.data.canonical import axes, edges
from diffsci.data.canonical import times as stamps
from diffsci.data.canonical.time_axis import ordered, tell_gaps
from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report
from diffsci.data.domains.base import Domain
from diffsci.data.fields import Cases, Channel, Fields
from diffsci.errors import require
from diffsci.grid import Grid

_SPACE = ("z", "y", "x")


@dataclass(frozen=True, kw_only=True)
class Image(Domain):
    """Images, image sequences or volumes, with channels, and a class each where the data has one.

    Args:
        label_variable: Variable that holds the class of each sample, taken where the data has it.
        classes: Number of classes; 0 takes one more than the largest class of the whole data set.
    """

    label_variable: str = "label"
    classes: int = 0

    def __post_init__(self) -> None:
        require(self.classes >= 0, "classes", self.classes, "0 (from the data) or more")

    def canonical(
        self,
        raw: xr.Dataset,
        entry: Entry,
        report: Report | None = None,
        variables: tuple[str, ...] = (),
    ) -> xr.Dataset:
        """See `Domain.canonical`: dims sample, [time, z,] y, x, [channel]; classes along sample."""
        report = report or Report(entry.location)
        ds = axes.narrowed(axes.renamed(raw, entry, report), entry, variables)
        kinds = {kind: axes.find(ds, kind, report) for kind in ("sample", *_SPACE, "channel")}
        kinds["time"] = axes.find(ds, "frame", report)
        kinds = {kind: name if name in ds.dims else None for kind, name in kinds.items()}
        ds = axes.settle(ds, kinds)
        for dim in ("y", "x"):
            if dim not in ds.dims:
                report.stop(
                    "axis-missing",
                    f"no dim {dim} among {', '.join(map(str, ds.dims))}",
                    f"name it under `rename:` in {entry.yaml}, such as `rows: y`",
                    coordinate=dim,
                )
        space = _space(ds)
        names = choosing.choose(ds, entry, space, report, variables)
        extra = [self.label_variable] if self.label_variable in ds.variables else []
        dims = ("sample", "time", *space, "channel")
        ds = axes.squeeze_foreign(ds[[*names, *extra]], names, dims, report)
        if "sample" not in ds.dims:
            ds = ds.drop_vars("sample", errors="ignore").assign_coords(sample=[0])
            ds = ds.assign({name: ds[name].expand_dims("sample") for name in extra})
        for dim in dims:
            if dim in ds.dims and (dim not in ds.coords or ds[dim].dtype.kind not in "fiu"):
                ds = ds.drop_vars(dim, errors="ignore")
                ds = ds.assign_coords({dim: np.arange(ds.sizes[dim])})
        if "time" in ds.dims:
            ds = ordered(ds, report)
        for name in names:
            ds[name] = stacking.in_units(ds[name], name, entry, report, default="1")
        classes = self.classes
        if extra:
            found = ds[self.label_variable]
            self._check_classes(found, report)
            classes = classes or int(found.max()) + 1
        told = edges.told(raw, entry, space, report)
        ds.attrs = {"classes": classes if extra else 0, "boundary": told}
        return ds.transpose(*dims, missing_dims="ignore")

    def _check_classes(self, found: xr.DataArray, report: Report) -> None:
        values = np.asarray(found.values)
        whole = values.dtype.kind in "iufb" and found.dims == ("sample",)
        if not whole or (values != np.round(values)).any() or values.min() < 0:
            report.stop(
                "classes",
                f"{found.dtype}{found.shape}: expected one whole number from 0 up for each sample",
                "number the classes from 0",
                variable=self.label_variable,
            )
        if self.classes and values.max() >= self.classes:
            report.stop(
                "classes",
                f"class {values.max():g}, but `classes: {self.classes}`",
                "raise `classes` of the domain",
                variable=self.label_variable,
            )

    def fields(self, canonical: xr.Dataset, source: str, report: Report | None = None) -> Fields:
        """See `Domain.fields`: each sample is a trajectory; a still image has one time."""
        report = report or Report(source)
        space = _space(canonical)
        values, channels = stacking.gather(canonical, ("sample", "time"), "channel", space, report)
        moving = "time" in canonical.dims
        times = canonical["time"].values.astype(np.float64) if moving else np.zeros(1)
        _, breaks = stamps.regular_step(times)
        tell_gaps(times, breaks, report)
        classes, scalars = int(canonical.attrs["classes"]), None
        if classes:
            scalars = np.eye(classes)[canonical[self.label_variable].values.astype(np.int64)]
        unit = str(canonical["time"].attrs.get("units", "1")) if moving else ""
        return Fields(
            values=values,
            channels=channels,
            grid=edges.grid(canonical, space, canonical.attrs["boundary"], report),
            trajectories=np.asarray(canonical["sample"].values),
            times=times,
            breaks=breaks,
            time_unit=unit,
            scalars=scalars,
            scalar_names=tuple(f"label={number}" for number in range(classes)),
            source=source,
        )

    def cases(self, fields: Fields, rows: np.ndarray, leads: tuple[int, ...]) -> Cases:
        """See `Domain.cases`: the key of a case is its sample, and its time in a video."""
        trajectories, times = fields.trajectories[rows[:, 0]], fields.times[rows[:, 1]]
        moving = len(fields.times) > 1
        step, _ = stamps.regular_step(fields.times)
        labels = {}
        if fields.scalar_names and fields.scalars is not None:
            labels["label"] = fields.scalars[rows[:, 0]].argmax(axis=1)
        return Cases(
            rows=rows.astype(np.int64),
            keys=tuple(
                f"sample={s},time={stamps.name(t)}" if moving else f"sample={s}"
                for s, t in zip(trajectories, times, strict=True)
            ),
            trajectories=trajectories,
            times=times if moving else times[:0],
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
        """See `Domain.label`: sample, number, [time since the start,] y, x, [channel]."""
        names = ("sample", "time", "channel")
        ds = forecast_layout.build(values, cases, channels, grid, members, names, stack_last=True)
        return forecast_layout.with_samples(ds, cases, time_unit)

    def unlabel(
        self, dataset: xr.Dataset, channels: tuple[Channel, ...], grid: Grid
    ) -> Float[np.ndarray, "case member lead channel *space"]:
        """See `Domain.unlabel`."""
        order = ("sample", "number", "time")
        return stacking.collect(dataset, channels, order, "channel", grid.dims)


def _space(ds: xr.Dataset) -> tuple[str, ...]:
    """Rows and columns, and before them the slices of volumes."""
    return _SPACE if ds.sizes.get("z", 1) > 1 else _SPACE[1:]

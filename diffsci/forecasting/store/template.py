"""The template of a store: all its coordinates and attributes, and the place of every value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr
from dask.array import full

from diffsci.data.fields import Cases, Channel
from diffsci.data.forecast_layout import cell_labels
from diffsci.forecasting.failing import Failure
from diffsci.forecasting.store.disk import bounded_chunks, cases_in_chunk, encoding_of, quiet
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.precision import Kept, kept_of
from diffsci.forecasting.surrogate import Surrogate
from diffsci.grid import Grid
from diffsci.sections.storing import Storing

_SHOWN = 20
"""Failed members that the attributes name; the ledger names all."""


def part_of(cases: Cases, part: slice, leads: slice = slice(None)) -> Cases:
    """Some of the cases, and of their leads."""
    return replace(
        cases,
        rows=cases.rows[part],
        keys=cases.keys[part],
        trajectories=cases.trajectories[part],
        times=cases.times[part],
        leads=cases.leads[leads],
        labels={name: values[part] for name, values in cases.labels.items()},
    )


@dataclass(frozen=True, kw_only=True)
class Template:
    """The layout of one store.

    Args:
        model: Whose domain says it.
        cases: What the case axis is.
        members: Of each case.
        storing: Format and precision.
    """

    model: Surrogate
    cases: Cases
    members: int
    storing: Storing

    @property
    def leads(self) -> int:
        """Forecast steps; 1 where there are none."""
        return max(1, len(self.cases.leads))

    @cached_property
    def _single(self) -> xr.Dataset:
        """One member of the first case, all channels: dims, attributes, space."""
        shape = (1, 1, 1, len(self.model.channels), *self.model.grid.sizes)
        empty = np.zeros(shape, dtype=np.float32)
        case = part_of(self.cases, slice(0, 1), slice(0, 1))
        return self.model.label(empty, case, np.arange(1))

    @cached_property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Those of each variable; cases are the first, members the second."""
        return {
            str(name): tuple(str(dim) for dim in variable.dims)
            for name, variable in self._single.data_vars.items()
        }

    @property
    def case_dim(self) -> str:
        """Name of the cases' dim."""
        return next(iter(self.dims.values()))[0]

    @property
    def lead_dim(self) -> str | None:
        """Name of the leads' dim; none where there is none."""
        return next(iter(self.dims.values()))[2] if self.cases.leads else None

    def sizes(self, name: str) -> dict[str, int]:
        """Sizes of a variable by dim."""
        found = {str(dim): size for dim, size in self._single[name].sizes.items()}
        found |= {self.case_dim: len(self.cases), "number": self.members}
        return found | ({self.lead_dim: self.leads} if self.lead_dim else {})

    @cached_property
    def cases_in_chunk(self) -> int:
        """Of every variable, and of the truth beside it."""
        levels = max(Counter(channel.variable for channel in self.model.channels).values())
        state = 4 * levels * int(np.prod(self.model.grid.sizes))
        return cases_in_chunk(len(self.cases), state * self.members * self.leads)

    def chunks(self, name: str) -> dict[str, int]:
        """Chunk sizes of a variable by dim."""
        return bounded_chunks(self.sizes(name), self.case_dim, self.cases_in_chunk)

    @cached_property
    def kept(self) -> dict[str, Kept]:
        """What is kept of each variable."""
        means: dict[str, list[float]] = {}
        for channel, mean in zip(
            self.model.channels, self.model.statistics.state_mean, strict=True
        ):
            means.setdefault(channel.variable, []).append(float(mean))
        typical = {name: float(np.mean(values)) for name, values in means.items()}
        return kept_of(self.storing, self.dims, typical)

    def dataset(self, failed: tuple[Failure, ...]) -> xr.Dataset:
        """The labelled data set, without its values.

        Args:
            failed: Members that are NaN.
        """
        point = replace(
            self.model.grid,
            coordinates=tuple((at[0],) for at in self.model.grid.coordinates),
            boundary=(("open", "open"),) * len(self.model.grid.dims),
            geometry="flat",
            places=None,
        )
        # All cases and leads in one cell: the values of a whole store need not fit into memory.
        shape = (len(self.cases), 1, self.leads, 1, *point.sizes)
        nothing = np.zeros(shape, dtype=np.float32)
        along = self.label(nothing, self.cases, self.model.channels[:1], point)
        moving = {self.case_dim, *([self.lead_dim] if self.lead_dim else [])}
        ds = xr.Dataset(attrs=self._single.attrs | _flags(failed, self.members))
        for source, wanted in ((along, True), (self._single, False)):
            for name, coordinate in source.coords.items():
                if bool(moving & set(coordinate.dims)) is wanted and name != "number":
                    ds = ds.assign_coords({name: coordinate.variable})
        ds = ds.assign_coords(cell_labels(self.cases, self.case_dim, self.model.grid))
        number = np.arange(self.members, dtype=np.int32)
        ds = ds.assign_coords(number=("number", number, self._single["number"].attrs))
        for name, dims in self.dims.items():
            sizes = self.sizes(name)
            shape = tuple(sizes[dim] for dim in dims)
            empty = full(  # type: ignore[no-untyped-call]
                shape, np.float32(np.nan), chunks=shape, dtype=np.float32
            )
            attributes = self._single[name].attrs | self.kept[name].attributes
            ds[name] = xr.Variable(dims, empty, attributes)
        return ds

    def label(
        self,
        values: np.ndarray,
        cases: Cases,
        channels: tuple[Channel, ...],
        grid: Grid | None = None,
    ) -> xr.Dataset:
        """Values of some channels as the domain labels them."""
        model, members = self.model, np.arange(values.shape[1])
        domain, where = model.pipeline.data.domain, grid or model.grid
        return domain.label(values, cases, channels, where, members, model.time_unit)

    def write(self, place: Place, failed: tuple[Failure, ...]) -> None:
        """Write all but the values."""
        dataset = self.dataset(failed)
        chunks = {name: self.chunks(name) for name in self.dims}
        encoding = encoding_of(dataset, chunks, self.storing.format)
        for name, kept in self.kept.items():
            encoding[name] |= kept.encoding
        with place.errors(), quiet():
            dataset.to_zarr(
                place.address,
                mode="w",
                compute=False,
                consolidated=True,
                zarr_format=self.storing.format,
                encoding=encoding,
                write_empty_chunks=True,
            )


def _flags(failed: tuple[Failure, ...], members: int) -> dict[str, str | int]:
    """Attributes that say that an ensemble is not whole."""
    if not failed:
        return {}
    cases = len({each.case for each in failed})
    shown = "; ".join(str(each) for each in sorted(failed)[:_SHOWN])
    more = f"; and {len(failed) - _SHOWN} others" if len(failed) > _SHOWN else ""
    return {
        "diffsci_failed": len(failed),
        "diffsci_failed_members": (
            f"{len(failed)} members of {cases} cases are NaN, so that these cases have fewer than "
            f"{members}: {shown}{more}"
        ),
    }

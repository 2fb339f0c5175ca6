"""Stored values: what a labelled data set holds, read block by block for scoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data.domains.base import Domain
from diffsci.data.fields import Channel
from diffsci.evaluation.blocks import Lazy, Values
from diffsci.grid import Grid
from diffsci.stages.scores import cells, foreign
from diffsci.stages.scores.starts import LEAD


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How values come out of a data set.

    Args:
        domain: That reads it.
        case_dim: Name of the axis of cases.
        lead_dim: Name of that of leads.
        channels: What each channel is.
        grid: Where the values sit.
    """

    domain: Domain
    case_dim: str
    lead_dim: str
    channels: tuple[Channel, ...]
    grid: Grid

    @classmethod
    def of(
        cls, ds: xr.Dataset, domain: Domain, channels: tuple[Channel, ...], grid: Grid
    ) -> Layout:
        """That of a store of our own."""
        samples = "sample" in ds.dims
        lead = "time" if samples and LEAD not in ds.dims else LEAD
        return cls(
            domain=domain,
            case_dim="sample" if samples else "time",
            lead_dim=lead,
            channels=channels,
            grid=grid,
        )

    def values(
        self, ds: xr.Dataset, conversions: Mapping[str, tuple[float, float]] | None = None
    ) -> Values:
        """A data set of this layout as something that is read.

        Args:
            ds: Cases, leads and cells as they are to be.
            conversions: Scale and offset of variables in other units.
        """

        def reads(cases: slice, leads: slice, channel: int) -> np.ndarray:
            part = ds[[self.channels[channel].variable]]
            # An axis of a single item may be a coordinate alone.
            part = part.isel({self.case_dim: cases}, missing_dims="ignore")
            if self.lead_dim in part.dims:
                part = part.isel({self.lead_dim: leads})
            return self._taken(foreign.converted(part, conversions or {}), channel)

        each = [ds[channel.variable] for channel in self.channels]
        members = tuple(variable.sizes.get("number", 1) for variable in each)
        cases, leads = (
            max(variable.sizes.get(dim, 1) for variable in each)
            for dim in (self.case_dim, self.lead_dim)
        )
        shape = (cases, max(members), leads, len(self.channels), *self.grid.sizes)
        return Lazy(shape=shape, reads=reads, members=members)

    def by_valid_time(self, ds: xr.Dataset, rows: np.ndarray) -> Values:
        """A truth by valid time, each of its times read once for a block.

        Args:
            ds: With the dim `time`.
            rows: Number of the time of each case and lead.
        """

        def reads(cases: slice, leads: slice, channel: int) -> np.ndarray:
            needed, back = np.unique(rows[cases, leads], return_inverse=True)
            part = ds[[self.channels[channel].variable]].isel(time=cells.span(needed))
            found = self._taken(part, channel)[:, 0, 0]
            return found[back.reshape(rows[cases, leads].shape)][:, None]

        sizes = (len(rows), 1, rows.shape[1], len(self.channels))
        return Lazy(shape=(*sizes, *self.grid.sizes), reads=reads)

    def _taken(
        self, part: xr.Dataset, channel: int
    ) -> Float[np.ndarray, "case member lead *space"]:
        found = self.domain.unlabel(part, (self.channels[channel],), self.grid)
        return np.asarray(found[:, :, :, 0])

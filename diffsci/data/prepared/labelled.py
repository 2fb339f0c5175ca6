"""Fields of any source by number, through its labelled arrays: for what no faster reader knows."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Int, Shaped

from diffsci.data import reader
from diffsci.data.checks.problems import Report
from diffsci.data.domains.base import Domain
from diffsci.data.entry import Entry
from diffsci.data.prepared.numbered import DamagedError, States, opened, runs
from diffsci.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Labelled(States):
    """One variable of a source as its domain has it, opened once by each process.

    Args:
        entry: The source.
        domain: What it is read as.
        chosen: Variables that are taken of it.
    """

    entry: Entry
    domain: Domain
    chosen: tuple[str, ...] = ()

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Shaped[np.ndarray, "row variable *field"]:
        """See `States.read`; values as the source has them."""
        (name,) = self.variables
        variable = self._canonical()[name]
        # In the source's own type, so that units are converted from what a run in memory has.
        made = np.empty((len(rows), 1, *self.shape[self.leads :]), dtype=variable.dtype)
        for places, box in runs(rows):
            part = variable.isel(dict(zip(variable.dims, box, strict=False)))
            try:
                made[places, 0] = part.values
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                why = f"cannot be read ({type(error).__name__}: {error})"
                fix = "the file may be cut off or damaged: fetch it again"
                row = rows[places][0]
                raise DamagedError.of(self.store, name, row, why, fix) from error
        return made

    def _canonical(self) -> xr.Dataset:
        key = (os.getpid(), repr((self.entry, self.domain, self.chosen)))
        if key not in opened:
            raw = reader.open_raw(self.entry)
            quiet = Report(self.entry.location, [])
            try:
                found = self.domain.canonical(raw, self.entry, quiet, self.chosen)
            except DataError:
                raw.close()
                raise
            opened[key] = found
        canonical: xr.Dataset = opened[key]
        return canonical

"""What every domain is: the meaning of axes, units and geometry.

A domain opens labelled arrays into `Fields`, and labels values again in the layout of the forecast
store. The law that binds both: what was read and encoded comes back equal when decoded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report
from diffsci.data.fields import Cases, Channel, Fields
from diffsci.grid import Grid


class Domain(ABC):
    """A family member: frozen dataclass whose fields are the YAML keys under `data.domain`."""

    forcings: tuple[str, ...] = ()
    """What the network is given of each valid time, and of each place: see `around.py`."""

    statics: str | None = None
    """Entry or path of a data set with the forcings that are not computed."""

    @abstractmethod
    def canonical(
        self,
        raw: xr.Dataset,
        entry: Entry,
        report: Report | None = None,
        variables: tuple[str, ...] = (),
    ) -> xr.Dataset:
        """The variables of the entry in canonical dims; coordinates mapped by value.

        Values stay in the file until they are selected: where units are converted, that is left to
        `fields` (see `stacking.in_units`).

        Args:
            raw: As the file has it, its times decoded.
            entry: What the catalog says of it.
            report: Where faults are told; none raises on the first.
            variables: Take only these of the entry, and let no other get in the way.

        Raises:
            ConfigError: For one of `variables` that is not there.
            DataError: Naming entry, variable or coordinate, what was found and the fix.
        """

    @abstractmethod
    def fields(self, canonical: xr.Dataset, source: str, report: Report | None = None) -> Fields:
        """All of a canonical data set in memory.

        Args:
            canonical: What `canonical` gave, or a selection of it.
            source: Name of the entry or path, for messages.
            report: Where faults are told; none raises on the first.

        Raises:
            DataError: For a NaN, naming variable and where it was found.
        """

    @abstractmethod
    def cases(self, fields: Fields, rows: np.ndarray, leads: tuple[int, ...]) -> Cases:
        """Labels for the chosen windows of `fields`."""

    @abstractmethod
    def label(
        self,
        values: Float[np.ndarray, "case member lead channel *space"],
        cases: Cases,
        channels: tuple[Channel, ...],
        grid: Grid,
        members: np.ndarray | None,
        time_unit: str = "",
    ) -> xr.Dataset:
        """Values in the forecast store's layout and attributes.

        Args:
            values: Physical units; the lead axis has length 1 where `cases.leads` is empty.
            cases: What the case axis is.
            channels: What each channel is.
            grid: Where the values sit.
            members: Numbers of the members; none for a truth, whose member axis is dropped.
            time_unit: Unit of float times.
        """

    @abstractmethod
    def unlabel(
        self, dataset: xr.Dataset, channels: tuple[Channel, ...], grid: Grid
    ) -> Float[np.ndarray, "case member lead channel *space"]:
        """The inverse of `label`: values from a store, with axes of length 1 where it has none."""

"""Fields: a data set after its domain has understood it, in memory, everything still labelled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from diffsci.data.canonical import times as stamps
from diffsci.data.prepared.stored import Stored, frames
from diffsci.grid import Grid

LEVEL = "level:"
"""Before the names of attributes that belong to a channel's level, not to its variable."""

_DIRECTIONS = ("eastward", "northward", "westward", "southward", "x", "y")


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One channel of the stacked array: a variable, at one level where it has levels.

    Args:
        variable: Its name.
        unit: Of the values.
        level: Where it lies along the stacked dim.
        attributes: CF attributes of the variable; those of the level coordinate begin with `LEVEL`.
    """

    variable: str
    unit: str
    level: float | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """`temperature@850` with a level, else the variable's name."""
        return self.variable if self.level is None else f"{self.variable}@{self.level:g}"

    @property
    def vector(self) -> bool:
        """Whether it is a component of a vector along the grid, whose sign changes across a pole.

        As the attribute `vector` says, else by the CF standard name: one that names a direction of
        the grid, such as `eastward_wind`. A product of two of them has the sign of a scalar.
        """
        told = self.variable_attributes
        if "vector" in told:
            return told["vector"] == "true"
        words = told.get("standard_name", "").split("_")
        return sum(word in _DIRECTIONS for word in words) % 2 == 1 and words[0] != "square"

    @property
    def missing(self) -> str:
        """What a NaN of it means: `forbidden`, `static` or `moving`."""
        return self.variable_attributes.get("missing", "forbidden")

    @property
    def transform(self) -> str:
        """What is learnt in place of its values; empty where they are learnt as they are."""
        return self.variable_attributes.get("transform", "")

    @property
    def variable_attributes(self) -> dict[str, str]:
        """CF attributes of the variable."""
        return {key: value for key, value in self.attributes if not key.startswith(LEVEL)}

    @property
    def level_attributes(self) -> dict[str, str]:
        """CF attributes of the level coordinate."""
        told = [(key, value) for key, value in self.attributes if key.startswith(LEVEL)]
        return {key.removeprefix(LEVEL): value for key, value in told}


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Values in physical units with the labels that say what they are.

    Args:
        values: float32, in memory or on disk; weather has one trajectory, images have one time.
            NaN is what is missing by declaration, and stands nowhere else.
        channels: What each channel is.
        grid: Where the values sit.
        trajectories: Label of each trajectory: an integer, or a name.
        times: Label of each time: `datetime64[ns]`, a cftime object, or a float with `time_unit`.
        time_unit: Unit of float times; empty for dates.
        breaks: True where a frame does not follow the one before it at the regular step.
        scalars: Numbers per trajectory: physical parameters, or a class as one-hot.
        scalar_names: Their names; a one-hot class has `label=0`, `label=1`, ...
        scalar_logs: Which of them the network is given by their logarithm.
        source: Name of the catalog entry or path, for messages.
        digest: Hash of what was read, hex.
        keys: Of each field a hash, by which it is found again in other data; none where no reader
            made one.
        measured: Mean and standard deviation of each channel, where a preparation took them.
        layers: Fields that are the same at all times, by name, that forcings ask for.
        beside: Fields of a second data set at the same times, in the same channels and cells.
        masks: Cells that are known, of which a task hides the others.
        mask_at: Which of the masks belongs to each time; none where any does.
    """

    values: Float[np.ndarray | Stored, "trajectory time channel *space"]
    channels: tuple[Channel, ...]
    grid: Grid
    trajectories: np.ndarray
    times: np.ndarray
    breaks: Bool[np.ndarray, " time"]
    time_unit: str = ""
    scalars: Float[np.ndarray, "trajectory parameter"] | None = None
    scalar_names: tuple[str, ...] = ()
    scalar_logs: tuple[str, ...] = ()
    source: str = ""
    digest: str = ""
    keys: np.ndarray | None = None
    measured: tuple[np.ndarray, np.ndarray] | None = None
    layers: dict[str, Float[np.ndarray, "*space"]] = field(default_factory=dict)
    beside: Float[np.ndarray, "trajectory time channel *space"] | None = None
    masks: Bool[np.ndarray, "mask *space"] | None = None
    mask_at: Int[np.ndarray, " time"] | None = None

    @property
    def on_disk(self) -> bool:
        """Whether values are read where they are used."""
        return isinstance(self.values, Stored)

    def blocks(self) -> Iterator[Float[np.ndarray, "frame channel *space"]]:
        """All values in order, for sums: the same blocks whether they are in memory or on disk.

        A block is a trajectory; of a long one some times of it.
        """
        for _, _, block in frames(self.values):
            yield block

    @property
    def gappy(self) -> bool:
        """Whether some values may be missing, by declaration."""
        return any(channel.missing != "forbidden" for channel in self.channels)

    @cached_property
    def there(self) -> Bool[np.ndarray, "trajectory time channel *space"] | None:
        """Which values are not missing; one state for all where that never moves; none: all are."""
        if not self.gappy:
            return None
        if all(channel.missing != "moving" for channel in self.channels):
            return self.seen[None, None]
        if not isinstance(self.values, Stored):
            return np.asarray(np.isfinite(self.values))
        if not self.values.gappy:
            return np.ones((1, 1, *self.values.shape[2:]), dtype=bool)
        found = np.empty(self.values.shape, dtype=bool)
        for trajectory, first, block in frames(self.values):
            found[trajectory, first : first + len(block)] = np.isfinite(block)
        return found

    def filled(self, means: Float[np.ndarray, " channel"]) -> Fields:
        """The same with a number for what is missing: the mean of its channel."""
        wide = np.asarray(means, dtype=np.float32).reshape(-1, *[1] * len(self.grid.dims))
        if isinstance(self.values, Stored):
            return replace(self, values=self.values.filled(wide))
        return replace(self, values=np.where(np.isnan(self.values), wide, self.values))

    @cached_property
    def seen(self) -> Bool[np.ndarray, "channel *space"]:
        """Cells that count at some time: the others are missing throughout."""
        if not isinstance(self.values, Stored):
            return np.asarray(np.isfinite(self.values).any(axis=(0, 1)))
        found = np.zeros(self.values.shape[2:], dtype=bool)
        for _, _, block in frames(self.values):
            found |= np.isfinite(block).any(axis=0)
        return found


@dataclass(frozen=True, kw_only=True)
class Cases:
    """What an ensemble is made for: one entry per initialisation, per time, or per sample.

    Args:
        rows: Trajectory and time index in `Fields` of the last given frame (or the frame).
        keys: Stable name of each case, such as `2019-03-24T00:00:00`; it keys the members' noise.
        trajectories: Label of each case's trajectory.
        times: Label of each case's time; empty where samples belong to no time.
        leads: Lead of each forecast step, in steps of the data; empty without a lead axis.
        step: One data step: a `timedelta64[ns]`, or a float in the time unit; none without leads.
            Calendar months are mean months, see `times.regular_step`.
        stamps: All times of the data that `rows` counts in: where a forecast's time lies among
            them, it is taken from here.
        labels: Further coordinates along the cases, such as the class of an image.
    """

    rows: Int[np.ndarray, "case 2"]
    keys: tuple[str, ...]
    trajectories: np.ndarray
    times: np.ndarray
    leads: tuple[int, ...] = ()
    step: np.timedelta64 | float | None = None
    stamps: np.ndarray | None = None
    labels: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def valid(self) -> np.ndarray:
        """Time of each case and lead: the data's own where it reaches so far, else counted on."""
        if not self.leads:
            return self.times[:, None]
        known = self.stamps if self.stamps is not None else self.times[:0]
        valid = np.empty((len(self), len(self.leads)), dtype=self.times.dtype)
        for i, (row, start) in enumerate(zip(self.rows[:, 1], self.times, strict=True)):
            for j, lead in enumerate(self.leads):
                there = row + lead < len(known)
                valid[i, j] = known[row + lead] if there else self._later(start, lead)
        return valid

    def _later(self, start: object, lead: int) -> object:
        if isinstance(self.step, np.timedelta64):
            return stamps.later(start, self.step, lead)
        return float(start) + float(self.step or 1.0) * lead  # type: ignore[arg-type]

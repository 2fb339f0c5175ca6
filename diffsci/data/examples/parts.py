"""Parts: one part of a split in memory, with all that its task reads beside it.

A second data set (a coarse one, or masks) is matched by time stamps, and by the labels of
trajectories where there are several: what is missing in it is told by name.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from diffsci.data.canonical import times as stamps
from diffsci.data.canonical.units import conversion
from diffsci.data.catalog import Variable, load_entry
from diffsci.data.domains.base import Domain
from diffsci.data.examples.around import layer_names
from diffsci.data.fields import Channel, Fields
from diffsci.data.prepared.holding import held
from diffsci.data.reader import open_raw, read
from diffsci.errors import DataError
from diffsci.families import did_you_mean
from diffsci.sections import Data, Part

if TYPE_CHECKING:
    from diffsci.data.tasks.base import Task


def read_part(
    data: Data, part: Part, roots: tuple[Path, ...] = (), memory: int | None = None
) -> Fields:
    """One part of the split, as the task needs it.

    Args:
        data: The section.
        part: Of its split, or one like it.
        roots: Folders that may hold a `data_catalog`.
        memory: Bytes that its values may take; larger ones stay on disk. None has no bound.

    Raises:
        ConfigError: For an unknown entry.
        DataError: For whatever is wrong with one of the data sets, or does not fit between them.
    """
    task = data.task
    name = str(data.entry or data.source)
    fields = held(name, data.domain, part, roots, data.variables, memory)
    if task.draws:
        fields = replace(fields, channels=tuple(_may_miss(each) for each in fields.channels))
    if task.beside is not None:
        fields = _beside(fields, data, part, roots)
    elif (second := task.second(fields)) is not None:
        fields = replace(fields, beside=second)
    if task.masks is not None:
        fields = _masked(fields, task, data.domain, roots)
    layers = _layers(fields, data.domain, roots)
    fields = replace(fields, layers=layers)
    more = [each for each in (fields.beside, fields.masks, fields.mask_at) if each is not None]
    more += list(layers.values())
    if not more:
        return fields
    total = hashlib.sha256(fields.digest.encode())
    for array in more:
        total.update(np.ascontiguousarray(array).data)
    return replace(fields, digest=total.hexdigest())


def _may_miss(channel: Channel) -> Channel:
    """A channel of which a user may leave out values, since they are what is asked for."""
    if channel.missing != "forbidden":
        return channel
    return replace(channel, attributes=(*channel.attributes, ("missing", "moving")))


def _beside(fields: Fields, data: Data, part: Part, roots: tuple[Path, ...]) -> Fields:
    """The fields, with those of the second data set at the same times."""
    name = str(part.beside or data.task.beside)
    units = {channel.variable: channel.unit for channel in fields.channels}
    entry = load_entry(name, roots)
    # What its entry says nothing of comes in the units of the fields.
    declared = {word: Variable(units=unit) for word, unit in units.items()} | entry.variables
    entry, variables = replace(entry, variables=declared), tuple(units)
    span: tuple[str | float, str | float] | None = None
    if len(fields.times) and (stamps.is_dates(fields.times) or len(fields.times) > 1):
        ends = (fields.times[0], fields.times[-1])
        dated = stamps.is_dates(fields.times)
        low, high = (stamps.name(end) if dated else float(end) for end in ends)
        span = (low, high)
    other = read(entry, data.domain, Part(time=span), roots, variables)
    other = data.task.on_grid(_alike(other, fields), fields.grid)
    if not other.grid.same_place(fields.grid):
        raise DataError(f"{name}: its grid is not that of {fields.source}; regrid one of them")
    row, column = _matched_trajectories(other, fields), matched_times(other, fields)
    return replace(fields, beside=other.values[row][:, column])


def _alike(other: Fields, fields: Fields) -> Fields:
    """The channels of `fields`, in their order and units."""
    names = [channel.name for channel in other.channels]
    missing = [channel.name for channel in fields.channels if channel.name not in names]
    if missing:
        raise DataError(
            f"{other.source}: lacks {', '.join(missing)} of {fields.source}; it has "
            f"{', '.join(names)}: map names under `rename:` of its entry, or leave variables out "
            "by data.variables"
        )
    order = [names.index(channel.name) for channel in fields.channels]
    values = other.values[:, :, order]
    for index, channel in enumerate(fields.channels):
        found = other.channels[order[index]].unit
        factors = conversion(found, channel.unit)
        if factors is None:
            raise DataError(
                f"{other.source}: {channel.name} is in {found!r}, and in {channel.unit!r} in "
                f"{fields.source}; write `units: {channel.unit}` in its entry, or convert it"
            )
        if factors != (1.0, 0.0):
            scale, offset = factors
            values[:, :, index] = values[:, :, index].astype(np.float64) * scale + offset
    return replace(other, values=values, channels=fields.channels)


def _matched_trajectories(other: Fields, fields: Fields) -> Int[np.ndarray, " trajectory"]:
    """Where each trajectory is in another data set."""
    if len(fields.trajectories) == len(other.trajectories) == 1:
        return np.zeros(1, dtype=np.int64)
    known = {str(label): place for place, label in enumerate(other.trajectories)}
    missing = [label for label in map(str, fields.trajectories) if label not in known]
    if missing:
        raise DataError(
            f"{other.source}: lacks {len(missing)} samples of {fields.source}, the first is "
            f"{missing[0]}; it has {len(known)}"
        )
    return np.array([known[str(label)] for label in fields.trajectories], dtype=np.int64)


def matched_times(other: Fields, fields: Fields) -> Int[np.ndarray, " time"]:
    """Where each time of some fields is in another data set.

    Raises:
        DataError: For times that it lacks: how many, the first and the last of them.
    """
    dated = stamps.is_dates(fields.times)
    if dated != stamps.is_dates(other.times):
        raise DataError(
            f"{other.source}: its times are {'numbers' if dated else 'dates'}, those of "
            f"{fields.source} are {'dates' if dated else 'numbers'}; write `time:` in its entry"
        )
    if dated:
        known = {stamps.name(stamp): place for place, stamp in enumerate(other.times)}
        found = [known.get(stamps.name(stamp), -1) for stamp in fields.times]
    else:
        # A millionth of a step: output times are sums of rounded steps.
        step = float(np.median(np.diff(fields.times))) if len(fields.times) > 1 else 1.0
        near = np.abs(np.subtract.outer(fields.times, other.times))
        found = np.where(near.min(axis=1) <= 1e-6 * abs(step), near.argmin(axis=1), -1).tolist()
    missing = [stamps.name(fields.times[i]) for i, place in enumerate(found) if place < 0]
    if missing:
        raise DataError(
            f"{other.source}: lacks {len(missing)} of {len(found)} times of {fields.source}, the "
            f"first is {missing[0]}, the last {missing[-1]}; it has {stamps.name(other.times[0])} "
            f"to {stamps.name(other.times[-1])}: add them, or narrow the part"
        )
    return np.array(found, dtype=np.int64)


def _masked(fields: Fields, task: Task, domain: Domain, roots: tuple[Path, ...]) -> Fields:
    """The fields, with the masks of the task's data set."""
    variable, by_time = task.variable, task.match == "time"
    other = layers(str(task.masks), variable, domain, roots)
    if not other.grid.same_place(fields.grid):
        raise DataError(
            f"{task.masks}: the grid of {variable} is not that of {fields.source}; regrid it"
        )
    if by_time and len(other.trajectories) > 1:
        raise DataError(
            f"{task.masks}: {variable} has {len(other.trajectories)} samples, so that a time has "
            "no one mask; write `match: chance` under data.task"
        )
    known = np.nan_to_num(other.values[:, :, 0]) != 0
    return replace(
        fields,
        masks=known.reshape(-1, *fields.grid.sizes),
        mask_at=matched_times(other, fields) if by_time else None,
    )


def _layers(
    fields: Fields, domain: Domain, roots: tuple[Path, ...]
) -> dict[str, Float[np.ndarray, "*space"]]:
    """Fields that are the same at all times, on the cells of some fields."""
    found = {}
    for name in layer_names(domain.forcings):
        other = layers(str(domain.statics), name, domain, roots)
        values = other.values[:, :, 0]
        if not np.array_equal(
            values, np.broadcast_to(values[:1, :1], values.shape), equal_nan=True
        ):
            raise DataError(
                f"{domain.statics}: {name} is not the same at all its {values.shape[1]} times, as "
                "a static is; take it as a variable of the data, or select one time"
            )
        cells = other.grid.cells_of(fields.grid)
        if cells is None:
            raise DataError(
                f"{domain.statics}: {name} has no value at some of the cells of {fields.source}; "
                "regrid it to them"
            )
        here = values[0, 0][np.ix_(*cells)]
        if np.isnan(here).any():
            raise DataError(
                f"{domain.statics}: {name} is NaN at {int(np.isnan(here).sum())} cells of "
                f"{fields.source}; fill them, with 0 over the sea, say"
            )
        found[name] = here
    return found


def layers(name: str, variable: str, domain: Domain, roots: tuple[Path, ...] = ()) -> Fields:
    """One variable of a data set that may have no time, such as a mask or an orography.

    Args:
        name: Entry or path.
        variable: Its name there; in the units that it has, else in those of the entry.
        domain: What axes mean.
        roots: Folders that may hold a `data_catalog`.

    Raises:
        DataError: For whatever the domain refuses.
    """
    entry = load_entry(name, roots)
    raw = open_raw(entry)
    try:
        there = {new: old for old, new in entry.rename.items()}
        own = there.get(variable, variable)
        if own not in raw.variables:
            known = [str(each) for each in raw.data_vars]
            raise DataError(
                f"{name}: has no variable {own!r}{did_you_mean(own, known)}; it has "
                f"{', '.join(known)}: correct the name"
            )
        if raw[own].dtype == bool:
            raw = raw.assign({own: raw[own].astype(np.float32)})
        raw = _dated(raw, own)
        declared = entry.variables.get(variable)
        unit = declared.units if declared else None
        if unit is None:
            unit = str(raw[own].attrs.get("units", "1"))
        lenient = replace(declared or Variable(), units=unit, missing="moving")
        entry = replace(entry, variables={**entry.variables, variable: lenient})
        return domain.fields(domain.canonical(raw, entry, None, (variable,)), name)
    finally:
        raw.close()


def _dated(raw: xr.Dataset, variable: str) -> xr.Dataset:
    """With a time that has no meaning, where neither the variable nor the file has any."""
    times = [name for name in raw.coords if str(name).lower() in ("time", "valid_time", "t")]
    if times or "time" in raw[variable].dims:
        return raw
    return raw.assign_coords(time=np.datetime64("2000-01-01", "ns"))

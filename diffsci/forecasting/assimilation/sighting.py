"""Observations in their places: each a weighted sum of cells of a trajectory's frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffsci import families
from diffsci.data.canonical import units
from diffsci.data.fields import Channel
from diffsci.diffusion.operators.base import Operator
from diffsci.errors import DataError
from diffsci.forecasting.assimilation.footprints import footprint
from diffsci.forecasting.assimilation.observation_table import Table
from diffsci.grid import Grid

_TIME_SHARE = 1e-3
"""Of a step: by how much a time may be off a frame."""

_APART = 6.0
"""Standard deviations: two values of one thing that are further apart contradict each other."""


@dataclass(frozen=True, eq=False)
class Sums(Operator):
    """Weighted sums of single cells, `[batch, observation]`.

    Args:
        rows: Number of the observation of each term.
        cells: Number of its cell, channels and space flattened.
        weights: Of each term, float64.
        count: Of observations.
    """

    rows: Int[Tensor, " term"]
    cells: Int[Tensor, " term"]
    weights: Float[Tensor, " term"]
    count: int

    def apply(
        self, field: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch observation"]:
        """The sums."""
        rows, cells, weights = self._at(field)
        terms = field.flatten(1)[:, cells] * weights
        return field.new_zeros(len(field), self.count).index_add(1, rows, terms)

    def adjoint(
        self, values: Float[Tensor, "batch observation"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "batch channel *space"]:
        """Each value spread over its cells."""
        rows, cells, weights = self._at(values)
        flat = values.new_zeros(len(values), like[0].numel())
        flat = flat.index_add(1, cells, values[:, rows] * weights)
        return flat.reshape(len(values), *like.shape[1:])

    def _at(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.rows.to(like.device), self.cells.to(like.device), self.weights.to(like)


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """Observations on a grid, in physical units of the model's channels.

    Args:
        frames: Frame of each, counted from `start`.
        values: Physical.
        errors: Physical.
        channels: Number of the channel of each.
        terms: Of each: numbers of cells, and their weights.
        start: Time of frame 0.
        cells: Of a channel.
    """

    frames: Int[np.ndarray, " row"]
    values: Float[np.ndarray, " row"]
    errors: Float[np.ndarray, " row"]
    channels: Int[np.ndarray, " row"]
    terms: tuple[tuple[np.ndarray, np.ndarray], ...]
    start: float | np.datetime64
    cells: int

    def __len__(self) -> int:
        return len(self.values)

    @property
    def count(self) -> int:
        """Frames from the first to the last that is observed."""
        return int(self.frames.max()) + 1

    def within(self, first: int, after: int) -> np.ndarray:
        """Numbers of those in frames from `first` to before `after`."""
        return np.flatnonzero((self.frames >= first) & (self.frames < after))

    def operator(self, rows: np.ndarray, first: int, channels: int) -> Sums:
        """The H of some, on frames from `first` on that lie one after the other along channels.

        Args:
            rows: Their numbers.
            first: Frame where the fields begin.
            channels: Of a frame.
        """
        of, cells, weights = [], [], []
        for place, row in enumerate(rows):
            at, weight = self.terms[row]
            channel = (self.frames[row] - first) * channels + self.channels[row]
            cells.append(channel * self.cells + at)
            weights.append(weight)
            of.append(np.full(len(at), place))
        none = np.zeros(0, dtype=np.int64)
        return Sums(
            torch.from_numpy(np.concatenate([none, *of])),
            torch.from_numpy(np.concatenate([none, *cells])),
            torch.from_numpy(np.concatenate([np.zeros(0), *weights])),
            len(rows),
        )


def placed(
    table: Table,
    channels: tuple[Channel, ...],
    grid: Grid,
    step: float | np.timedelta64,
    start: float | np.datetime64 | None = None,
) -> Placed:
    """Each row in its cells, held to the model's names, units, domain and times.

    Args:
        table: The observations.
        channels: Of the model.
        grid: Of the model.
        step: Time between frames.
        start: Time of frame 0; none takes the first that is observed.

    Raises:
        DataError: With the row of what does not fit.
    """
    variables, values, errors = _in_units(table, channels)
    begin, frames = _frames(table, step, start)
    terms = tuple(footprint(table, row, grid) for row in range(len(table)))
    _refuse_contradictions(table, frames, variables, values, errors, terms)
    return Placed(
        frames=frames,
        values=values,
        errors=errors,
        channels=variables,
        terms=terms,
        start=begin,
        cells=int(np.prod(grid.sizes)),
    )


def _in_units(
    table: Table, channels: tuple[Channel, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Channel, value and error of each row, in the channel's unit."""
    names = [channel.name for channel in channels]
    numbers, values, errors = [], table.values.copy(), table.errors.copy()
    for row, (name, unit) in enumerate(zip(table.variables, table.units, strict=True)):
        if not name and len(names) > 1:
            raise DataError(
                f"{table.source}: row {row + 1}: no variable; the model has {', '.join(names)}"
            )
        if name and name not in names:
            near = families.did_you_mean(name, names)
            raise DataError(
                f"{table.source}: row {row + 1}: variable {name!r}, expected one of "
                f"{', '.join(names)}{near}"
            )
        number = names.index(name) if name else 0
        wanted = channels[number].unit
        if not unit and wanted != "1":
            raise DataError(
                f"{table.source}: row {row + 1}: no units; those of {names[number]} are {wanted}: "
                "add a column `units`"
            )
        found = units.conversion(unit, wanted) if unit else (1.0, 0.0)
        if found is None:
            raise DataError(
                f"{table.source}: row {row + 1}: {names[number]} is in {unit}, the model's is in "
                f"{wanted}, which do not convert"
            )
        values[row] = values[row] * found[0] + found[1]
        errors[row] = errors[row] * abs(found[0])
        numbers.append(number)
    return np.array(numbers), values, errors


def _frames(
    table: Table, step: float | np.timedelta64, start: float | np.datetime64 | None
) -> tuple[float | np.datetime64, np.ndarray]:
    """Time of frame 0, and the frame of each row."""
    dated = isinstance(step, np.timedelta64)
    if dated != (table.times.dtype.kind == "M"):
        raise DataError(
            f"{table.source}: its times are {'numbers' if dated else 'dates'}, those of the model "
            f"{'dates' if dated else 'numbers'}"
        )
    begin = table.times.min() if start is None else start
    apart = steps_between(table.times, begin, step)
    frames = np.round(apart).astype(np.int64)
    off = np.abs(apart - frames)
    row = int(off.argmax())
    if off[row] > _TIME_SHARE:
        raise DataError(
            f"{table.source}: row {row + 1}: time {table.times[row]} is {off[row]:.2g} steps from "
            f"the nearest frame; frames are {step} apart, from {begin} on: bring it to a frame"
        )
    if frames.min() < 0:
        row = int(frames.argmin())
        raise DataError(
            f"{table.source}: row {row + 1}: time {table.times[row]} lies before the start, {begin}"
        )
    return begin, frames


def steps_between(
    times: np.ndarray, begin: float | np.datetime64, step: float | np.timedelta64
) -> Float[np.ndarray, " time"]:
    """How many steps each time lies after `begin`."""
    apart: np.ndarray = (times - begin) / step  # type: ignore[operator]
    return apart


def _refuse_contradictions(
    table: Table,
    frames: np.ndarray,
    variables: np.ndarray,
    values: np.ndarray,
    errors: np.ndarray,
    terms: Sequence[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Refuse two values of the same thing that their errors do not explain."""
    seen: dict[tuple[object, ...], int] = {}
    for row, (cells, weights) in enumerate(terms):
        key = (int(frames[row]), int(variables[row]), cells.tobytes(), weights.tobytes())
        first = seen.setdefault(key, row)
        apart = abs(values[row] - values[first])
        expected = float(np.hypot(errors[row], errors[first]))
        if apart > _APART * expected:
            raise DataError(
                f"{table.source}: rows {first + 1} and {row + 1} contradict each other: "
                f"{values[first]:g} and {values[row]:g} of the same, {apart / expected:.0f} "
                "standard deviations apart; correct their errors, or leave one out"
            )

"""Observations in their places: each a weighted sum of cells of a trajectory's frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffsci import families
from diffsci.data import units
from diffsci.data.fields import Channel
from diffsci.diffusion.operators.base import Operator
from diffsci.errors import DataError
from diffsci.forecasting.observation_table import Table
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
    terms = tuple(_terms(table, row, grid) for row in range(len(table)))
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


def _terms(table: Table, row: int, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Flat numbers of cells, and their weights, of one observation."""
    word = table.operators[row]
    cells, weights = np.zeros(1, dtype=np.int64), np.ones(1)
    mean = word != "point"
    for number, dim in enumerate(grid.dims):
        at, size = table.places[dim][row], table.sizes[dim][row]
        if np.isnan(at):
            if word != "line_mean":
                raise DataError(
                    f"{table.source}: row {row + 1}: {dim} is missing; only a line_mean runs along "
                    "a dim"
                )
            places, share = np.arange(grid.sizes[number]), np.ones(grid.sizes[number])
        elif word == "block_mean":
            places = _inside(table, row, grid, number, at, size)
            share = np.ones(len(places))
        else:
            places, share = _between(table, row, grid, number, at)
        cells = (cells[:, None] * grid.sizes[number] + places).reshape(-1)
        weights = (weights[:, None] * share).reshape(-1)
    lines = [dim for dim in grid.dims if np.isnan(table.places[dim][row])]
    if word == "line_mean" and not lines:
        raise DataError(
            f"{table.source}: row {row + 1}: a line_mean runs along no dim; leave the column of "
            "one of them empty"
        )
    if mean:
        weights = weights * grid.cell_weights.reshape(-1)[cells]
    return cells, weights / weights.sum()


def _axis(grid: Grid, number: int) -> tuple[np.ndarray, float, bool]:
    """Cell centres, the length of the dim, and whether it closes on itself."""
    at = np.asarray(grid.coordinates[number])
    edges = grid.bounds(grid.dims[number])
    periodic = "periodic" in grid.boundary[number]
    return at, abs(float(edges[-1] - edges[0])), periodic


def _in_domain(table: Table, row: int, grid: Grid, number: int, at: float) -> float:
    """The coordinate, that of a circle brought to where the grid has it."""
    dim, edges = grid.dims[number], grid.bounds(grid.dims[number])
    low, high = float(edges.min()), float(edges.max())
    if dim == "longitude":
        turned = low + (at - low) % 360.0
        at = turned if low <= turned <= high else at
    if not low <= at <= high:
        raise DataError(
            f"{table.source}: row {row + 1}: {dim} {at:g} lies outside the domain, {low:g} to "
            f"{high:g}; leave it out"
        )
    return at


def _between(
    table: Table, row: int, grid: Grid, number: int, at: float
) -> tuple[np.ndarray, np.ndarray]:
    """The two cells about a coordinate, linear between their centres; one at its centre or edge."""
    at = _in_domain(table, row, grid, number, at)
    centres, length, periodic = _axis(grid, number)
    order = np.argsort(centres)
    sorted_at = centres[order]
    if periodic:
        sorted_at = np.concatenate([[sorted_at[-1] - length], sorted_at, [sorted_at[0] + length]])
        order = np.concatenate([order[-1:], order, order[:1]])
    high = int(np.clip(np.searchsorted(sorted_at, at), 1, len(sorted_at) - 1))
    if len(sorted_at) == 1:
        return order[:1], np.ones(1)
    share = (at - sorted_at[high - 1]) / (sorted_at[high] - sorted_at[high - 1])
    share = float(np.clip(share, 0.0, 1.0))
    both = np.array([1 - share, share])
    kept = both > 1e-9
    return order[[high - 1, high]][kept], both[kept]


def _inside(table: Table, row: int, grid: Grid, number: int, at: float, size: float) -> np.ndarray:
    """Cells whose centres lie in a box about a coordinate."""
    dim = grid.dims[number]
    if not size > 0:
        raise DataError(
            f"{table.source}: row {row + 1}: a block_mean needs its extent along {dim}, in a "
            f"column size_{dim}"
        )
    at = _in_domain(table, row, grid, number, at)
    centres, length, periodic = _axis(grid, number)
    apart = np.abs(centres - at)
    if periodic:
        apart = np.minimum(apart, length - apart)
    places = np.flatnonzero(apart <= size / 2 * (1 + 1e-9))
    if not len(places):
        raise DataError(
            f"{table.source}: row {row + 1}: no cell has its centre within {size:g} of {dim} "
            f"{at:g}; widen the box, or say point"
        )
    return places


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

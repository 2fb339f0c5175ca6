"""Values at an edge, as of a wall that does not move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.constraints.base import (
    Equations,
    Names,
    Setting,
    Value,
    check_names,
    per_channel,
)
from diffsci.errors import FieldError, require

_SIDES = ("low", "high")


@dataclass(frozen=True, kw_only=True)
class Dirichlet(Equations):
    """Values in the cells along edges: a number, or those of the last given frame.

    Args:
        sides: Edges, as `x.low` (the first cells along x) or `y.high` (the last ones along y).
        value: One number, or one for each channel, in physical units; or `given`.
        channels: Names of those that it holds for; empty for all.
    """

    sides: tuple[str, ...]
    value: Value = 0.0
    channels: Names = ()

    def __post_init__(self) -> None:
        check_names(self.channels)
        require(len(self.sides) > 0, "sides", self.sides, "one or more, such as x.low")
        for side in self.sides:
            dim, _, end = side.partition(".")
            fits = bool(dim) and end in _SIDES
            require(fits, "sides", side, "a dim and low or high, such as x.low")
        require(len(set(self.sides)) == len(self.sides), "sides", self.sides, "different edges")

    @property
    def needs_given(self) -> bool:
        """Whether the values are those of a frame."""
        return self.value == "given"

    def check(self, setting: Setting) -> None:
        """Needs edges: a dim that closes on itself has none."""
        grid = setting.grid
        for side in self.sides:
            dim, _, _ = side.partition(".")
            require(dim in grid.dims, "sides", side, f"one of the dims {', '.join(grid.dims)}")
            if "periodic" in grid.boundary[grid.dims.index(dim)]:
                raise FieldError("sides", side, f"a dim with an edge; {dim} is periodic")
        self.values(setting)

    def _cells(self, setting: Setting) -> np.ndarray:
        """Flat numbers of the cells, each once, though two edges meet in it."""
        grid = setting.grid
        edge = np.zeros(grid.sizes, dtype=bool)
        for side in self.sides:
            dim, _, end = side.partition(".")
            place = 0 if end == "low" else -1
            np.moveaxis(edge, grid.dims.index(dim), 0)[place] = True
        return np.flatnonzero(edge)

    def rows(self, setting: Setting) -> Float[np.ndarray, "row channel *space"]:
        """One for each cell and channel."""
        numbers, cells = setting.numbers(self.channels), self._cells(setting)
        rows = np.zeros((len(numbers), len(cells), len(setting.channels), setting.grid_cells))
        for place, number in enumerate(numbers):
            rows[place, np.arange(len(cells)), number, cells] = 1
        return rows.reshape(-1, *setting.shape)

    def values(self, setting: Setting) -> Float[np.ndarray, " row"] | None:
        """The numbers, cell by cell of each channel."""
        setting.numbers(self.channels)
        if self.value == "given":
            return None
        numbers = per_channel("value", self.value, len(setting.numbers(self.channels)))
        return np.repeat(numbers, len(self._cells(setting)))

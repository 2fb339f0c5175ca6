"""Edges: of what cells the ghost cells beyond each side of a grid are made, at any resolution.

Periodic takes the cells of the other side, wall mirrors about the edge cell, open repeats the edge
cell, zero takes none, and pole goes on along the opposite meridian.

Let the pole lie `d` cells beyond row 0. Along one great circle row j lies at j, and row j of the
opposite meridian at -2 d - j. So the ghost row at -k is row `k - 2 d` of the opposite meridian;
between two rows, their linear mean (of row 0 and the opposite row 0, where -k lies before the
pole). A component of a vector along the grid changes its sign, for east and north are reversed on
the other side. Exact for d of 0 and 1/2, else second order in the spacing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from diffsci.errors import require
from diffsci.grid import Boundary, Grid

Sides = tuple[tuple[Boundary, Boundary], ...]

Move = tuple[int, int, int, float]
"""Along a dim: to where, from where, how many cells, by what weight."""


@dataclass(frozen=True)
class Term:
    """A share of a ghost cell.

    Args:
        cell: Where it is from, counted from the edge that the ghost lies beyond.
        weight: Of it.
        across: Whether it is half a turn away, beyond the pole.
    """

    cell: int
    weight: float = 1.0
    across: bool = False


@dataclass(frozen=True)
class Edges:
    """What lies beyond each side of each dim, at one resolution.

    Args:
        sides: `(low, high)` of each dim.
        sizes: Cells along each dim.
        poles: Distance from the first and the last row to the pole, in cells of this resolution;
            used where a side is `pole`. 0: the row is on the pole; 0.5: half a cell off.
        turn: Cells of this resolution around the circle of the last dim, used where a side is
            `pole`; a fraction where `sizes` were rounded up.

    Attributes:
        half_turn: Half a turn along the last dim as moves; empty without a pole.
    """

    sides: Sides
    sizes: tuple[int, ...]
    poles: tuple[tuple[float, float], ...]
    turn: float
    half_turn: tuple[Move, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        # Here, since it takes longer than a padding does.
        if any("pole" in pair for pair in self.sides):
            object.__setattr__(self, "half_turn", _half_turn(self.sizes[-1], self.turn))

    @classmethod
    def of(cls, grid: Grid) -> Edges:
        """Of the grid's own resolution.

        Raises:
            FieldError: For a pole that no row comes near, or without a circle of longitudes.
        """
        poles = tuple(_distances(grid, index) for index in range(len(grid.dims)))
        for dim, sides, distances in zip(grid.dims, grid.boundary, poles, strict=True):
            if "pole" not in sides:
                continue
            fits = dim != grid.dims[-1] and "periodic" in grid.boundary[-1]
            expected = "poles only on a dim before a last, periodic one (the longitudes)"
            require(fits, f"boundary of {dim}", sides, expected)
            for side, distance in zip(sides, distances, strict=True):
                # Farther off, the grid leaves out a cap that no padding can make up.
                fits = side != "pole" or distance <= 1
                expected = f"poles at most one cell beyond the rows, not {distance:.3g} cells"
                require(fits, f"boundary of {dim}", sides, expected)
        return cls(grid.boundary, grid.sizes, poles, float(grid.sizes[-1]))

    def coarser(self) -> Edges:
        """Of the grid that keeps cells 0, 2, 4, ..."""
        return self._every(2, 0.0)

    def blocks(self, patch: int) -> Edges:
        """Of the grid of patches of so many cells; the last one may reach beyond the edge."""
        return self._every(patch, (patch - 1) / 2)

    def _every(self, stride: int, offset: float) -> Edges:
        sizes = tuple(math.ceil(size / stride) for size in self.sizes)
        poles = []
        for (low, high), size, count in zip(self.poles, self.sizes, sizes, strict=True):
            last = (count - 1) * stride + offset
            poles.append(((low + offset) / stride, (high + size - 1 - last) / stride))
        return Edges(self.sides, sizes, tuple(poles), self.turn / stride)

    @property
    def all_zero(self) -> bool:
        """Whether a convolution's own padding does it, without a copy."""
        return all(side == "zero" for pair in self.sides for side in pair)

    def least(self, dim: int, width: int) -> int:
        """Fewest cells along a dim (its number) that can be padded by so many."""
        least = 1
        for side, distance in zip(self.sides[dim], self.poles[dim], strict=True):
            if side == "wall":
                least = max(least, 2)
            elif side == "pole":
                # Cells are counted from the edge, whatever the size.
                cells = [t.cell for k in range(width) for t in terms(side, k + 1, 1, distance)]
                least = max(least, *(cell + 1 for cell in cells), 1)
        return least


def _half_turn(size: int, turn: float) -> tuple[Move, ...]:
    """Half a turn along a dim: the cell at j takes the value at j + turn / 2.

    Cells lie at 0, 1, ..., size - 1, and the first again at `turn`; between two of them the value
    is their linear mean.
    """
    moves = []
    for j in range(size):
        place = (j + turn / 2) % turn
        left = min(math.floor(place), size - 1)
        gap = turn - left if left == size - 1 else 1.0
        share = (place - left) / gap
        moves += [(j, left, 1, 1 - share), (j, (left + 1) % size, 1, share)]
    return _joined([move for move in moves if move[3]])


def _joined(moves: list[Move]) -> tuple[Move, ...]:
    """The same moves with neighbours as one."""
    runs: list[Move] = []
    for to, start, count, weight in sorted(moves, key=lambda move: (move[1] - move[0], move[0])):
        if runs and runs[-1][0] + runs[-1][2] == to and runs[-1][1] + runs[-1][2] == start:
            first, origin, length, same = runs[-1]
            if same == weight:
                runs[-1] = (first, origin, length + count, same)
                continue
        runs.append((to, start, count, weight))
    return tuple(runs)


def _distances(grid: Grid, index: int) -> tuple[float, float]:
    """From the first and last row to the pole, in cells: by latitude, else half a cell."""
    values = np.asarray(grid.coordinates[index], dtype=np.float64)
    if len(values) == 1 or not grid.units[index].startswith("degree"):
        return (0.5, 0.5)
    gaps = (90 - np.abs(values[[0, -1]])) / np.abs(np.diff(values)[[0, -1]])
    # A half but for the rounding of coordinates is a half: rows then are copied.
    halves = np.round(2 * gaps) / 2
    low, high = np.where(np.abs(gaps - halves) < 0.01, halves, gaps)
    return (float(low), float(high))


def terms(side: Boundary, k: int, size: int, distance: float) -> tuple[Term, ...]:
    """What ghost cell k beyond an edge is made of (1 is next to the edge); zero: of nothing."""
    match side:
        case "zero":
            return ()
        case "open":
            return (Term(0),)
        case "periodic":
            return (Term(-k % size),)
        case "wall":
            period = 2 * (size - 1)
            return (Term(min(k % period, -k % period)),)
        case "pole":
            place = k - 2 * distance
            if place < 0:
                share = k / (2 * distance)
                return (Term(0, 1 - share), Term(0, share, across=True))
            row = math.floor(place)
            share = place - row
            near = Term(row, 1 - share, across=True)
            return (near, Term(row + 1, share, across=True)) if share else (near,)

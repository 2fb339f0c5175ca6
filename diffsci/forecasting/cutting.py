"""One dim cut into tiles of one size, which overlap, and begin at multiples of a stride.

Between two tiles it is kept of each what is its overlap away from its end; at the domain's own
edges all is kept. Tiles that overlap by less than the network looks are blended instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from diffsci.errors import FieldError
from diffsci.networks.base import Ports, Reach


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One tile along one dim.

    Args:
        start: Its first cell in the domain; it may go on across a periodic seam.
        first: First of its own cells that is kept.
        after: The one after the last that is kept.
        weights: Of the kept cells; none keeps them as they are.
    """

    start: int
    first: int
    after: int
    weights: tuple[float, ...] | None = None


def cut(
    ports: Ports, reach: Reach, number: int, cells: int, overlap: int
) -> tuple[int, tuple[Piece, ...]]:
    """Cells of the tiles along a dim, and the tiles.

    Args:
        ports: With the grid.
        reach: Of the network.
        number: Of the dim.
        cells: Most that a tile may have.
        overlap: Least that a tile looks beyond what is kept of it.

    Raises:
        FieldError: With numbers of cells that would work.
    """
    size, sides = ports.grid.sizes[number], ports.grid.boundary[number]
    stride, dim = reach.stride[number], ports.grid.dims[number]
    if cells >= size:
        return size, (Piece(start=0, first=0, after=size),)
    periodic = "periodic" in sides
    whole = f"{size} (the whole dim) along {dim}"
    if periodic and size % stride:
        expected = f"{whole}: it is periodic, and no multiple of the network's stride {stride}"
        raise FieldError("sample.tiles.cells", cells, expected)
    line = _Line(size=size, overlap=overlap, stride=stride, periodic=periodic)
    found = line.largest(cells)
    if found is None:
        least = line.least()
        fits = f"{least} or more along {dim}, or {whole}" if least < size else whole
        why = f"twice the overlap of {overlap}, and a stride of {stride} to keep"
        if (least - size) % stride == 0 and size % stride:
            why += f"; tiles have {size % stride} more than a multiple of it, as the dim has"
        raise FieldError("sample.tiles.cells", cells, f"{fits}: {why}")
    # As many tiles may do with fewer cells.
    count = len(line.pieces(found))
    while line.fits(found - stride) and len(line.pieces(found - stride)) == count:
        found -= stride
    pieces = line.pieces(found)
    if overlap < reach.cells[number]:
        pieces = _blended(pieces, found, line)
    return found, tuple(pieces)


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One dim that is to be cut."""

    size: int
    overlap: int
    stride: int
    periodic: bool

    @property
    def before(self) -> int:
        """Cells that a tile begins before what is kept: the overlap, up to a whole stride."""
        return math.ceil(self.overlap / self.stride) * self.stride

    def step(self, cells: int) -> int:
        """From one tile to the next: a multiple of the stride."""
        return (cells - self.overlap) // self.stride * self.stride - self.before

    def fits(self, cells: int) -> bool:
        """Whether anything of such a tile is kept, and it has two cells at the coarsest level."""
        return self.step(cells) >= self.stride and cells > self.stride

    def largest(self, cells: int) -> int | None:
        """The largest tile of at most so many cells, whose last one ends where the domain does."""
        found = cells - (cells - self.size) % self.stride
        return found if self.fits(found) else None

    def least(self) -> int:
        """Fewest cells of a tile."""
        least = self.before + self.overlap + self.stride
        least += (self.size - least) % self.stride
        return least if self.fits(least) else least + self.stride

    def pieces(self, cells: int) -> list[Piece]:
        """The tiles from the first cell to the last; each goes on where the one before ended."""
        found: list[Piece] = []
        done = 0
        while done < self.size:
            if self.periodic:
                start, end = done - self.before, done + self.step(cells)
            else:
                start = min(max(0, done - self.before), self.size - cells)
                last = start + cells == self.size
                end = self.size if last else start + self.before + self.step(cells)
            end = min(end, self.size)
            found.append(Piece(start=start, first=done - start, after=end - start))
            done = end
        return found


def _blended(pieces: list[Piece], cells: int, line: _Line) -> list[Piece]:
    """All cells of each tile, with weights that fall to its inner edges and whose sum is 1."""
    ramp = line.before + line.overlap
    bumps = []
    for piece in pieces:
        low = line.periodic or piece.start > 0
        high = line.periodic or piece.start + cells < line.size
        bumps.append([_rise(j, ramp, low) * _rise(cells - 1 - j, ramp, high) for j in range(cells)])
    total = [0.0] * line.size
    for place, value in _placed(pieces, bumps, line.size):
        total[place] += value
    return [
        Piece(
            start=piece.start,
            first=0,
            after=cells,
            weights=tuple(value / total[(piece.start + j) % line.size] for j, value in bump),
        )
        for piece, bump in zip(pieces, map(enumerate, bumps), strict=True)
    ]


def _placed(
    pieces: list[Piece], values: list[list[float]], size: int
) -> Iterator[tuple[int, float]]:
    for piece, row in zip(pieces, values, strict=True):
        for j, value in enumerate(row):
            yield (piece.start + j) % size, value


def _rise(cell: int, ramp: int, inner: bool) -> float:
    """From 0 at an inner edge to 1 after so many cells."""
    if not inner or cell >= ramp:
        return 1.0
    return math.sin(math.pi / 2 * (cell + 0.5) / ramp) ** 2

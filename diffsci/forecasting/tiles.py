"""Tiles: a domain that does not fit into memory goes through the network part by part.

An output cell looks no farther than the network's reach. So a tile that is larger by the reach than
what is kept of it gives, there, what the whole domain gives: what the network takes to lie beyond
the tile's edges spoils discarded cells alone. Tiles begin at multiples of the coarsest stride, so
that down-sampling keeps the same cells. At the domain's own edges a tile ends, and the network pads
it as it pads the domain; across a periodic seam it wraps around. All tiles have one shape.

Only the network is tiled. Noise, sampler and guidance see whole fields, so a member's noise does
not depend on the tiles. With a smaller overlap the parts are blended by smooth weights whose sum is
1, and the result is approximate.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diffsci.diffusion.guidance.base import ConditionalDenoise
from diffsci.errors import FieldError, require
from diffsci.forecasting.cutting import Piece, cut
from diffsci.networks.base import Network, Ports
from diffsci.sections import Tiles


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a grid is cut.

    Args:
        sizes: Cells of the domain along each dim.
        cells: Cells of every tile along each dim.
        pieces: The tiles along each dim; a tile is one of each.
        overlap: Cells that each side of a tile looks beyond what is kept, along each dim.
        reach: How far the network looks.
    """

    sizes: tuple[int, ...]
    cells: tuple[int, ...]
    pieces: tuple[tuple[Piece, ...], ...]
    overlap: tuple[int, ...]
    reach: tuple[int, ...]

    @classmethod
    def of(cls, tiles: Tiles, network: Network, ports: Ports) -> Tiling:
        """The tiles of a grid for a network.

        Raises:
            FieldError: For a network that needs the whole field, and tiles that cannot be, with
                sizes that would work.
        """
        grid = ports.grid
        reach = network.reach(ports)
        if reach is None:
            expected = (
                "no tiles: each output cell of this network depends on the whole field; leave out "
                "sample.tiles, or take a network that looks only so far, such as model.network="
                "{use: unet, norm: cell} without attention"
            )
            raise FieldError("sample.tiles", "tiles", expected)
        dims = len(grid.dims)
        asked = (tiles.cells,) * dims if isinstance(tiles.cells, int) else tiles.cells
        expected = f"one number, or one for each of {', '.join(grid.dims)}"
        require(len(asked) == dims, "sample.tiles.cells", tiles.cells, expected)
        overlap = reach.cells if tiles.overlap == "auto" else (tiles.overlap,) * dims
        found = [
            cut(ports, reach, number, cells, wanted)
            for number, (cells, wanted) in enumerate(zip(asked, overlap, strict=True))
        ]
        poles = any("pole" in sides for sides in grid.boundary)
        if poles and len(found[-1][1]) > 1:
            expected = f"{grid.sizes[-1]} along {grid.dims[-1]}: poles need whole circles"
            raise FieldError("sample.tiles.cells", asked[-1], expected)
        return cls(
            sizes=grid.sizes,
            cells=tuple(cells for cells, _ in found),
            pieces=tuple(pieces for _, pieces in found),
            overlap=overlap,
            reach=reach.cells,
        )

    @property
    def count(self) -> int:
        """Tiles in all."""
        return math.prod(len(pieces) for pieces in self.pieces)

    @property
    def warning(self) -> str | None:
        """What to say of tiles that see less than the network looks; none where they see all."""
        if all(piece.weights is None for pieces in self.pieces for piece in pieces):
            return None
        return (
            f"sample.tiles.overlap: {max(self.overlap)} cells are less than the network looks "
            f"({' x '.join(map(str, self.reach))}): the result is approximate, parts are blended; "
            "auto is exact"
        )

    def over(self, denoise: ConditionalDenoise) -> ConditionalDenoise:
        """The denoiser of whole fields that calls another one tile by tile.

        Where a gradient is asked for, a tile is computed again on the way back: what is held is
        what one tile needs.
        """
        if self.count == 1:
            return denoise

        def part(*inputs: Tensor | None) -> Tensor:
            if torch.is_grad_enabled():
                kept: Tensor = checkpoint(
                    denoise, *inputs, use_reentrant=False, preserve_rng_state=False
                )
                return kept
            return denoise(*inputs)  # type: ignore[arg-type]

        def tiled(
            x_t: Tensor, t: Tensor, condition: Tensor | None, scalars: Tensor | None
        ) -> Tensor:
            out = torch.zeros_like(x_t)
            for tile in itertools.product(*self.pieces):
                given = None if condition is None else self._cut(condition, tile)
                made = part(self._cut(x_t, tile), t, given, scalars)
                self._put(out, made, tile)
            return out

        return tiled

    def _cut(
        self, x: Float[Tensor, "batch channel *space"], tile: tuple[Piece, ...]
    ) -> Float[Tensor, "batch channel *cells"]:
        """One tile, always in the same memory layout: graphs and compilers need no second one."""
        for axis, (piece, cells) in enumerate(zip(tile, self.cells, strict=True), start=2):
            x = _taken(x, axis, piece.start, cells)
        return x.contiguous()

    def _put(
        self,
        out: Float[Tensor, "batch channel *space"],
        made: Float[Tensor, "batch channel *cells"],
        tile: tuple[Piece, ...],
    ) -> None:
        """What is kept of a tile, in its place."""
        for axis, piece in enumerate(tile, start=2):
            made = made.narrow(axis, piece.first, piece.after - piece.first)
            if piece.weights is not None:
                shape = [-1 if axis == i else 1 for i in range(out.ndim)]
                made = made * made.new_tensor(piece.weights).reshape(shape)
        index = [self._places(piece, axis, out) for axis, piece in enumerate(tile)]
        where: tuple[slice | Tensor, ...] = (slice(None), slice(None), *index)
        out[where] = out[where] + made

    def _places(self, piece: Piece, number: int, out: Tensor) -> Tensor:
        """Where the kept cells belong along a dim, broadcasting against those of the others."""
        places = torch.arange(piece.first, piece.after, device=out.device) + piece.start
        shape = [-1 if i == number else 1 for i in range(len(self.sizes))]
        return (places % self.sizes[number]).reshape(shape)


def _taken(x: Tensor, axis: int, start: int, count: int) -> Tensor:
    """Cells from `start` on, going on at the beginning where they reach over the end."""
    size = x.shape[axis]
    start %= size
    inside = min(count, size - start)
    first = x.narrow(axis, start, inside)
    if inside == count:
        return first
    return torch.cat([first, x.narrow(axis, 0, count - inside)], dim=axis)

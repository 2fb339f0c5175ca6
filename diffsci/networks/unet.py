"""One conditional U-Net for one, two and three space dims, and for any size.

Cells are first gathered into patches (by a convolution whose stride is the patch), where asked.
Down-sampling keeps every second cell, starting with the first (n becomes ceil(n / 2)); up-sampling
repeats each cell and cuts off at the size of the skip: odd and prime sizes need no cropping of the
data. Each resolution hands one skip across: a linear map of it is added to one of what comes up.
Every convolution pads by the grid's boundary. Level, scalars and noise enter each block by FiLM (a
scale and a shift per channel, of one linear layer for all blocks), the condition by a stem of its
own, added to that of the target. Why it is built so: docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.errors import require
from diffsci.networks import _checkpointing, _inputs
from diffsci.networks._blocks import CONV, Attention, Block, Conv
from diffsci.networks._embedding import Embedding
from diffsci.networks._film import zeroed
from diffsci.networks._norm import Normalise
from diffsci.networks._padding import Edges, cut
from diffsci.networks.base import Module, Network, Ports, Reach


@dataclass(frozen=True, kw_only=True)
class UNet(Network):
    """Conditional U-Net in 1-D, 2-D and 3-D, any size, padded by the grid's boundary.

    Args:
        channels: Width at each resolution, finest first; each further one halves the grid.
        blocks: Residual blocks at each resolution, on the way down and on the way up: one number
            for all, or one for each.
        patch: Cells along each dim that are gathered into one before the finest resolution; 2 or 4
            make large grids several times cheaper.
        norm: `group` takes mean and variance over groups of channels and the whole field, `cell`
            over the channels of each cell: then an output depends on a part of the field alone, as
            exact tiles need (`sample.tiles`).
        groups: Channel groups of the normalisation; must divide every width.
        attention: Resolutions with self-attention, counted from 0 (finest).
        axial: Whether attention goes along one dim after the other, for large grids, instead of
            over all cells at once.
        heads: Attention heads.
        dropout: Share of features dropped in each block during training.
        embedding: Width of the embedding of level, scalars and noise.

    Source:
        Ronneberger et al. (2015), arXiv:1505.04597; Ho et al. (2020), arXiv:2006.11239; FiLM: Perez
        et al. (2018), arXiv:1709.07871; axial attention: Ho et al. (2019), arXiv:1912.12180.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    blocks: int | tuple[int, ...] = 2
    patch: int = 1
    norm: Literal["group", "cell"] = "group"
    groups: int = 8
    attention: tuple[int, ...] = ()
    axial: bool = False
    heads: int = 4
    dropout: float = 0.0
    embedding: int = 128

    def __post_init__(self) -> None:
        require(len(self.channels) >= 1, "channels", self.channels, "one width or more")
        require(self.groups >= 1, "groups", self.groups, "1 or more")
        for width in self.channels:
            # The norm of a cell has no groups.
            fits = width >= 2 and (self.norm == "cell" or width % self.groups == 0)
            groups = "" if self.norm == "cell" else f", multiples of groups={self.groups}"
            require(fits, "channels", self.channels, f"2 or more channels each{groups}")
        fits = len(self.blocks_each) == len(self.channels) and min(self.blocks_each) >= 1
        expected = f"1 or more, one number or {len(self.channels)}, as many as channels"
        require(fits, "blocks", self.blocks, expected)
        require(self.patch >= 1, "patch", self.patch, "1 cell or more")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "a share from 0 to below 1")
        fits = self.embedding >= 2 and self.embedding % 2 == 0
        require(fits, "embedding", self.embedding, "an even width")
        fits = bool(self.attention) or not self.axial
        require(fits, "axial", self.axial, "false where there is no attention")
        last = len(self.channels) - 1
        fits = all(0 <= depth <= last for depth in self.attention)
        require(fits, "attention", self.attention, f"resolutions from 0 to {last}")
        for depth in self.attention:
            fits = self.heads >= 1 and self.channels[depth] % self.heads == 0
            require(fits, "heads", self.heads, f"a divisor of channels {self.channels[depth]}")

    @property
    def blocks_each(self) -> tuple[int, ...]:
        """Blocks at each resolution."""
        if isinstance(self.blocks, int):
            return (self.blocks,) * len(self.channels)
        return self.blocks

    def check(self, ports: Ports) -> None:
        """Refuse grids that are too small for the depth, or of more than 3 dims."""
        dims = len(ports.grid.dims)
        require(1 <= dims <= 3, "network", dims, "a grid of 1, 2 or 3 space dims")
        finest, levels = Edges.of(ports.grid), self.levels(ports)
        for index, (dim, size) in enumerate(zip(ports.grid.dims, ports.grid.sizes, strict=True)):
            require(
                self.patch <= size, "patch", self.patch, f"at most {size}, the cells along {dim}"
            )
            least = finest.least(index, self.patch)
            expected = f"another grid: its boundary needs {least} cells along {dim}, it has {size}"
            require(size >= least, "patch", self.patch, expected)
            # A single cell beside copies of itself is no resolution, unless there is no other.
            fits = [
                edges.sizes[index] >= max(edges.least(index, 1), min(size, 2)) for edges in levels
            ]
            most = fits.index(False) if False in fits else len(fits)
            least = self.patch * 2 ** (len(self.channels) - 1) + 1
            expected = f"at most {most} widths for {size} cells along {dim}, or {least} cells"
            require(most == len(fits), "channels", self.channels, expected)

    def build(self, ports: Ports) -> Module:
        """A freshly initialised U-Net."""
        self.check(ports)
        return _UNet(self, ports)

    def reach(self, ports: Ports) -> Reach | None:
        """Cells that an output looks at; none with group norm or attention, which see all."""
        if self.norm == "group" or self.attention:
            return None
        # The stem looks at a patch more on each side; the head at one more, from within its own.
        cells = self.patch + self.patch + 2 * (self.patch - 1)
        for depth, blocks in enumerate(self.blocks_each):
            # Two convolutions a block, down and up.
            cells += 4 * blocks * self.patch * 2**depth
        for depth in range(len(self.channels) - 1):
            # Down-sampling looks one cell further; a repeated cell stems from one cell before it.
            cells += 2 * self.patch * 2**depth
        stride = self.patch * 2 ** (len(self.channels) - 1)
        dims = len(ports.grid.dims)
        return Reach(cells=(cells,) * dims, stride=(stride,) * dims)

    def levels(self, ports: Ports) -> list[Edges]:
        """Edges at each resolution."""
        levels = [Edges.of(ports.grid)]
        if self.patch > 1:
            levels[0] = levels[0].blocks(self.patch)
        for _ in self.channels[1:]:
            levels.append(levels[-1].coarser())
        return levels


_GAIN = 4.0
"""Of the head. Adam moves all weights at one speed, whatever their gradients; those of the head
begin at 0, and all else waits for them. Measured: docs/performance.md."""


class _Level(nn.Module):
    """Blocks at one resolution, one after the other, each with attention where asked."""

    def __init__(self, spec: UNet, depth: int, edges: Edges) -> None:
        super().__init__()
        width, count, dims = spec.channels[depth], spec.blocks_each[depth], len(edges.sizes)
        norm = Normalise(spec.norm, spec.groups)
        self.blocks = nn.ModuleList(Block(width, edges, norm, spec.dropout) for _ in range(count))
        self.attention = nn.ModuleList(
            Attention(width, spec.heads, spec.axial, dims, norm)
            for _ in range(count if depth in spec.attention else 0)
        )
        self.numbers = [2 * width] * count

    def forward(self, x: Tensor, numbers: list[Tensor], again: bool) -> Tensor:
        """`numbers` are FiLM's of all blocks to come; each takes its own from the front."""
        for index, block in enumerate(self.blocks):
            x = _checkpointing.run(block, again, x, numbers.pop(0))
            if self.attention:
                x = _checkpointing.run(self.attention[index], again, x)
        return x


class _UNet(Module):
    """The built network; its description is `UNet`."""

    def __init__(self, spec: UNet, ports: Ports) -> None:
        super().__init__()
        widths, levels = spec.channels, spec.levels(ports)
        dims, patch, finest = len(ports.grid.dims), spec.patch, Edges.of(ports.grid)
        self.ports, self.patch = ports, patch
        self.embedding = Embedding(ports, spec.embedding)
        own = tuple(n for n in ports.vectors if n < ports.target)
        self.stem = Conv(ports.target, widths[0], finest, patch=patch, odd=own)
        self.given: Conv | None = None
        if ports.condition:
            given = tuple(n - ports.target for n in ports.vectors if n >= ports.target)
            self.given = Conv(ports.condition, widths[0], finest, patch=patch, odd=given)
        depths = range(len(widths))
        self.down = nn.ModuleList(_Level(spec, depth, levels[depth]) for depth in depths)
        self.up = nn.ModuleList(_Level(spec, depth, levels[depth]) for depth in reversed(depths))
        pairs = list(zip(levels, pairwise(widths), strict=False))
        self.shrink = nn.ModuleList(
            Conv(fine, coarse, edges, stride=2) for edges, (fine, coarse) in pairs
        )
        # A convolution of both, side by side, that meets the coarse one before it is enlarged: the
        # fine grid is where the time goes.
        self.grow = nn.ModuleList(CONV[dims](coarse, fine, 1) for _, (fine, coarse) in pairs[::-1])
        self.carry = nn.ModuleList(CONV[dims](fine, fine, 1) for _, (fine, _) in pairs[::-1])
        parts = [*self.down, *self.up]
        self.numbers = [count for part in parts for count in part.numbers] + [2 * widths[0]]
        self.film = zeroed(nn.Linear(spec.embedding, sum(self.numbers)))
        self.norm = Normalise(spec.norm, spec.groups)
        self.head = zeroed(Conv(widths[0], ports.outputs * patch**dims, levels[0]))

    def parts(self) -> Iterator[nn.Module]:
        """See `Module.parts`."""
        for level in (*self.down, *self.up):
            assert isinstance(level, _Level)
            yield from (*level.blocks, *level.attention)

    def forward(
        self,
        x: Float[Tensor, "batch channel *space"],
        level: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch given *space"] | None,
        scalars: Float[Tensor, "batch parameter"] | None,
        noise: Float[Tensor, "batch random"] | None = None,
    ) -> Float[Tensor, "batch out *space"]:
        """See `Module.forward`."""
        again, sizes = self.checkpointing, x.shape[2:]
        numbers = list(self.film(self.embedding(level, scalars, noise)).split(self.numbers, dim=1))
        hidden = self._begin(x, condition)
        skips = []
        for depth, stage in enumerate(self.down):
            if depth > 0:
                hidden = self.shrink[depth - 1](hidden)
            hidden = stage(hidden, numbers, again)
            skips.append(hidden)
        for index, stage in enumerate(self.up):
            skip = skips.pop()
            if index > 0:
                coarse = _double(self.grow[index - 1](hidden), skip.shape[2:])
                hidden = coarse + self.carry[index - 1](skip)
            hidden = stage(hidden, numbers, again)
        hidden = self.norm(hidden, numbers.pop())
        return _scatter(_GAIN * self.head(F.silu(hidden)), self.patch, sizes)

    def _begin(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """The finest resolution's first features, of target and condition."""
        _inputs.require(x, condition, self.ports)
        hidden: Tensor = self.stem(x)
        return hidden if self.given is None else hidden + self.given(condition)


def _double(x: Tensor, size: torch.Size) -> Tensor:
    """Each cell repeated along every space dim, cut off at `size`."""
    return cut(F.interpolate(x, scale_factor=2.0, mode="nearest"), size)


def _scatter(x: Tensor, patch: int, size: torch.Size) -> Tensor:
    """Channels of a cell as the cells of its patch, cut off at `size`."""
    if patch == 1:
        return x
    dims = x.ndim - 2
    parts = x.reshape(len(x), -1, *[patch] * dims, *x.shape[2:])
    # Each dim's place within the patch goes behind its place among patches.
    order = [axis for dim in range(dims) for axis in (2 + dims + dim, 2 + dim)]
    out = parts.permute(0, 1, *order).reshape(len(x), -1, *[patch * n for n in x.shape[2:]])
    return cut(out, size)

"""One conditional U-Net for one, two and three space dims, and for any size.

Down-sampling keeps every second cell, starting with the first (n becomes ceil(n / 2)); up-sampling
repeats each cell and crops to the size of the skip, so that odd and prime sizes need no cropping of
the data. Each resolution hands one skip across. Every convolution pads by the grid's boundary. The
level and the scalars enter each block by FiLM (a scale and a shift per channel), the condition as
further input channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.errors import require
from diffsci.networks._padding import Sides, pad
from diffsci.networks.base import Module, Network, Ports

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True, kw_only=True)
class UNet(Network):
    """Conditional U-Net in 1-D, 2-D and 3-D, any size, padded by the grid's boundary.

    Args:
        channels: Width at each resolution, finest first; each further one halves the grid.
        blocks: Residual blocks at each resolution, on the way down and on the way up.
        attention: Resolutions with self-attention over all cells, counted from 0 (finest).
        heads: Attention heads.
        groups: Channel groups of each normalisation; must divide every width.
        dropout: Share of features dropped in each block during training.
        embedding: Width of the level's and scalars' embedding.

    Source:
        Ronneberger et al. (2015), arXiv:1505.04597; Ho et al. (2020), arXiv:2006.11239; FiLM: Perez
        et al. (2018), arXiv:1709.07871.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    blocks: int = 2
    attention: tuple[int, ...] = ()
    heads: int = 4
    groups: int = 8
    dropout: float = 0.0
    embedding: int = 128

    def __post_init__(self) -> None:
        require(len(self.channels) >= 1, "channels", self.channels, "one width or more")
        require(self.groups >= 1, "groups", self.groups, "1 or more")
        for width in self.channels:
            fits = width >= 1 and width % self.groups == 0
            expected = f"positive multiples of groups={self.groups}"
            require(fits, "channels", self.channels, expected)
        require(self.blocks >= 1, "blocks", self.blocks, "1 or more")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "a share from 0 to below 1")
        require(
            self.embedding >= 2 and self.embedding % 2 == 0,
            "embedding",
            self.embedding,
            "an even width",
        )
        last = len(self.channels) - 1
        fits = all(0 <= depth <= last for depth in self.attention)
        require(fits, "attention", self.attention, f"resolutions from 0 to {last}")
        for depth in self.attention:
            fits = self.heads >= 1 and self.channels[depth] % self.heads == 0
            require(fits, "heads", self.heads, f"a divisor of channels {self.channels[depth]}")

    def check(self, ports: Ports) -> None:
        """Refuse grids that are too small for the depth, or of more than 3 dims."""
        dims = len(ports.grid.dims)
        require(1 <= dims <= 3, "network", dims, "a grid of 1, 2 or 3 space dims")
        for dim, size, sides in zip(
            ports.grid.dims, ports.grid.sizes, ports.grid.boundary, strict=True
        ):
            # Mirroring needs a second cell at the coarsest resolution.
            least = 2 if "wall" in sides else 1
            deepest = math.ceil(size / 2 ** (len(self.channels) - 1))
            fits = deepest >= least
            most = 1 + max(0, math.floor(math.log2(max(1, (size - 1) / max(1, least - 1)))))
            expected = f"at most {most} widths for {size} cells along {dim}"
            require(fits, "channels", self.channels, expected)

    def build(self, ports: Ports) -> Module:
        """A freshly initialised U-Net."""
        self.check(ports)
        return _UNet(self, ports)


class _Conv(nn.Module):
    """Convolution with an odd kernel whose padding is the grid's boundary."""

    def __init__(self, dims: int, fan_in: int, fan_out: int, sides: Sides, stride: int = 1) -> None:
        super().__init__()
        # Zeros on all sides are the convolution's own padding, with no copy.
        self.native = all(side == "zero" for pair in sides for side in pair)
        self.sides = sides
        padding = 1 if self.native else 0
        self.conv = _CONV[dims](fan_in, fan_out, 3, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """The filtered field; a stride of 2 keeps cells 0, 2, 4, ..."""
        out: Tensor = self.conv(x if self.native else pad(x, 1, self.sides))
        return out


class _Block(nn.Module):
    """Residual block of two convolutions with FiLM between; the second one starts at zero."""

    def __init__(self, spec: UNet, dims: int, fan_in: int, fan_out: int, sides: Sides) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(spec.groups, fan_in)
        self.conv_1 = _Conv(dims, fan_in, fan_out, sides)
        self.film = nn.Linear(spec.embedding, 2 * fan_out)
        self.norm_2 = nn.GroupNorm(spec.groups, fan_out, affine=False)
        self.dropout = nn.Dropout(spec.dropout)
        self.conv_2 = _Conv(dims, fan_out, fan_out, sides)
        self.skip = _CONV[dims](fan_in, fan_out, 1) if fan_in != fan_out else nn.Identity()
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        nn.init.zeros_(self.conv_2.conv.weight)
        nn.init.zeros_(self.conv_2.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x` plus what the block adds for this level."""
        hidden = self.conv_1(F.silu(self.norm_1(x)))
        film = self.film(embedding)
        scale, shift = film.reshape(*film.shape, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        hidden = torch.addcmul(shift, self.norm_2(hidden), 1 + scale)
        hidden = self.conv_2(self.dropout(F.silu(hidden)))
        out: Tensor = self.skip(x) + hidden
        return out


class _Attention(nn.Module):
    """Self-attention over all cells of a resolution, residual, starting at zero."""

    def __init__(self, spec: UNet, width: int) -> None:
        super().__init__()
        self.heads = spec.heads
        self.norm = nn.GroupNorm(spec.groups, width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`x` plus attention."""
        batch, width, *space = x.shape
        tokens = self.mix(self.norm(x).flatten(2).transpose(1, 2))
        parts = tokens.reshape(batch, -1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, -1, width))
        out: Tensor = x + mixed.transpose(1, 2).reshape(batch, width, *space)
        return out


class _Stage(nn.Module):
    """One block, with attention where asked."""

    def __init__(self, spec: UNet, dims: int, fan_in: int, depth: int, sides: Sides) -> None:
        super().__init__()
        width = spec.channels[depth]
        self.block = _Block(spec, dims, fan_in, width, sides)
        self.attention = _Attention(spec, width) if depth in spec.attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        out: Tensor = self.attention(self.block(x, embedding))
        return out


class _UNet(Module):
    """The built network; its description is `UNet`."""

    def __init__(self, spec: UNet, ports: Ports) -> None:
        super().__init__()
        dims, sides, widths = len(ports.grid.dims), ports.grid.boundary, spec.channels
        self.embedding = spec.embedding
        self.level = nn.Sequential(
            nn.Linear(spec.embedding, spec.embedding),
            nn.SiLU(),
            nn.Linear(spec.embedding, spec.embedding),
        )
        self.scalars = _scalar_embedding(ports.scalars, spec.embedding) if ports.scalars else None
        self.stem = _Conv(dims, ports.target + ports.condition, widths[0], sides)
        self.shrink = nn.ModuleList()
        self.down = nn.ModuleList()
        self.grow = nn.ModuleList()
        self.up = nn.ModuleList()
        for depth, width in enumerate(widths):
            if depth > 0:
                self.shrink.append(_Conv(dims, widths[depth - 1], width, sides, stride=2))
            stages = [_Stage(spec, dims, width, depth, sides) for _ in range(spec.blocks)]
            self.down.append(nn.ModuleList(stages))
        self.middle = _Block(spec, dims, widths[-1], widths[-1], sides)
        for depth in reversed(range(len(widths))):
            width = widths[depth]
            if depth < len(widths) - 1:
                # Narrowed before it is enlarged: the fine grid is where the time goes.
                self.grow.append(_CONV[dims](widths[depth + 1], width, 1))
            fan_in = [2 * width] + [width] * (spec.blocks - 1)
            stages = [_Stage(spec, dims, fan, depth, sides) for fan in fan_in]
            self.up.append(nn.ModuleList(stages))
        self.norm = nn.GroupNorm(spec.groups, widths[0])
        self.head = _Conv(dims, widths[0], ports.target, sides)
        nn.init.zeros_(self.head.conv.weight)
        nn.init.zeros_(self.head.conv.bias)  # type: ignore[arg-type]

    def forward(
        self,
        x: Float[Tensor, "batch channel *space"],
        level: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch given *space"] | None,
        scalars: Float[Tensor, "batch parameter"] | None,
    ) -> Float[Tensor, "batch channel *space"]:
        """See `Module.forward`."""
        embedding = self._embed(level, scalars)
        hidden = self.stem(x if condition is None else torch.cat([x, condition], dim=1))
        skips = []
        for depth, stages in enumerate(self.down):
            if depth > 0:
                hidden = self.shrink[depth - 1](hidden)
            for stage in stages:  # type: ignore[attr-defined]
                hidden = stage(hidden, embedding)
            skips.append(hidden)
        hidden = self.middle(hidden, embedding)
        for index, stages in enumerate(self.up):
            skip = skips.pop()
            if index > 0:
                hidden = _double(self.grow[index - 1](hidden), skip.shape[2:])
            hidden = torch.cat([hidden, skip], dim=1)
            for stage in stages:  # type: ignore[attr-defined]
                hidden = stage(hidden, embedding)
        out: Tensor = self.head(F.silu(self.norm(hidden)))
        return out

    def _embed(self, level: Tensor, scalars: Tensor | None) -> Tensor:
        """Level and scalars as one vector per example."""
        half = self.embedding // 2
        # Periods from 0.02 to 20 in units of log(noise / signal) / 4, which spans about -2 to 2.
        frequency = torch.logspace(math.log10(0.3), math.log10(300.0), half, device=level.device)
        angle = level[:, None] * frequency.to(level.dtype)
        embedding: Tensor = self.level(torch.cat([angle.sin(), angle.cos()], dim=1))
        if self.scalars is not None:
            assert scalars is not None, "the network was built with scalars and got none"
            embedding = embedding + self.scalars(scalars)
        return F.silu(embedding)


def _scalar_embedding(scalars: int, width: int) -> nn.Sequential:
    """Numbers to a vector as loud as the level's, so that a class is heard from the start."""
    first, last = nn.Linear(scalars, width), nn.Linear(width, width)
    nn.init.normal_(first.weight)
    nn.init.normal_(last.weight, std=width**-0.5)
    return nn.Sequential(first, nn.SiLU(), last)


def _double(x: Tensor, size: torch.Size) -> Tensor:
    """Each cell repeated along every space dim, cropped to `size`."""
    for axis in range(2, x.ndim):
        x = x.repeat_interleave(2, dim=axis).narrow(axis, 0, size[axis - 2])
    return x

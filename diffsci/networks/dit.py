"""A transformer over patches of the grid.

A convolution turns each patch of cells into a token; blocks of attention over all tokens and of a
token-wise network follow; a transposed convolution turns tokens into cells. The level, scalars and
noise set a shift, a scale and a gate in each block (adaLN-zero): all gates start at 0, so that
training starts from no blocks at all. Cells up to the next multiple of the patch are added beyond
the high side of each dim, as the grid's boundary says, and cut off at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.errors import require
from diffsci.networks import _checkpointing
from diffsci.networks._attention import Attention
from diffsci.networks._edges import Edges
from diffsci.networks._embedding import Embedding
from diffsci.networks._film import film, zeroed
from diffsci.networks._inputs import join
from diffsci.networks._padding import cut, pad_high
from diffsci.networks._positions import places, rotations
from diffsci.networks.base import Module, Network, Ports

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BACK = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@dataclass(frozen=True, kw_only=True)
class DiT(Network):
    """Diffusion transformer on patches in 1-D, 2-D and 3-D, any size; global attention alone.

    Positions are relative along periodic dims: shifts by whole patches commute with the network
    where the size is a multiple of the patch. Attention takes time as the square of the tokens:
    raise `patch`, or take `unet`, where there are more than some thousands.

    Args:
        patch: Cells along each side of a token.
        width: Features of a token.
        depth: Blocks.
        heads: Attention heads.
        mlp_ratio: Hidden features of the token-wise network, in units of `width`.
        dropout: Share of features dropped in each block during training.

    Source:
        Peebles, Xie (2023), arXiv:2212.09748; Dosovitskiy et al. (2021), arXiv:2010.11929.
    """

    patch: int = 4
    width: int = 192
    depth: int = 6
    heads: int = 6
    mlp_ratio: float = 4.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require(self.patch >= 1, "patch", self.patch, "1 cell or more")
        require(self.width >= 2, "width", self.width, "an even number, 2 or more")
        require(self.width % 2 == 0, "width", self.width, "an even number")
        require(self.depth >= 1, "depth", self.depth, "1 block or more")
        fits = [n for n in range(1, self.width // 2 + 1) if self.width % (2 * n) == 0]
        expected = f"heads of an even number of features of width={self.width}: one of {fits}"
        require(self.heads in fits, "heads", self.heads, expected)
        hidden = int(self.width * self.mlp_ratio)
        require(hidden >= 1, "mlp_ratio", self.mlp_ratio, f"1 / width={self.width} or more")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "a share from 0 to below 1")

    def check(self, ports: Ports) -> None:
        """Refuse patches larger than the grid, heads too narrow for its dims, and 4 dims."""
        dims = len(ports.grid.dims)
        require(1 <= dims <= 3, "network", dims, "a grid of 1, 2 or 3 space dims")
        Edges.of(ports.grid)
        for dim, size in zip(ports.grid.dims, ports.grid.sizes, strict=True):
            expected = f"at most {size}, the cells along {dim}"
            require(self.patch <= size, "patch", self.patch, expected)
        most = self.width // (2 * dims)
        expected = f"at most {most}: each of {dims} dims turns 2 features of a head"
        require(self.heads <= most, "heads", self.heads, expected)

    def build(self, ports: Ports) -> Module:
        """A freshly initialised transformer."""
        self.check(ports)
        return _DiT(self, ports)


class _Block(nn.Module):
    """Attention over all tokens, then a token-wise network, both residual behind gates of 0."""

    def __init__(self, spec: DiT) -> None:
        super().__init__()
        width, hidden = spec.width, int(spec.width * spec.mlp_ratio)
        self.film = zeroed(nn.Linear(width, 6 * width))
        self.attention = Attention(width, spec.heads)
        self.rise, self.fall = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x: Tensor, embedding: Tensor, rotation: Tensor) -> Tensor:
        """Tokens plus what the block adds; they stay in fp32 under autocast."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (
            self.film(embedding).to(x.dtype)[:, None].chunk(6, dim=-1)
        )
        mixed = self.attention(film(x, shift_1, scale_1), rotation)
        x = x + gate_1 * self.dropout(mixed)
        hidden = F.gelu(self.rise(film(x, shift_2, scale_2)), approximate="tanh")
        out: Tensor = x + gate_2 * self.fall(self.dropout(hidden))
        return out


class _DiT(Module):
    """The built network; its description is `DiT`."""

    rotation: Tensor
    place: Tensor

    def __init__(self, spec: DiT, ports: Ports) -> None:
        super().__init__()
        grid, dims = ports.grid, len(ports.grid.dims)
        self.ports, self.edges = ports, Edges.of(grid)
        self.extra = tuple(-size % spec.patch for size in grid.sizes)
        self.embedding = Embedding(ports, spec.width)
        self.stem = _CONV[dims](
            ports.target + ports.condition, spec.width, spec.patch, stride=spec.patch
        )
        self.blocks = nn.ModuleList(_Block(spec) for _ in range(spec.depth))
        self.film = zeroed(nn.Linear(spec.width, 2 * spec.width))
        head = _BACK[dims](spec.width, ports.outputs, spec.patch, stride=spec.patch)
        self.head = zeroed(head)
        pairs = spec.width // spec.heads // 2
        self.register_buffer("rotation", rotations(grid, spec.patch, pairs), persistent=False)
        self.register_buffer("place", places(grid, spec.patch, spec.width), persistent=False)

    def parts(self) -> Iterator[nn.Module]:
        """See `Module.parts`."""
        return iter(self.blocks)

    def forward(
        self,
        x: Float[Tensor, "batch channel *space"],
        level: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch given *space"] | None,
        scalars: Float[Tensor, "batch parameter"] | None,
        noise: Float[Tensor, "batch random"] | None = None,
    ) -> Float[Tensor, "batch out *space"]:
        """See `Module.forward`."""
        embedding = self.embedding(level, scalars, noise)
        field = join(x, condition, self.ports, whole=True)
        field = self.stem(pad_high(field, self.extra, self.edges, self.ports.vectors))
        # The sum with positions of fp32 keeps the residual stream in fp32 under autocast.
        tokens = field.flatten(2).transpose(1, 2) + self.place
        for block in self.blocks:
            tokens = _checkpointing.run(block, self.checkpointing, tokens, embedding, self.rotation)
        shift, scale = self.film(embedding)[:, None].chunk(2, dim=-1)
        tokens = film(tokens, shift, scale).transpose(1, 2)
        out: Tensor = self.head(tokens.reshape(field.shape))
        return cut(out, self.ports.grid.sizes)

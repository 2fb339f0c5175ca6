"""A network for vectors: every value of the target depends on every other through linear layers.

Channels and cells are one vector here, and no cell has a neighbour: for tables, angles, positions
of beads, or coefficients, which a grid describes by nothing but their number. The level, scalars
and noise set a shift and a scale in each residual block (FiLM).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.errors import require
from diffsci.networks import _checkpointing
from diffsci.networks._embedding import Embedding
from diffsci.networks._film import film, zeroed
from diffsci.networks._inputs import join
from diffsci.networks.base import Module, Network, Ports

_MOST = 4096
"""Values in or out: above, the first and last layers alone have millions of weights."""


@dataclass(frozen=True, kw_only=True)
class MLP(Network):
    """Residual linear layers for vectors and small grids: no neighbours, all values at once.

    Args:
        width: Features between the layers; the level's and scalars' embedding has as many.
        depth: Residual blocks of two layers.
        dropout: Share of features dropped in each block during training.

    Source:
        He et al. (2016), arXiv:1603.05027; FiLM: Perez et al. (2018), arXiv:1709.07871.
    """

    width: int = 256
    depth: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        fits = self.width >= 2 and self.width % 2 == 0
        require(fits, "width", self.width, "an even number, 2 or more")
        require(self.depth >= 1, "depth", self.depth, "1 block or more")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "a share from 0 to below 1")

    def check(self, ports: Ports) -> None:
        """Refuse grids of so many values that neighbours should count."""
        cells = math.prod(ports.grid.sizes)
        values = cells * max(ports.target + ports.condition, ports.outputs)
        expected = f"at most {_MOST} values (channels x cells); unet or dit take larger grids"
        require(values <= _MOST, "network", values, expected)

    def build(self, ports: Ports) -> Module:
        """A freshly initialised network."""
        self.check(ports)
        return _MLP(self, ports)


class _Film(nn.Module):
    """Normalised features, scaled and shifted by the embedding; before training they are left."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.film = zeroed(nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The features, in the dtype of `x`."""
        shift, scale = self.film(embedding).chunk(2, dim=1)
        return film(x, shift, scale)


class _Block(nn.Module):
    """Residual block of two linear layers; the second one starts at zero."""

    def __init__(self, spec: MLP) -> None:
        super().__init__()
        self.norm, self.dropout = _Film(spec.width), nn.Dropout(spec.dropout)
        self.first = nn.Linear(spec.width, spec.width)
        self.last = zeroed(nn.Linear(spec.width, spec.width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x` plus what the block adds for this level."""
        hidden = F.silu(self.first(self.norm(x, embedding)))
        out: Tensor = x + self.last(self.dropout(hidden))
        return out


class _MLP(Module):
    """The built network; its description is `MLP`."""

    def __init__(self, spec: MLP, ports: Ports) -> None:
        super().__init__()
        cells = math.prod(ports.grid.sizes)
        self.ports, self.embedding = ports, Embedding(ports, spec.width)
        self.stem = nn.Linear((ports.target + ports.condition) * cells, spec.width)
        self.blocks = nn.ModuleList(_Block(spec) for _ in range(spec.depth))
        self.norm = _Film(spec.width)
        self.head = zeroed(nn.Linear(spec.width, ports.outputs * cells))

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
        hidden = self.stem(join(x, condition, self.ports, whole=True).flatten(1))
        # Under autocast layers put out bf16; their sum is kept in fp32.
        hidden = hidden.to(embedding.dtype)
        for block in self.blocks:
            hidden = _checkpointing.run(block, self.checkpointing, hidden, embedding)
        out: Tensor = self.head(self.norm(hidden, embedding))
        return out.reshape(len(x), self.ports.outputs, *x.shape[2:])

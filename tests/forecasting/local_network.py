"""A small convolutional network of known reach: what is tiled, whatever the weights.

One convolution, one down-sampling by 2, one convolution below, up again by repeating, one more. An
output cell looks 1 + 1 + 2 + 1 + 1 = 6 cells far: a convolution 1, down-sampling 1, a convolution
below 2, a repeated cell stems from one cell before, the last convolution 1.
"""

from dataclasses import dataclass

import torch
from torch import nn

from diffsci.networks._padding import Edges, pad
from diffsci.networks.base import Module, Network, Reach

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True, kw_only=True)
class Local(Network):
    """A network of known reach."""

    width: int = 4
    local: bool = True

    def check(self, ports):
        """Any grid."""

    def build(self, ports):
        return _Local(self, ports)

    def reach(self, ports):
        dims = len(ports.grid.dims)
        return Reach(cells=(6,) * dims, stride=(2,) * dims) if self.local else None


class _Local(Module):
    def __init__(self, spec, ports):
        super().__init__()
        dims = len(ports.grid.dims)
        self.edges = Edges.of(ports.grid)
        self.coarse = self.edges.coarser()
        conv = CONV[dims]
        self.first = conv(ports.target + ports.condition, spec.width, 3)
        self.down = conv(spec.width, spec.width, 3, stride=2)
        self.below = conv(spec.width, spec.width, 3)
        self.last = conv(2 * spec.width, ports.outputs, 3)
        self.level = nn.Linear(1 + ports.scalars, spec.width)

    def forward(self, x, level, condition, scalars, noise=None):
        told = level[:, None] if scalars is None else torch.cat([level[:, None], scalars], 1)
        told = self.level(told).reshape(len(x), -1, *[1] * (x.ndim - 2))
        x = x if condition is None else torch.cat([x, condition], 1)
        x = torch.sin(self.first(pad(x, 1, self.edges)) + told)
        below = torch.sin(self.down(pad(x, 1, self.edges)))
        below = torch.sin(self.below(pad(below, 1, self.coarse)))
        for axis in range(2, x.ndim):
            below = below.repeat_interleave(2, axis).narrow(axis, 0, x.shape[axis])
        return self.last(pad(torch.cat([x, below], 1), 1, self.edges))

"""Edges of every kind, small."""

import torch

from diffsci.networks._padding import Edges

RING = ("periodic", "periodic")
POLES = ("pole", "pole")

EDGES = {
    "ring": Edges((RING,), (7,), ((0.5, 0.5),), 7.0),
    "one cell": Edges((("open", "zero"), RING), (1, 1), ((0.5, 0.5),) * 2, 1.0),
    "mixed": Edges((("wall", "open"), ("zero", "wall")), (5, 6), ((0.5, 0.5),) * 2, 6.0),
    "channel": Edges((("wall", "wall"), RING), (2, 3), ((0.5, 0.5),) * 2, 3.0),
    "box": Edges((RING, ("zero", "open"), ("wall", "zero")), (4, 3, 5), ((0.5, 0.5),) * 3, 5.0),
    "half off": Edges((POLES, RING), (4, 8), ((0.5, 0.5), (0.5, 0.5)), 8.0),
    "on poles": Edges((POLES, RING), (5, 8), ((0.0, 0.0), (0.5, 0.5)), 8.0),
    "between": Edges((POLES, RING), (5, 9), ((0.25, 0.75), (0.5, 0.5)), 9.0),
    "rounded up": Edges((POLES, RING), (6, 5), ((-0.375, 1.0), (0.5, 0.5)), 4.5),
    "one pole": Edges((("wall", "pole"), RING), (5, 6), ((0.5, 0.0), (0.5, 0.5)), 6.0),
    "levels": Edges(
        (("open", "open"), POLES, RING), (2, 4, 6), ((0.5, 0.5), (0.5, 0.125), (0.5, 0.5)), 6.0
    ),
}


def field(edges, channels=2, dtype=torch.float64):
    return torch.randn(2, channels, *edges.sizes, dtype=dtype)

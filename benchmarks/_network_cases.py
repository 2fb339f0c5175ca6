"""The inputs of `networks.py`, and our network for each: 3.5 million parameters, as all have."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmarks._peers import CHANNELS, Called
from diffsci import families
from diffsci.grid import Grid
from diffsci.networks.base import Ports


@dataclass(frozen=True, kw_only=True)
class Case:
    """An input, and our network for it, with zeros beyond the sides as others have by default."""

    batch: int
    cells: tuple[int, ...]
    ours: dict
    boundary: tuple[tuple[str, str], ...]

    @property
    def dims(self) -> int:
        """Of space."""
        return len(self.cells)

    def __str__(self) -> str:
        return " x ".join(map(str, (self.batch, CHANNELS, *self.cells)))


PERIODIC, POLE, ZERO = ("periodic", "periodic"), ("pole", "pole"), ("zero", "zero")
FLAT = {"channels": (48, 96, 144), "blocks": (1, 2, 3), "embedding": 112}
LINE = {"channels": (72, 144, 288), "blocks": 2, "embedding": 144}
SOLID = {"channels": (32, 64, 96), "blocks": (1, 2, 2), "embedding": 144}
CASES = {
    "2d": Case(batch=8, cells=(64, 64), ours=FLAT, boundary=(ZERO,) * 2),
    "1d": Case(batch=8, cells=(256,), ours=LINE, boundary=(ZERO,)),
    "3d": Case(batch=2, cells=(32, 32, 32), ours=SOLID, boundary=(ZERO,) * 3),
    "global": Case(batch=2, cells=(128, 256), ours=FLAT, boundary=(POLE, PERIODIC)),
}

EDGES = {
    "zero": (ZERO,) * 2,
    "periodic": (PERIODIC,) * 2,
    "wall": (("wall", "wall"),) * 2,
    "open": (("open", "open"),) * 2,
    "pole and periodic": (POLE, PERIODIC),
}


def grid_of(cells: tuple[int, ...], boundary: tuple[tuple[str, str], ...]) -> Grid:
    """A flat grid, or with poles the globe."""
    if "pole" in boundary[0]:
        step = 180 / cells[0]
        rows = tuple(-90 + step * (i + 0.5) for i in range(cells[0]))
        columns = tuple(360 / cells[1] * i for i in range(cells[1]))
        return Grid(
            dims=("latitude", "longitude"),
            coordinates=(rows, columns),
            units=("degrees_north", "degrees_east"),
            boundary=boundary,
            geometry="sphere",
        )
    return Grid(
        dims=("z", "y", "x")[-len(cells) :],
        coordinates=tuple(tuple(map(float, range(n))) for n in cells),
        units=("1",) * len(cells),
        boundary=boundary,
    )


def ours(fields: dict, grid: Grid) -> nn.Module:
    """Our network, called as those of others are."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    network = families.load("networks", fields.pop("use", "unet"))(**fields)
    ports = Ports(target=CHANNELS, condition=0, scalars=0, grid=grid)
    module = network.build(ports)
    # Nothing may be skipped because it is zero before training.
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return Called(module, lambda net, x, level: net(x, level, None, None))

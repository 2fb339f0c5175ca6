"""Coloured noise: waves of the grid's box with a spectrum that falls with the wavenumber.

White noise is taken to waves, each is multiplied by the root of its spectrum

    P(k) ~ (|k| + 1)^-slope,    |k| in cycles per longest dim,

and taken back: a symmetric map with an inverse, since P is positive, so noise reaches all
directions. (A spectrum steeper than the data's leaves their fine scales in little noise at every
level: the schedule's sigma_max must drown them nevertheless.)

Where all dims are periodic, the cells then have one variance. Cosines, along other dims, add up to
more at an edge than inside; so each cell is divided by its own standard deviation, and the noise is
no longer exactly stationary. Nor is it on the sphere, where cells are not of one size: for a globe
see `spherical`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffsci.diffusion.basis import Basis
from diffsci.diffusion.noises._table import Table
from diffsci.diffusion.noises.base import NoiseShape, Shaping
from diffsci.errors import require
from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Coloured(NoiseShape):
    """A spectrum that falls as a power of the wavenumber, in cells of the grid.

    Args:
        slope: Of the power of one wave; 0 is white, and in two dimensions 2 has about as much
            variance in each octave.
    """

    slope: float = 2.0

    def __post_init__(self) -> None:
        # Beyond 6 the finest waves of 1000 cells would be lost in the rounding of float32.
        require(0 <= self.slope <= 6, "slope", self.slope, "0 (white) to 6")

    def check(self, grid: Grid) -> None:
        """Every grid will do."""

    def shaping(self, grid: Grid) -> Shaping:
        """Multiplies each wave by the root of its spectrum."""
        basis = Basis.of(grid)
        power = (basis.wavenumber * basis.extent + 1) ** -self.slope
        root, std = torch.sqrt(power / power.mean()), torch.ones(grid.sizes, dtype=torch.float64)
        if not all(basis.periodic):
            std = torch.sqrt(_variance_of_cells(basis, root**2))
        roots, stds = Table(root), Table(std)

        def shape(white: Tensor) -> Tensor:
            return basis.inverse(basis.forward(white) * roots.like(white)) / stds.like(white)

        return shape


def _variance_of_cells(basis: Basis, power: Tensor) -> Tensor:
    """Sum over the waves of the power times the square of the wave, cell by cell."""
    for axis, size in enumerate(basis.sizes):
        along = Basis((size,), (basis.periodic[axis],))
        squares = along.inverse(torch.eye(size, dtype=torch.float64)) ** 2
        power = torch.tensordot(power, squares, dims=([0], [0]))
    return power

"""Spherical noise: the same at every place and in every direction of a globe.

A sum of spherical harmonics whose coefficients are independent, with a variance that depends on the
degree l alone, has a covariance that depends on the great-circle distance alone:

    C(distance) = sum_l s_l P_l(cos distance),    s_l ~ (2 l + 1) (l + 1)^-slope,    sum_l s_l = 1.

A grid of latitudes and longitudes resolves fewer harmonics than it has cells. In the directions
that are left x_t would hold clean data at every level; so a share of the variance is white, which
is isotropic too: its covariance is 0 at every distance but 0. There the noise is weaker, by the
root of that share, and the schedule's sigma_max must drown the data nevertheless.

All circles of longitude are alike, so that the covariance is diagonal along them in the waves of
`Basis`. What is left for each order m is a matrix of the latitudes, whose symmetric root shapes
white noise.

Source: Lang and Schwab (2015), Isotropic Gaussian random fields on the sphere,
doi:10.1214/14-AAP1067; Holmes and Featherstone (2002), doi:10.1007/s00190-002-0216-2, for the
recursion of the Legendre functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.basis import Basis
from diffsci.diffusion.noises._table import Table
from diffsci.diffusion.noises.base import NoiseShape, Shaping
from diffsci.errors import require
from diffsci.grid import Grid

LATITUDES = 256
"""Most circles of latitude: the matrices grow with the cube of their number."""


@dataclass(frozen=True, kw_only=True)
class Spherical(NoiseShape):
    """Isotropic on the sphere, for global grids of latitude and longitude.

    Args:
        slope: Of the variance of one harmonic, in its degree; 0 for white in degree.
        white: Share of the variance that is white in cells.
    """

    slope: float = 0.0
    white: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.slope <= 6, "slope", self.slope, "0 (white in degree) to 6")
        require(0 < self.white < 1, "white", self.white, "more than 0 and less than 1")

    def check(self, grid: Grid) -> None:
        """Refuse all but global grids of latitude and longitude."""
        boundary = dict(zip(grid.dims, grid.boundary, strict=True))
        globe = (
            grid.geometry == "sphere"
            and sorted(grid.dims) == ["latitude", "longitude"]
            and boundary["latitude"] == ("pole", "pole")
            and boundary["longitude"] == ("periodic", "periodic")
        )
        kind = f"{grid.geometry} grid of {boundary}"
        fix = "a global grid of latitude and longitude; for other grids use: coloured"
        require(globe, "spherical", kind, fix)
        longitude = torch.tensor(grid.coordinates[grid.dims.index("longitude")])
        around = 360 / len(longitude)
        even = bool(((longitude.diff().abs() - around).abs() < 1e-3 * around).all())
        require(even, "spherical", "uneven longitudes", f"steps of {around:g} degrees all around")
        rows = len(grid.coordinates[grid.dims.index("latitude")])
        require(
            rows <= LATITUDES,
            "spherical",
            f"{rows} latitudes",
            f"{LATITUDES} or fewer; for finer grids use: coloured",
        )

    def shaping(self, grid: Grid) -> Shaping:
        """Multiplies the latitudes of each zonal wave by the root of their covariance."""
        self.check(grid)
        across = grid.dims.index("longitude") == 0
        latitude = torch.tensor(grid.coordinates[int(across)], dtype=torch.float64)
        count = len(grid.coordinates[int(not across)])
        along = Basis((count,), (True,))
        order = (along.wavenumber * count).round().long()
        roots = Table(self._roots(torch.sin(torch.deg2rad(latitude)), count)[order])

        def shape(white: Tensor) -> Tensor:
            rows = white.mT if across else white
            waves = along.forward(rows)
            mixed = torch.einsum("mij,...jm->...im", roots.like(white), waves)
            shaped = along.inverse(mixed)
            return shaped.mT if across else shaped

        return shape

    def _roots(self, sine: Float[Tensor, " row"], count: int) -> Float[Tensor, "order row row"]:
        """Symmetric roots of the covariance of each order's rows, with unit variance in a cell."""
        highest = min(len(sine) - 1, (count - 1) // 2)
        degree = torch.arange(highest + 1, dtype=torch.float64)
        one = (degree + 1) ** -self.slope
        one = one * (1 - self.white) / ((2 * degree + 1) * one).sum()
        white = self.white * torch.eye(len(sine), dtype=torch.float64)
        roots = [torch.sqrt(white)] * (count // 2 + 1)
        for m, legendre in enumerate(_legendre(sine, highest)):
            # The waves are orthonormal over the `count` cells of a circle.
            part = count * (legendre.T * one[m:]) @ legendre
            values, vectors = torch.linalg.eigh(part + white)
            roots[m] = vectors * torch.sqrt(values.clamp(min=0)) @ vectors.T
        return torch.stack(roots)


def _legendre(sine: Float[Tensor, " row"], highest: int) -> list[Float[Tensor, "degree row"]]:
    """The functions of the degrees from m to `highest`, for each order m from 0 to `highest`.

    Each times exp(i m longitude) has mean square 1 over the sphere. Upwards in the degree, the
    recursion is stable; what underflows at high order near the poles is 0 for all purposes.
    """
    cosine = torch.sqrt((1 - sine) * (1 + sine))
    first, found = torch.ones_like(sine), []
    for m in range(highest + 1):
        if m:
            first = first * cosine * math.sqrt((2 * m + 1) / (2 * m))
        rows = [first, math.sqrt(2 * m + 3) * sine * first]
        for degree in range(m + 2, highest + 1):
            a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
            b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
            rows.append(a * (sine * rows[-1] - b * rows[-2]))
        found.append(torch.stack(rows[: highest - m + 1]))
    return found

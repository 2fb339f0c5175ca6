"""An orthonormal, real basis of waves on a grid, in which stationary fields are independent.

Along a periodic dim the waves are cos + sin (the discrete Hartley transform), which is its own
inverse; along any other they are the cosines that meet its edges flat (DCT-II), so that nothing is
taken to go on beyond an edge. Orthonormal in every dim: white noise stays white, sums of squares
stay what they are (Parseval), and one pair of matrix products per dim does it on any device.

A band holds all waves of about one wavenumber |k|, whatever their direction. A covariance that
depends on the band alone is that of a stationary field that is isotropic in the distances that
`spacing` gives; on a sphere these are those of its mean latitude. Of elongated or tilted structures
a band has the mean.

Source: Bracewell (1983), The discrete Hartley transform, doi:10.1364/JOSA.73.001832; Ahmed et al.
(1974), Discrete cosine transform, doi:10.1109/T-C.1974.223784.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffsci.grid import Grid


@dataclass(frozen=True)
class Basis:
    """Waves on a box of cells.

    Args:
        sizes: Cells along each space dim.
        periodic: Whether each dim joins its ends.
        spacing: Size of a cell along each dim, the finest being 1; none: all are 1.
    """

    sizes: tuple[int, ...]
    periodic: tuple[bool, ...]
    spacing: tuple[float, ...] = ()
    _cast: dict[tuple[torch.dtype, torch.device], tuple[Tensor, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, grid: Grid) -> Basis:
        """The waves of a grid."""
        return cls(grid.sizes, tuple("periodic" in sides for sides in grid.boundary), _cells(grid))

    @property
    def extent(self) -> float:
        """Length of the longest dim, in sizes of the finest cell."""
        return max(size * cell for size, cell in zip(self.sizes, self._spacing, strict=True))

    @property
    def _spacing(self) -> tuple[float, ...]:
        return self.spacing or (1.0,) * len(self.sizes)

    def forward(self, fields: Float[Tensor, "*lead_and_space"]) -> Float[Tensor, "*lead_and_space"]:
        """Coefficients of fields whose last dims are the space dims."""
        return self._applied(fields, inverse=False)

    def inverse(self, waves: Float[Tensor, "*lead_and_space"]) -> Float[Tensor, "*lead_and_space"]:
        """The fields with these coefficients."""
        return self._applied(waves, inverse=True)

    @cached_property
    def wavenumber(self) -> Float[Tensor, "*space"]:
        """|k| of each coefficient, in cycles per finest cell: at most 1/2 along a dim of these."""
        total = torch.zeros(self.sizes, dtype=torch.float64)
        for axis, (size, periodic) in enumerate(zip(self.sizes, self.periodic, strict=True)):
            index = torch.arange(size, dtype=torch.float64)
            cycles = torch.minimum(index, size - index) if periodic else index / 2
            shape = [1] * len(self.sizes)
            shape[axis] = size
            total = total + (cycles / size / self._spacing[axis]).reshape(shape) ** 2
        return torch.sqrt(total)

    @cached_property
    def band(self) -> Int[Tensor, "*space"]:
        """The band of each coefficient: |k| in cycles per longest dim, rounded."""
        return torch.floor(self.wavenumber * self.extent + 0.5).to(torch.int64)

    @property
    def bands(self) -> int:
        """Number of bands; along the diagonal of a box they go beyond those of its sides."""
        return int(self.band.max()) + 1

    def mean_by_band(self, values: Float[Tensor, "*lead_and_space"]) -> Float[Tensor, "*lead_band"]:
        """Mean over the coefficients of each band; NaN where a band is empty."""
        flat = values.flatten(-len(self.sizes))
        index = self.band.flatten().to(flat.device)
        sums = flat.new_zeros(*flat.shape[:-1], self.bands).index_add_(-1, index, flat)
        return sums / torch.bincount(index, minlength=self.bands).to(sums)

    def by_band(self, values: Float[Tensor, "*lead_band"]) -> Float[Tensor, "*lead_and_space"]:
        """The value of each coefficient's band."""
        return values[..., self.band.to(values.device)]

    def _applied(self, fields: Tensor, *, inverse: bool) -> Tensor:
        # Autocast would round to 8 bits what decides small waves.
        kind = fields.device.type
        full = torch.autocast(kind, enabled=False) if kind != "meta" else nullcontext()
        with full:
            for axis, matrix in enumerate(self._matrices(fields), start=-len(self.sizes)):
                turned = matrix if inverse else matrix.mT
                fields = (fields.movedim(axis, -1) @ turned).movedim(-1, axis)
        return fields

    def _matrices(self, like: Tensor) -> tuple[Tensor, ...]:
        key = like.dtype, like.device
        if key not in self._cast:
            # What is first made while sampling must still serve autograd, in a likelihood.
            with torch.inference_mode(False):
                self._cast[key] = tuple(
                    _waves(size, periodic).to(like)
                    for size, periodic in zip(self.sizes, self.periodic, strict=True)
                )
        return self._cast[key]


def _cells(grid: Grid) -> tuple[float, ...]:
    """Relative sizes of a cell; none where they are alike to 1 %, or cannot be compared."""
    sizes = []
    for dim, values in zip(grid.dims, grid.coordinates, strict=True):
        cell = abs(values[-1] - values[0]) / max(1, len(values) - 1)
        if grid.geometry == "sphere" and dim == "longitude":
            latitude = torch.tensor(grid.coordinates[grid.dims.index("latitude")]).double()
            cell *= float(torch.cos(torch.deg2rad(latitude)).mean())
        sizes.append(cell)
    comparable = grid.geometry == "sphere" or len(set(grid.units)) == 1
    finest = min(sizes)
    if not comparable or finest <= 0 or max(sizes) < 1.01 * finest:
        return ()
    return tuple(size / finest for size in sizes)


@lru_cache(maxsize=32)
def _waves(size: int, periodic: bool) -> Float[Tensor, "wave cell"]:
    wave = torch.arange(size, dtype=torch.float64)[:, None]
    cell = torch.arange(size, dtype=torch.float64)[None]
    if periodic:
        # The product is reduced before the angle is taken: sin of large numbers loses digits.
        angle = 2 * math.pi * ((wave * cell) % size) / size
        return (torch.cos(angle) + torch.sin(angle)) / math.sqrt(size)
    angle = math.pi * ((wave * (2 * cell + 1)) % (4 * size)) / (2 * size)
    scale = torch.full_like(wave, math.sqrt(2 / size))
    scale[0] = math.sqrt(1 / size)
    return scale * torch.cos(angle)

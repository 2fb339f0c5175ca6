"""Grid: where the values of a field sit, what lies beyond each edge, and how much each cell counts.

Networks read the boundaries to pad, scores read the cell weights. Nothing else knows geography.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError, require

Boundary = Literal["periodic", "wall", "open", "zero", "pole"]
"""What lies beyond an edge: the other side, a mirror, the edge again, zeros, across the pole."""

Geometry = Literal["flat", "sphere"]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Ordered space dims with sizes, coordinates, boundary per side and exact cell weights.

    Args:
        dims: Names in array order, such as `("latitude", "longitude")`.
        coordinates: One tuple of strictly monotonic values per dim, at cell centres.
        units: Unit of each coordinate, such as `"degrees_north"`.
        boundary: `(low side, high side)` of each dim, in array order.
        geometry: `sphere` weighs cells by their area, `flat` by their extent.
    """

    dims: tuple[str, ...]
    coordinates: tuple[tuple[float, ...], ...]
    units: tuple[str, ...]
    boundary: tuple[tuple[Boundary, Boundary], ...]
    geometry: Geometry = "flat"

    def __post_init__(self) -> None:
        count = len(self.dims)
        for name in ("coordinates", "units", "boundary"):
            found = len(getattr(self, name))
            require(found == count, name, found, f"one item for each of the dims {self.dims}")
        for dim, sides in zip(self.dims, self.boundary, strict=True):
            for side in sides:
                require(
                    side in get_args(Boundary),
                    f"boundary of {dim}",
                    side,
                    f"one of {get_args(Boundary)}",
                )
            if "periodic" in sides:
                require(
                    sides == ("periodic", "periodic"),
                    f"boundary of {dim}",
                    sides,
                    "periodic on both sides",
                )
        for dim, values in zip(self.dims, self.coordinates, strict=True):
            steps = np.diff(np.asarray(values))
            if not (np.isfinite(values).all() and ((steps > 0).all() or (steps < 0).all())):
                raise DataError(
                    f"coordinate {dim} is not strictly monotonic and finite: sort it, or drop "
                    "duplicates"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of cells along each dim."""
        return tuple(len(values) for values in self.coordinates)

    def bounds(self, dim: str) -> Float[np.ndarray, " edges"]:
        """Cell edges of one dim, one more than cells: midpoints, and half a cell beyond each end.

        On the sphere, latitude edges stop at the poles.
        """
        values = np.asarray(self.coordinates[self.dims.index(dim)], dtype=np.float64)
        if len(values) == 1:
            return np.array([values[0] - 0.5, values[0] + 0.5])
        middle = (values[1:] + values[:-1]) / 2
        edges = np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])
        if self.geometry == "sphere" and dim == "latitude":
            edges = np.clip(edges, -90.0, 90.0)
        return edges

    @cached_property
    def cell_weights(self) -> Float[np.ndarray, "*space"]:
        """Exact relative cell sizes, normalised to mean 1, float64."""
        weights = np.ones(self.sizes)
        for axis, dim in enumerate(self.dims):
            edges = self.bounds(dim)
            if self.geometry == "sphere" and dim == "latitude":
                edges = np.sin(np.deg2rad(edges))
            shape = [1] * len(self.dims)
            shape[axis] = -1
            weights = weights * np.abs(np.diff(edges)).reshape(shape)
        return np.asarray(weights / weights.mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Grid:
        """The grid that `to_dict` described."""
        return cls(
            dims=tuple(plain["dims"]),
            coordinates=tuple(tuple(values) for values in plain["coordinates"]),
            units=tuple(plain["units"]),
            boundary=tuple((low, high) for low, high in plain["boundary"]),
            geometry=plain["geometry"],
        )

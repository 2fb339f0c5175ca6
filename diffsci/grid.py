"""Grid: where the values of a field sit, what lies beyond each edge, and how much each cell counts.

Networks read the boundaries to pad, scores read the cell weights. Nothing else knows geography.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError, require

Boundary = Literal["periodic", "wall", "open", "zero", "pole"]
"""What lies beyond an edge: the other side, a mirror, the edge again, zeros, across the pole."""

Geometry = Literal["flat", "sphere"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Where the cells of a grid lie on the globe, whose dims are not latitude and longitude.

    Args:
        latitude: Of each centre, degrees north.
        longitude: Of each centre, degrees east.
        areas: Relative size of each cell.
        mapping: CF attributes of the projection; empty where the grid has none.
    """

    latitude: Float[np.ndarray, "y x"]
    longitude: Float[np.ndarray, "y x"]
    areas: Float[np.ndarray, "y x"]
    mapping: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def _key(self) -> tuple[bytes, ...]:
        arrays = (self.latitude, self.longitude, self.areas)
        return *(np.ascontiguousarray(a).tobytes() for a in arrays), repr(self.mapping).encode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places) and self._key == other._key

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        arrays = ("latitude", "longitude", "areas")
        told = {name: getattr(self, name).tolist() for name in arrays}
        return told | {"mapping": [list(pair) for pair in self.mapping]}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Places:
        """What `to_dict` described."""
        arrays = ("latitude", "longitude", "areas")
        told = {name: np.array(plain[name], dtype=np.float64) for name in arrays}
        return cls(**told, mapping=tuple((key, value) for key, value in plain["mapping"]))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Ordered space dims with sizes, coordinates, boundary per side and exact cell weights.

    Args:
        dims: Names in array order, such as `("latitude", "longitude")`.
        coordinates: One tuple of strictly monotonic values per dim, at cell centres.
        units: Unit of each coordinate, such as `"degrees_north"`.
        boundary: `(low side, high side)` of each dim, in array order.
        geometry: `sphere` weighs cells by their area, `flat` by their extent.
        places: Where cells lie on the globe, where dims are not latitude and longitude; their areas
            are then the weights.
    """

    dims: tuple[str, ...]
    coordinates: tuple[tuple[float, ...], ...]
    units: tuple[str, ...]
    boundary: tuple[tuple[Boundary, Boundary], ...]
    geometry: Geometry = "flat"
    places: Places | None = None

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
        if self.places is not None:
            shape = self.places.areas.shape
            require(shape == self.sizes, "places", shape, f"the shape of the grid, {self.sizes}")

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
        if self.places is not None:
            return np.asarray(self.places.areas / self.places.areas.mean())
        weights = np.ones(self.sizes)
        for axis, dim in enumerate(self.dims):
            edges = self.bounds(dim)
            if self.geometry == "sphere" and dim == "latitude":
                edges = np.sin(np.deg2rad(edges))
            shape = [1] * len(self.dims)
            shape[axis] = -1
            weights = weights * np.abs(np.diff(edges)).reshape(shape)
        return np.asarray(weights / weights.mean())

    def same_place(self, other: Grid, share: float = 1e-3) -> bool:
        """Whether another grid has the same cells, to a share of a cell."""
        if self.dims != other.dims or self.sizes != other.sizes:
            return False
        for one, two in zip(self.coordinates, other.coordinates, strict=True):
            cell = abs(two[1] - two[0]) if len(two) > 1 else 1.0
            if np.abs(np.subtract(one, two)).max() > share * cell:
                return False
        if self.places is None or other.places is None:
            return self.places is None and other.places is None
        names = ("latitude", "longitude")
        pairs = [(getattr(self.places, name), getattr(other.places, name)) for name in names]
        # 1e-3 degrees: coordinates are often stored as float32.
        return all(bool((np.abs((a - b + 180) % 360 - 180) < 1e-3).all()) for a, b in pairs)

    def cells_of(self, other: Grid, share: float = 1e-3) -> tuple[np.ndarray, ...] | None:
        """Numbers along each dim of the cells that another grid has; none where one is not there.

        Args:
            other: Of the same dims; a box within this one may count longitudes otherwise.
            share: How far coordinates may be off, in cells.
        """
        if self.dims != other.dims or self.places is not None or other.places is not None:
            whole = tuple(np.arange(size) for size in self.sizes)
            return whole if self.same_place(other, share) else None
        found = []
        for dim, have, want in zip(self.dims, self.coordinates, other.coordinates, strict=True):
            apart = np.abs(np.subtract.outer(want, have))
            if self.geometry == "sphere" and dim == "longitude":
                apart = np.minimum(apart % 360, -apart % 360)
            cell = abs(want[1] - want[0]) if len(want) > 1 else 1.0
            if (apart.min(axis=1) > share * cell).any():
                return None
            found.append(apart.argmin(axis=1))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        told: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        places = told.pop("places")
        return told if places is None else told | {"places": places.to_dict()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Grid:
        """The grid that `to_dict` described."""
        return cls(
            dims=tuple(plain["dims"]),
            coordinates=tuple(tuple(values) for values in plain["coordinates"]),
            units=tuple(plain["units"]),
            boundary=tuple((low, high) for low, high in plain["boundary"]),
            geometry=plain["geometry"],
            places=Places.from_dict(plain["places"]) if "places" in plain else None,
        )

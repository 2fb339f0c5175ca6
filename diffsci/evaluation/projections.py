"""Projections: where points of the globe lie on a flat map.

Both keep areas, so that the eye weighs cells as the scores do: Lambert's azimuthal one about the
middle of a part of the globe, and Equal Earth for more. They are closed forms on the sphere, so
that a map needs no library. Coastlines are Natural Earth's, where cartopy has put them on the disk:
see `coastlines.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import MaxNLocator

from diffsci.evaluation.canvas import edges
from diffsci.evaluation.coastlines import coastlines
from diffsci.grid import Grid

Plane = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Longitude and latitude in degrees -> x and y in radii of the globe; NaN where there is none."""

_PART = 180.0
"""Degrees of longitude up to which a grid is a part of the globe."""
_CAP = 30.0
"""Latitude from which a ring around the pole is drawn about it."""


def lambert(
    longitude: Float[np.ndarray, "*n"],
    latitude: Float[np.ndarray, "*n"],
    centre: tuple[float, float],
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Lambert's azimuthal equal-area projection of a sphere of radius 1; NaN at the antipode.

    Args:
        longitude: Degrees east.
        latitude: Degrees north.
        centre: Longitude and latitude that are brought to the origin.

    Source:
        Snyder (1987), Map projections: a working manual, USGS 1395, eqs. 24-2 to 24-4.
    """
    lon, lat = np.deg2rad(longitude - centre[0]), np.deg2rad(latitude)
    mid = np.deg2rad(centre[1])
    along = np.sin(mid) * np.sin(lat) + np.cos(mid) * np.cos(lat) * np.cos(lon)
    with np.errstate(divide="ignore", invalid="ignore"):
        k = np.where(along > -1 + 1e-9, np.sqrt(2 / (1 + along)), np.nan)
    up = np.cos(mid) * np.sin(lat) - np.sin(mid) * np.cos(lat) * np.cos(lon)
    return k * np.cos(lat) * np.sin(lon), k * up


def equal_earth(
    longitude: Float[np.ndarray, "*n"], latitude: Float[np.ndarray, "*n"], meridian: float
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Equal Earth projection of a sphere of radius 1.

    Args:
        longitude: Degrees east, within 180 of the meridian: beyond, a map would overlap itself.
        latitude: Degrees north.
        meridian: That is brought to x = 0.

    Source:
        Šavrič, Patterson, Jenny (2019), The Equal Earth map projection,
        doi:10.1080/13658816.2018.1504949.
    """
    a = (1.340264, -0.081106, 0.000893, 0.003796)
    t = np.arcsin(np.sqrt(3) / 2 * np.sin(np.deg2rad(latitude)))
    slope = a[0] + 3 * a[1] * t**2 + t**6 * (7 * a[2] + 9 * a[3] * t**2)
    x = 2 * np.deg2rad(longitude - meridian) * np.cos(t) / (np.sqrt(3) * slope)
    return x, t * (a[0] + a[1] * t**2 + t**6 * (a[2] + a[3] * t**2))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """The plane on which a grid is drawn.

    Args:
        plane: From the globe to it.
        x: Of the corners of cells.
        y: The same.
        graticule: Lines to draw, `[point, xy]` each.
        labels: Text of a line in degrees, dim, and where on the map it stands.
    """

    plane: Plane
    x: Float[np.ndarray, "row column"]
    y: Float[np.ndarray, "row column"]
    graticule: tuple[Float[np.ndarray, "point 2"], ...]
    labels: tuple[tuple[float, str, tuple[float, float]], ...]

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width, in radii of the globe."""
        return float(np.nanmax(self.y) - np.nanmin(self.y)), float(
            np.nanmax(self.x) - np.nanmin(self.x)
        )

    def coast(self) -> list[Float[np.ndarray, "point 2"]]:
        """Coastlines on the plane, cut where they leave it at one side and come back at another."""
        lines = []
        for place in coastlines():
            line = np.stack(self.plane(place[:, 0], place[:, 1]), axis=1)
            # No coastline has two points half a radius apart: such a step crosses the map's seam.
            far = np.hypot(*np.diff(line, axis=0).T) > 0.5
            lines += [part for part in np.split(line, np.flatnonzero(far) + 1) if len(part) > 1]
        return lines


@lru_cache(maxsize=8)
def sheet_of(grid: Grid) -> Sheet | None:
    """The map on which a grid of the globe is drawn; none for one that is flat, or has one dim."""
    if len(grid.dims) != 2:
        return None
    if grid.places is not None:
        latitude, longitude = grid.places.latitude, grid.places.longitude
        # Around the circle, next to the first cell.
        longitude = longitude.flat[0] + (longitude - longitude.flat[0] + 180) % 360 - 180
        plane, whole = _plane(longitude, latitude)
        x, y = (_corners(values) for values in plane(longitude, latitude))
    elif grid.geometry == "sphere" and grid.dims == ("latitude", "longitude"):
        sides = np.clip(edges(grid.coordinates[0]), -90, 90), edges(grid.coordinates[1])
        latitude, longitude = np.meshgrid(*sides, indexing="ij")
        plane, whole = _plane(longitude, latitude)
        x, y = plane(longitude, latitude)
    else:
        return None
    lines, labels = _graticule(plane, longitude, latitude, whole)
    return Sheet(plane=plane, x=x, y=y, graticule=lines, labels=labels)


def _plane(longitude: np.ndarray, latitude: np.ndarray) -> tuple[Plane, bool]:
    """What fits so much of the globe, and whether it is all around it."""
    low, high = float(latitude.min()), float(latitude.max())
    east = (float(longitude.min()) + float(longitude.max())) / 2
    if np.ptp(longitude) <= _PART:
        centre = (east, (low + high) / 2)
        return lambda lon, lat: lambert(lon, lat, centre), False
    if low >= _CAP or high <= -_CAP:
        pole = (east, 90.0 if low > 0 else -90.0)
        return lambda lon, lat: lambert(lon, lat, pole), True

    def around(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Edges at exactly 180 degrees stay at their own side of the map.
        apart = np.asarray(lon) - east
        turned = np.where(np.abs(apart) <= 180 + 1e-9, apart, (apart + 180) % 360 - 180)
        return equal_earth(turned, lat, 0.0)

    return around, True


def _corners(centres: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y1 x1"]:
    """Corners of cells from their centres, as `edges` has them, along one axis and the other."""
    for axis in (0, 1):
        rows = np.moveaxis(centres, axis, 0)
        rows = np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows
        middle = (rows[1:] + rows[:-1]) / 2
        rows = np.concatenate([2 * rows[:1] - middle[:1], middle, 2 * rows[-1:] - middle[-1:]])
        centres = np.moveaxis(rows, 0, axis)
    return centres


def _graticule(
    plane: Plane, longitude: np.ndarray, latitude: np.ndarray, whole: bool
) -> tuple[tuple[np.ndarray, ...], tuple[tuple[float, str, tuple[float, float]], ...]]:
    """Meridians and parallels in round degrees, and what is written at the west and the south."""
    south, north = float(latitude.min()), float(latitude.max())
    west, east = float(longitude.min()), float(longitude.max())
    lines, labels = [], []
    for value in _round(south, north):
        at = np.linspace(west, east, 91)
        line = np.stack(plane(at, np.full_like(at, value)), axis=1)
        lines.append(line)
        labels.append((value, "latitude", (float(line[0, 0]), float(line[0, 1]))))
    for value in _round(west, east):
        at = np.linspace(south, north, 91)
        line = np.stack(plane(np.full_like(at, value), at), axis=1)
        lines.append(line)
        if not whole:
            labels.append((value, "longitude", (float(line[0, 0]), float(line[0, 1]))))
    return tuple(lines), tuple(labels)


def _round(low: float, high: float) -> list[float]:
    """About three round numbers of degrees between two."""
    span = high - low
    if span > 60:
        step = 60.0 if span > 180 else 30.0
        values = (step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)).tolist()
    else:
        values = list(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high))
    inside = [float(value) for value in values if low < value < high]
    return [value for value in inside if abs(value) != 90]

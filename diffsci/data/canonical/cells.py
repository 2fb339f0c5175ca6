"""Cells of a grid whose latitude and longitude depend on two dims: how large they are.

Corners lie halfway between four centres, on beyond the outermost ones by the same step; an area is
that of the spherical quadrilateral between them, its sides parts of great circles.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def on_sphere(
    latitude: Float[np.ndarray, "*shape"], longitude: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape 3"]:
    """Unit vectors of places in degrees."""
    north, east = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1
    )


def corners(centres: Float[np.ndarray, "y x 3"]) -> Float[np.ndarray, "y1 x1 3"]:
    """Unit vectors of the corners between cells, one more along each dim."""
    wide = centres
    for axis in (0, 1):
        first, last = np.take(wide, [0], axis), np.take(wide, [-1], axis)
        if wide.shape[axis] > 1:
            first = 2 * first - np.take(wide, [1], axis)
            last = 2 * last - np.take(wide, [-2], axis)
        wide = np.concatenate([first, wide, last], axis=axis)
    found = wide[1:, 1:] + wide[1:, :-1] + wide[:-1, 1:] + wide[:-1, :-1]
    return np.asarray(found / np.linalg.norm(found, axis=-1, keepdims=True))


def areas(around: Float[np.ndarray, "y x 4 3"]) -> Float[np.ndarray, "y x"]:
    """Solid angle of each cell, from its corners in turn.

    Source:
        Van Oosterom and Strackee (1983), The solid angle of a plane triangle,
        doi:10.1109/TBME.1983.325207.
    """
    one, two, three, four = np.moveaxis(around, -2, 0)
    found: np.ndarray = _triangle(one, two, three) + _triangle(one, three, four)
    return found


def _triangle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    volume = np.abs((a * np.cross(b, c)).sum(axis=-1))
    below = 1 + (a * b).sum(axis=-1) + (b * c).sum(axis=-1) + (c * a).sum(axis=-1)
    return np.asarray(2 * np.arctan2(volume, below))


def cell_areas(
    latitude: Float[np.ndarray, "y x"], longitude: Float[np.ndarray, "y x"]
) -> Float[np.ndarray, "y x"]:
    """Solid angle of each cell, from the centres alone."""
    found = corners(on_sphere(latitude, longitude))
    turn = [found[:-1, :-1], found[:-1, 1:], found[1:, 1:], found[1:, :-1]]
    return areas(np.stack(turn, axis=-2))

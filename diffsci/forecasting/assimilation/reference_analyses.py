"""What an analysis has to beat: interpolation of the observations, and the climatology."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.interpolate import (  # type: ignore[import-untyped]
    LinearNDInterpolator,
    NearestNDInterpolator,
)

from diffsci.forecasting.assimilation.sighting import Placed
from diffsci.forecasting.surrogate import Surrogate


def interpolated(
    seen: Placed, frames: int, model: Surrogate
) -> Float[np.ndarray, "member frame channel *space"]:
    """Linear in space and time between the observations of each channel; one member.

    A step and a cell count as equally far. A mean stands at the middle of its cells. Outside of all
    observations it is the nearest one, and without any the mean of training.

    Args:
        seen: The observations.
        frames: How many.
        model: Whose channels and grid they are of.
    """
    grid, channels = model.grid, len(model.channels)
    axes = [np.arange(frames), *[np.arange(size) for size in grid.sizes]]
    wanted = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    made = np.empty((1, frames, channels, *grid.sizes), dtype=np.float32)
    for channel in range(channels):
        rows = np.flatnonzero(seen.channels == channel)
        if len(rows) == 0:
            made[0, :, channel] = model.statistics.state_mean[channel]
            continue
        at = np.array([_place(seen, int(row), model) for row in rows])
        values = seen.values[rows]
        for number, size in enumerate(grid.sizes, start=1):
            if "periodic" in grid.boundary[number - 1]:
                at, values = _around(at, values, number, size)
        found = np.full(len(wanted), np.nan)
        if len(rows) > len(axes) + 1:
            found = LinearNDInterpolator(at, values)(wanted)
        lacking = np.isnan(found)
        found[lacking] = NearestNDInterpolator(at, values)(wanted[lacking])
        made[0, :, channel] = found.reshape(frames, *grid.sizes)
    return made


def _place(seen: Placed, row: int, model: Surrogate) -> np.ndarray:
    """Frame and cell of an observation; of several cells their middle, across an edge too."""
    cells, weights = seen.terms[row]
    place = [float(seen.frames[row])]
    for size, index in zip(
        model.grid.sizes, np.unravel_index(cells, model.grid.sizes), strict=True
    ):
        apart = (index - index[0] + size // 2) % size - size // 2
        place.append(float(index[0] + (weights * apart).sum()))
    return np.array(place)


def _around(
    at: np.ndarray, values: np.ndarray, number: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Observations once more beyond both ends of a dim that closes on itself."""
    low, high = at.copy(), at.copy()
    low[:, number] -= size
    high[:, number] += size
    near_low, near_high = low[:, number] > -size / 2, high[:, number] < 1.5 * size
    return (
        np.concatenate([at, low[near_low], high[near_high]]),
        np.concatenate([values, values[near_low], values[near_high]]),
    )


def climatological(
    model: Surrogate, frames: int, members: int, seed: int
) -> Float[np.ndarray, "member frame channel *space"]:
    """Normal draws with mean and spread of training, each cell by itself: what is known unseen.

    Args:
        model: With the statistics.
        frames: How many.
        members: How many.
        seed: Of the draws.
    """
    wide = (-1, *[1] * len(model.grid.sizes))
    random = np.random.default_rng([seed, 7])
    shape = (members, frames, len(model.channels), *model.grid.sizes)
    std, mean = model.statistics.state_std.reshape(wide), model.statistics.state_mean.reshape(wide)
    drawn: np.ndarray = random.standard_normal(shape) * std + mean
    return drawn.astype(np.float32)

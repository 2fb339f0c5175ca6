"""Small labelled data sets that tests write in odd ways."""

import numpy as np
import xarray as xr

from diffsci.data.fields import Channel, Fields
from diffsci.grid import Grid


def weather(times=8, latitudes=7, longitudes=9, start="2001-01-01", step_hours=6, seed=0):
    """Clean, canonical weather data on a box, as a user's file might hold it."""
    rng = np.random.default_rng(seed)
    time = np.datetime64(start, "ns") + np.arange(times) * np.timedelta64(step_hours, "h")
    values = rng.normal(280, 10, (times, latitudes, longitudes)).astype(np.float32)
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {
            "time": time,
            "latitude": ("latitude", np.linspace(40, 55, latitudes), {"units": "degrees_north"}),
            "longitude": ("longitude", 10 + 2.5 * np.arange(longitudes), {"units": "degrees_east"}),
        },
    )


def global_weather(times=4, spacing=30.0, seed=0):
    """Clean, global weather data without cells on the poles."""
    rng = np.random.default_rng(seed)
    latitude = np.arange(-90 + spacing / 2, 90, spacing)
    longitude = np.arange(0, 360, spacing)
    values = rng.normal(size=(times, len(latitude), len(longitude))).astype(np.float32)
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {
            "time": np.datetime64("2001-01-01", "ns") + np.arange(times) * np.timedelta64(1, "D"),
            "latitude": latitude,
            "longitude": longitude,
        },
    )


def pde(samples=5, times=6, points=16, seed=0):
    """Trajectories of one field on a ring with one parameter each."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "u": (("sample", "time", "x"), rng.normal(size=(samples, times, points)).astype("f4")),
            "viscosity": ("sample", np.linspace(0.5, 1.5, samples)),
        },
        {"time": ("time", 0.2 * np.arange(times), {"units": "s"}), "x": 0.5 * np.arange(points)},
        {"boundary": "periodic"},
    )


def images(samples=6, size=5, seed=0):
    """Grey images in three classes."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "ink": (("sample", "y", "x"), rng.uniform(0, 16, (samples, size, size)).astype("f4")),
            "label": ("sample", np.arange(samples) % 3),
        }
    )


def fields(space=(8,), channels=2, trajectories=3, times=10, periodic=True, seed=0, **changes):
    """`Fields` of random numbers on a regular flat grid."""
    rng = np.random.default_rng(seed)
    side = "periodic" if periodic else "open"
    dims = ("y", "x")[-len(space) :]
    grid = Grid(
        dims=dims,
        coordinates=tuple(tuple(float(i) for i in range(n)) for n in space),
        units=("1",) * len(space),
        boundary=((side, side),) * len(space),
    )
    given = {
        "values": rng.normal(3, 2, (trajectories, times, channels, *space)).astype("f4"),
        "channels": tuple(Channel(variable=f"u{i}", unit="1") for i in range(channels)),
        "grid": grid,
        "trajectories": np.arange(trajectories),
        "times": 0.5 * np.arange(times),
        "breaks": np.zeros(times, dtype=bool),
        "time_unit": "s",
        "source": "made",
    }
    return Fields(**(given | changes))

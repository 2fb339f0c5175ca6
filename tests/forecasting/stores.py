"""Forecast stores of made-up members, labelled by the domains themselves."""

import numpy as np

from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.data.fields import Cases, Channel
from diffsci.forecasting.store.disk import write_whole
from diffsci.grid import Grid

_LEVEL = (
    ("standard_name", "geopotential"),
    ("level:standard_name", "air_pressure"),
    ("level:units", "hPa"),
    ("level:positive", "down"),
    ("level:axis", "Z"),
)


def _cases(count, leads, times, step, labels):
    dated = isinstance(step, np.timedelta64)
    return Cases(
        rows=np.stack([np.zeros(count, int), np.arange(count)], axis=1),
        keys=tuple(map(str, range(count))),
        trajectories=np.arange(count) * (not dated),
        times=times,
        leads=tuple(range(1, leads + 1)) if leads else (),
        step=step if leads else None,
        labels=labels,
    )  # fmt: skip


def weather(cases=5, members=4, leads=3, seed=0, hours=6):
    """t2m, and the geopotential at two levels."""
    grid = Grid(
        dims=("latitude", "longitude"),
        coordinates=(tuple(np.linspace(40, 50, 6)), tuple(np.linspace(0, 14, 8))),
        units=("degrees_north", "degrees_east"),
        boundary=(("open", "open"),) * 2,
        geometry="sphere",
    )
    channels = (
        Channel(variable="t2m", unit="K", attributes=(("standard_name", "air_temperature"),)),
        Channel(variable="z", unit="m2 s-2", level=500.0, attributes=_LEVEL),
        Channel(variable="z", unit="m2 s-2", level=850.0, attributes=_LEVEL),
    )
    step = np.timedelta64(hours, "h").astype("timedelta64[ns]")
    times = np.datetime64("2020-01-01", "ns") + np.arange(cases) * np.timedelta64(6, "h")
    shape = (cases, members, max(leads, 1), 3, *grid.sizes)
    values = np.random.default_rng(seed).normal(280, 5, shape).astype(np.float32)
    labelled = Weather().label(
        values, _cases(cases, leads, times, step, {}), channels, grid, np.arange(members)
    )
    return labelled.assign_attrs(title="made up")


def truth(cases=5, leads=3):
    """What the forecasts of `weather` are for, without members."""
    made = weather(cases, 1, leads, seed=99).isel(number=0, drop=True)
    return made


def waves(cases=4, members=3, leads=5, unit="1"):
    grid = Grid(
        dims=("x",),
        coordinates=(tuple(np.arange(16.0)),),
        units=("m",),
        boundary=(("periodic", "periodic"),),
    )
    values = np.random.default_rng(0).normal(size=(cases, members, leads, 1, 16))
    labels = {"speed": 0.5 * np.arange(cases)}
    made = Pde().label(
        values.astype(np.float32),
        _cases(cases, leads, np.full(cases, 0.5), 0.25, labels),
        (Channel(variable="u", unit="m s-1"),),
        grid,
        np.arange(members),
        unit,
    )
    return made.assign_attrs(title="made up")


def images(cases=4, members=3):
    grid = Grid(
        dims=("y", "x"),
        coordinates=(tuple(np.arange(6.0)),) * 2,
        units=("1", "1"),
        boundary=(("open", "open"),) * 2,
    )
    values = np.random.default_rng(0).random((cases, members, 1, 1, 6, 6)).astype(np.float32)
    labels = {"label": np.arange(cases) % 2}
    made = Image().label(
        values,
        _cases(cases, 0, np.zeros(0), None, labels),
        (Channel(variable="ink", unit="1"),),
        grid,
        np.arange(members),
    )
    return made.assign_attrs(title="made up")


def written(labelled, place, cases=2):
    """The store on disk; its path."""
    case_dim = "sample" if "sample" in labelled.dims else "time"
    write_whole(place, labelled, case_dim, cases)
    return place

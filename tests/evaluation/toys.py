"""Small results of every kind of data, for the table, the figures and the pages."""

import numpy as np

from diffsci import families
from diffsci.data.fields import Channel
from diffsci.evaluation.canvas import Results
from diffsci.evaluation.table import evaluate
from diffsci.grid import Grid

USUAL = ("crps", "rmse", "spread_skill", "rank_histogram")
AIR = Channel(variable="air_temperature", unit="K")


def scores(*names):
    return [families.load("scores", name)() for name in names]


def line(size=16):
    return Grid(
        dims=("x",),
        coordinates=(tuple(np.arange(size) * 0.5),),
        units=("m",),
        boundary=(("periodic", "periodic"),),
    )


def globe():
    """Odd sizes, latitude descending."""
    return Grid(
        dims=("latitude", "longitude"),
        coordinates=(tuple(np.linspace(60, 15, 7)), tuple(np.linspace(225, 315, 9))),
        units=("degrees_north", "degrees_east"),
        boundary=(("open", "open"),) * 2,
        geometry="sphere",
    )


def box(*sizes):
    dims = ("z", "y", "x")[-len(sizes) :]
    return Grid(
        dims=dims,
        coordinates=tuple(tuple(np.arange(float(size))) for size in sizes),
        units=("1",) * len(sizes),
        boundary=(("open", "open"),) * len(sizes),
    )


def results(grid, *, leads=None, given=True, labels=False, cases=6, channels=(AIR,), members=5):
    """A model that is perfect, and a baseline of one member that is the given field."""
    random = np.random.default_rng(0)
    steps = 1 if leads is None else len(leads)
    shape = (len(channels), *grid.sizes)
    known = random.normal(size=(cases, *shape)).astype(np.float32) + 280
    truth = known[:, None] + random.normal(size=(cases, steps, *shape)).astype(np.float32)
    noise = random.normal(size=(cases, members, steps, *shape)).astype(np.float32)
    return Results(
        forecasts={
            "model": known[:, None, None] + noise,
            "persistence": np.broadcast_to(known[:, None, None], (cases, 1, steps, *shape)),
        },
        truth=truth,
        given=known if given else None,
        channels=channels,
        grid=grid,
        leads=leads,
        lead_unit="h" if leads else "",
        keys=tuple(f"2000-01-{day + 1:02d}T00:00:00" for day in range(cases)),
        labels=np.arange(cases) % 3 if labels else None,
    )


def table(found, *names, resamples=50):
    return evaluate(
        found.forecasts,
        found.truth,
        channels=found.channels,
        grid=found.grid,
        leads=found.leads,
        scores=scores(*(names or USUAL)),
        resamples=resamples,
        confidence=0.9,
        keys=found.keys,
    )

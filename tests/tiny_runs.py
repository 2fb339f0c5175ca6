"""Whole pipelines that run in a second: made-up data, a network of some thousand weights."""

import contextlib
import hashlib
import json
from pathlib import Path

import matplotlib.figure
import numpy as np
import xarray as xr

from diffsci import config, pipeline

REPOSITORY = Path(__file__).parents[1]

HEAD = "forecast,variable,score,lead,value,low,high,unit,members,count"

_COMMON = """
model:
  network: {use: unet, channels: [8], blocks: 1, groups: 4, embedding: 16}
  schedule: {use: edm, sigma_min: 0.0002}
train: {steps: 6, batch_size: 4, warmup: 2, checkpoint_every: 2, log_every: 2, validate_every: 3}
sample: {members: 3, sampler: {use: ddim, steps: 2}, compute_batch: 4, LEADS}
evaluate: {resamples: 20}
runtime: {device: cpu, precision: fp32, threads: 1, batch: 6}
tracking: {enabled: false}
"""

_DATA = {
    "downscale": """
name: tiny
data:
  source: weather.nc
  variables: [t2m]
  domain: weather
  task: {use: downscale, factor: 4}
  split:
    train: {time: ["2000-01-01", "2000-01-04T06"]}
    valid: {time: ["2000-01-04T12", "2000-01-04T18"]}
    test: {time: ["2000-01-05", "2000-01-06T18"]}
""",
    "weather": """
name: tiny
data:
  source: weather.nc
  domain: weather
  task: forecast
  split:
    train: {time: ["2000-01-01", "2000-01-04T06"]}
    test: {time: ["2000-01-05", "2000-01-06T18"]}
""",
    "pde": """
name: tiny
data:
  source: waves.zarr
  domain: pde
  task: {use: forecast, history: 2}
  split:
    train: {samples: [0, 6]}
    test: {samples: [6, 10]}
""",
    "image": """
name: tiny
data:
  source: images.nc
  domain: image
  task: generate
  split:
    train: {samples: [0, 16]}
    test: {samples: [16, 24]}
""",
}

_LEADS = {
    "downscale": "cases: null",
    "weather": "leads: 2",
    "pde": "leads: 3, every: 3",
    "image": "cases: null",
}


def weather(times=24, sizes=(9, 13), seed=0):
    """Two variables; smooth in space, so that there is something to downscale."""
    random = np.random.default_rng(seed)
    y, x = np.linspace(0, 1, sizes[0])[:, None], np.linspace(0, 1, sizes[1])
    waves = [np.cos(np.pi * (i * y + j * x)) for i in range(3) for j in range(3)]
    fields = [
        np.tensordot(random.standard_normal((times, 9)).cumsum(axis=0), np.array(waves), axes=1)
        for _ in range(2)
    ]
    stamps = np.datetime64("2000-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h")
    dims = ("time", "latitude", "longitude")
    return xr.Dataset(
        {
            "t2m": (dims, (280 + 2 * fields[0]).astype("f4"), {"units": "K"}),
            "msl": (dims, (101000 + 300 * fields[1]).astype("f4"), {"units": "Pa"}),
        },
        {
            "time": stamps,
            "latitude": ("latitude", 40 + 2.0 * np.arange(sizes[0]), {"units": "degrees_north"}),
            "longitude": ("longitude", 3.0 * np.arange(sizes[1]), {"units": "degrees_east"}),
        },
    )


def waves(samples=10, times=12, size=16, seed=0):
    """Travelling waves, each trajectory with a speed of its own as its parameter."""
    random = np.random.default_rng(seed)
    speed, phase = random.uniform(0.5, 1.5, samples), random.uniform(0, 6, samples)
    t, x = 0.25 * np.arange(times), 2 * np.pi * np.arange(size) / size
    angle = x - speed[:, None, None] * t[:, None] + phase[:, None, None]
    u = np.sin(angle) + 0.3 * np.cos(2 * angle) + 0.01 * random.standard_normal(angle.shape)
    return xr.Dataset(
        {"u": (("sample", "time", "x"), u.astype("f4")), "speed": ("sample", speed)},
        {"time": ("time", t, {"units": "s"}), "x": x},
        {"boundary": "periodic"},
    )


def images(samples=24, size=8, classes=2, seed=0):
    random = np.random.default_rng(seed)
    label = np.arange(samples) % classes
    values = random.random((samples, size, size)) + label[:, None, None] * np.eye(size)
    return xr.Dataset(
        {"ink": (("sample", "y", "x"), values.astype("f4")), "label": ("sample", label)}
    )


def make(folder, kind):
    """The data and the pipeline file of one kind in a folder; the file."""
    if kind in ("downscale", "weather"):
        weather().to_netcdf(folder / "weather.nc")
    elif kind == "pde":
        waves().to_zarr(folder / "waves.zarr", mode="w", zarr_format=2, consolidated=True)
    else:
        images().to_netcdf(folder / "images.nc")
    file = folder / f"{kind}.yaml"
    file.write_text((_DATA[kind] + _COMMON).replace("LEADS", _LEADS[kind]).lstrip())
    return file


def run(file, *overrides, out, dry_run=False, drawn=False):
    """A run in this process, its figures blank unless they are to be drawn; its folder."""
    with contextlib.nullcontext() if drawn else blank_figures():
        return pipeline.run(config.load(file, overrides), out, dry_run)


@contextlib.contextmanager
def blank_figures():
    """All figures are composed and written, but matplotlib leaves their sheets white.

    To lay out and to draw takes four fifths of a tiny run. They are drawn in tests/evaluation/, in
    a run of each kind in test_pipeline.py, and where a browser looks at them.
    """
    real = matplotlib.figure.Figure.draw
    matplotlib.figure.Figure.draw = lambda figure, renderer: None
    try:
        yield
    finally:
        matplotlib.figure.Figure.draw = real


def tree(folder):
    """Hash of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def record(folder):
    """The run's `run.json`."""
    return json.loads((folder / "run.json").read_text())


def numbers(folder):
    """What must not depend on how a run was interrupted: weights, stores, scores."""
    found = {name: tree(folder / name) for name in ("model", "forecast.zarr", "truth.zarr")}
    scores = folder / "scores.csv"
    return found | {"scores": scores.read_text() if scores.exists() else ""}

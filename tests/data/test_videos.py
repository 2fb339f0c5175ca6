"""Videos and volumes: frames of sequences, and slices of samples, through the tasks."""

import numpy as np
import pytest
import xarray as xr
from PIL import Image as Picture

from diffsci import load
from diffsci.data.catalog import Entry, Source, load_entry
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.examples.cases import cases_given
from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from diffsci.data.reader import read
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.data.tasks.infill import Infill
from diffsci.data.tasks.trajectory import Trajectory
from diffsci.forecasting.store.disk import open_store
from diffsci.sections import Part
from tests import tiny_runs


def film(folder, videos=6, frames=6, size=8, colour=False):
    """Folders of frames: a bright column that moves to the right by one pixel a frame."""
    random = np.random.default_rng(0)
    shape = (videos, frames, size, size, *((3,) if colour else ()))
    pixels = random.integers(0, 60, shape, dtype=np.uint8)
    for video in range(videos):
        for frame in range(frames):
            pixels[video, frame, :, (video + frame) % size] += 150
            place = folder / f"film{video}" / f"frame{frame:02d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(pixels[video, frame]).save(place)
    return pixels


def entry(folder):
    file = folder / "films.yaml"
    file.write_text("source: films\ndomain: image\nopen_kwargs: {layout: frames}\n")
    return load_entry(str(file))


@pytest.mark.parametrize("colour", [False, True])
def test_frames_are_forecast_and_never_cross_videos(colour, tmp_path):
    pixels = film(tmp_path / "films", colour=colour)
    fields = read(entry(tmp_path), Image(), Part())
    channels = 3 if colour else 1
    assert fields.values.shape == (6, 6, channels, 8, 8)
    wanted = pixels if colour else pixels[..., None]
    assert np.array_equal(fields.values, np.moveaxis(wanted, -1, 2))
    task = Forecast(history=2)
    statistics = fit_statistics(fields, task)
    assert len(Examples(fields, task, statistics)) == 6 * 4
    found = cases_given(fields, task, Image(), statistics, leads=3)
    assert len(found) == 6 * 2 and found.cases.keys[0] == "sample=0,time=1"
    ds = Image().label(found.truth.read()[:, None], found.cases, fields.channels, fields.grid, None)
    assert ds["intensity"].dims == ("sample", "time", "y", "x", *(("channel",) if colour else ()))
    assert np.array_equal(ds["time"], [1, 2, 3])


def test_pieces_of_videos_are_one_sample(tmp_path):
    film(tmp_path / "films")
    fields = read(entry(tmp_path), Image(), Part())
    task = Trajectory(length=4)
    examples = Examples(fields, task, fit_statistics(fields, task))
    assert len(examples) == 6 * 2 and examples.batch(np.arange(2)).target.shape == (2, 4, 8, 8)


PIPELINE = """
name: films
data:
  entry: films
  domain: image
  task: TASK
  split: {train: {samples: [0, 4]}, test: {samples: [4, 6]}}
model: {network: {use: unet, channels: [8], blocks: 1, groups: 4, embedding: 16}, schedule: edm}
train: {steps: 2, batch_size: 4, warmup: 1}
sample: {members: 2, leads: 2, every: 9, sampler: {use: ddim, steps: 2}, compute_batch: 4}
runtime: {device: cpu, precision: fp32, threads: 1}
tracking: {enabled: false}
"""


@pytest.mark.parametrize("task", ["forecast", "{use: trajectory, length: 2}"])
def test_videos_run(task, tmp_path):
    (tmp_path / "data_catalog").mkdir()
    film(tmp_path / "data_catalog" / "films")
    entry(tmp_path / "data_catalog")
    file = tmp_path / "films.yaml"
    file.write_text(PIPELINE.replace("TASK", task).lstrip())
    run = tiny_runs.run(file, out=tmp_path / "run")
    with open_store(run / "forecast.zarr") as made:
        assert made["intensity"].dims == ("sample", "number", "time", "y", "x")
        assert made["intensity"].shape == (2, 2, 2, 8, 8) and np.isfinite(made["intensity"]).all()
    assert "8 x 8" in repr(load(run))


def volumes(samples=5, size=6, **attributes):
    """Three-dimensional microstructures, two phases."""
    values = np.random.default_rng(0).random((samples, size, size + 1, size + 2)) < 0.4
    return xr.Dataset({"phase": (("sample", "z", "y", "x"), values.astype("f4"))}, attrs=attributes)


@pytest.mark.parametrize("domain", [Image(), Pde()])
@pytest.mark.parametrize("task", [Generate(), Downscale(factor=2), Infill()])
def test_volumes_go_through_tasks_in_three_dims(domain, task):
    ds = volumes(boundary="periodic")
    shuffled = ds.transpose("y", "sample", "x", "z")
    known = Entry(name="foam", source=Source(data=shuffled))
    fields = read(known, domain, Part())
    assert fields.grid.dims == ("z", "y", "x")
    assert np.array_equal(fields.values[:, 0, 0], ds["phase"].values)
    assert fields.grid.boundary == (("periodic", "periodic"),) * 3
    statistics = fit_statistics(fields, task)
    batch = Examples(fields, task, statistics).batch(np.arange(2))
    assert batch.target.shape == (2, 1, 6, 7, 8)
    found = cases_given(fields, task, domain, statistics)
    truth = found.truth.read()[:, None]
    ds = domain.label(truth, found.cases, fields.channels, fields.grid, np.arange(1))
    assert ds["phase"].dims[-3:] == ("z", "y", "x")
    back = domain.unlabel(ds, fields.channels, fields.grid)
    assert np.array_equal(back, truth, equal_nan=True)


def test_one_slice_is_an_image():
    known = Entry(name="foam", source=Source(data=volumes().isel(z=[2])))
    assert read(known, Image(), Part()).grid.dims == ("y", "x")

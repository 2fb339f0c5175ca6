"""A run sampled in tiles gives the ensemble of whole fields, and says what it does."""

import logging
import re

import numpy as np
import pytest
import xarray as xr

from diffsci import config, pipeline
from diffsci.stages.prepare import prepare
from diffsci.stages.scores import telling
from tests import tiny_runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a network of finite reach, on a ring of 48."""
    folder = tmp_path_factory.mktemp("ring")
    file = tiny_runs.make(folder, "pde")
    tiny_runs.waves(size=48).to_zarr(folder / "waves.zarr", mode="w", zarr_format=2)
    text = file.read_text().replace("use: unet", "use: unet, norm: cell")
    file.write_text(text.replace("evaluate: {resamples: 20}\n", ""))
    return file, tiny_runs.run(file, out=folder / "run")


def sampled(made, tiles, caplog):
    _, run = made
    store = run / f"{abs(hash(tiles))}.zarr"
    caplog.clear()
    with caplog.at_level(logging.INFO, "diffsci"):
        pipeline.sample(run, out=store, overrides=(f"sample.tiles={tiles}",))
    told = [record.getMessage() for record in caplog.records if "tiles" in record.getMessage()]
    return xr.open_zarr(store).u.values, told


def test_tiles_give_the_members_of_whole_fields(made, caplog):
    whole = xr.open_zarr(made[1] / "forecast.zarr").u.values
    found, told = sampled(made, "{cells: 24}", caplog)
    (line,) = told
    assert re.fullmatch(r"sample: each field is computed in [3-9] tiles", line)
    # The tolerance of the docs for float32, over three leads of two calls.
    assert np.abs(found - whole).max() < 1e-5 * np.abs(whole).max()
    found, told = sampled(made, "{cells: 24, overlap: 2}", caplog)
    first, second = told
    assert first == "sample: each field is computed in 3 tiles"
    assert second.startswith("sample.tiles.overlap: 2 cells are less than the network looks (")
    # Approximate, but the same noise: nearer to the whole than another member is.
    error = np.abs(found - whole).mean()
    assert 1e-5 < error < np.abs(np.diff(whole, axis=1)).mean() / 3


def test_the_summary_tells_of_tiles(made):
    loaded = config.load(made[0], ["sample.tiles={cells: [24]}"])
    text = telling.summary(loaded.pipeline, prepare(loaded.pipeline, loaded.roots))
    assert text.endswith("test cases, in tiles of at most 24 cells.")

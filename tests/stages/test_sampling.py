"""The sampling stage: blocks of the store, filled by batches that run on over their borders."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci import config, families
from diffsci.forecasting.conditions import Given
from diffsci.forecasting.store import open_store
from diffsci.runtime import Device
from diffsci.stages import sampling
from diffsci.stages.resampling import resample
from tests import tiny_runs
from tests.forecasting import makers

CPU = Device(name="cpu", precision="fp32", threads=1)


def cases_of(model, fields, count):
    rows = np.array([[0, i] for i in range(count)])
    cases = model.pipeline.data.domain.cases(fields, rows, ())
    known = torch.from_numpy(model.statistics.encode(fields.values[0, :count]))
    task = model.pipeline.data.task
    return Given(cases=cases, known=task.observe(known[:, None], model.grid), scalars=None)


@pytest.mark.parametrize(("members", "batch"), [(1, 1), (2, 1), (3, 6), (5, 64)])
def test_no_batch_but_the_last_is_filled_up_and_the_bits_stay(tmp_path, members, batch):
    """6 cases, 4 rows at once: as many batches as rows need, however small the blocks are."""
    model = makers.downscaling(members=members)
    given = cases_of(model, makers.weather_fields(), 6)
    engine = model.engine(CPU)
    rows = []
    counting = engine.denoiser.register_forward_pre_hook(
        lambda _, given: rows.append(len(given[0]))
    )
    sampling.write_ensemble(
        model,
        engine,
        given,
        members=members,
        seed=0,
        batch=batch,
        store=tmp_path / "f.zarr",
        digest="a",
    )
    counting.remove()
    assert Counter(rows) == {4: -(-6 * members // 4) * engine.sampler.calls}
    alone = model.values(engine, given, range(members), 0)
    with open_store(tmp_path / "f.zarr") as stored:
        found = model.pipeline.data.domain.unlabel(stored, model.channels, model.grid)
    np.testing.assert_array_equal(found, alone)


def test_blocks_go_by_the_largest_variable():
    """Two levels of one variable count twice, another variable does not."""
    fields = makers.weather_fields()
    model = makers.surrogate(fields, "weather", families.load("tasks", "downscale")())
    given = cases_of(model, fields, 6)

    def size(channels):
        made = replace(model, channels=channels)
        blocks = sampling._blocks(made, given.cases, members=3000, batch=10**9)
        return blocks[0][1]

    (one,) = model.channels
    two_levels = (replace(one, level=500.0), replace(one, level=850.0))
    # A case of 3000 members of 117 cells has 1.4 MB, and a block at most 4.
    assert size((one,)) == 2
    assert size((one, replace(one, variable="other"))) == 2
    assert size(two_levels) == 1


def test_truth_is_chunked_as_the_ensemble_is(tmp_path):
    folder = tiny_runs.run(
        tiny_runs.make(tmp_path, "weather"), "evaluate=null", out=tmp_path / "run"
    )
    with (
        xr.open_zarr(folder / "forecast.zarr", chunks=None) as forecast,
        xr.open_zarr(folder / "truth.zarr", chunks=None) as truth,
    ):
        # Of batch 6 and 3 members: 2 cases.
        assert forecast.t2m.encoding["chunks"] == (2, 3, 2, 9, 13)
        assert truth.t2m.encoding["chunks"] == (2, 2, 9, 13)


def test_sampling_again_into_another_folder_locks_that_folder(tmp_path, monkeypatch):
    file = tiny_runs.make(tmp_path, "pde")
    folder = tiny_runs.run(file, "evaluate=null", "train.steps=1", out=tmp_path / "run")
    loaded = config.load(folder / "model" / "config.yaml", ["sample.cases=1"])
    loaded = replace(loaded, roots=(*loaded.roots, tmp_path))
    from diffsci.stages import resampling

    locked = []
    lock = resampling.lock
    monkeypatch.setattr(resampling, "lock", lambda place, run: locked.append(place) or lock(place))
    resample(loaded, folder, tmp_path / "elsewhere" / "x.zarr")
    resample(loaded, folder, None)
    assert locked == [tmp_path / "elsewhere", folder]

"""A run whose data stays on disk: the bits of one in memory, whoever reads it."""

import logging

import numpy as np
import pytest
from safetensors.numpy import load_file

from diffsci import config, pipeline
from diffsci.data.catalog import load_entry
from diffsci.data.domains.weather import Weather
from diffsci.data.prepared.blocks import Plan
from diffsci.data.prepared.preparing import prepare
from diffsci.sections import Part
from tests import tiny_runs

TRAIN = ("2000-01-01", "2000-01-04T06")


def trained(file, out, *overrides):
    """All tensors of the last checkpoint and the model of a run."""
    given = ["data.source=store.zarr", "sample=null", "evaluate=null", *overrides]
    folder = pipeline.run(config.load(file, given), out)
    files = sorted(folder.rglob("*.safetensors"))
    assert any("checkpoints" in str(path) for path in files)
    return {str(path.relative_to(folder)): load_file(path) for path in files}


@pytest.fixture
def file(tmp_path):
    """The pipeline, with its data prepared."""
    file = tiny_runs.make(tmp_path, "weather")
    entry, part = load_entry(str(tmp_path / "weather.nc")), Part(time=TRAIN)
    prepare(Plan(entry=entry, domain=Weather(), target=tmp_path / "store.zarr", train=part))
    return file


def same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        for key in one[name]:
            assert np.array_equal(one[name][key], two[name][key]), (name, key)


def test_a_run_has_the_same_bits_in_memory_and_on_disk(file, tmp_path, caplog):
    memory = trained(file, tmp_path / "a")
    with caplog.at_level(logging.INFO, logger="diffsci"):
        disk = trained(file, tmp_path / "b", "runtime.memory=0")
    same(memory, disk)
    assert "stay on disk, more than memory allows; read by shards" in caplog.text
    assert "0 MiB may be (runtime.memory)" in caplog.text


@pytest.mark.slow
def test_and_with_workers(file, tmp_path):
    given = ["runtime.memory=0", "runtime.workers=2"]
    same(trained(file, tmp_path / "a"), trained(file, tmp_path / "b", *given))

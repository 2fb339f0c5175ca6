"""Examples are named by where they come from."""

import numpy as np
import pytest

from diffsci import config
from diffsci.stages.prepare import prepare
from diffsci.stages.training.naming import names_of
from tests import tiny_runs


@pytest.mark.parametrize(
    ("adapter", "row", "expected"),
    [
        ("downscale", (0, 1), "t2m of weather.nc, from time 2000-01-01T06:00:00"),
        ("pde", (1, 1), "u of waves.zarr, sample 1, from time 0.25 s"),
    ],
)
def test_an_example_is_named_by_file_variable_sample_and_time(adapter, row, expected, tmp_path):
    loaded = config.load(tiny_runs.make(tmp_path, adapter))
    prepared = prepare(loaded.pipeline, loaded.roots)
    name = names_of(prepared.train, prepared.examples, loaded.pipeline.data)
    (number,) = np.flatnonzero((prepared.examples.windows == row).all(axis=1))
    assert name(int(number), 0) == expected
    assert name(int(number), None) == expected.partition(" of ")[2]

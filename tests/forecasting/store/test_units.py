"""Units of work: each member of each case once, few rows filled up, windows bounded."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from diffsci.forecasting.store.units import Cutting, chunk_shape, rectangles


@given(
    missing=some.lists(some.lists(some.booleans(), min_size=7, max_size=7), min_size=1, max_size=6),
    compute=some.integers(1, 5),
    batch=some.integers(1, 12),
)
def test_what_is_missing_is_done_once_and_nothing_else(missing, compute, batch):
    missing = np.array(missing)
    cutting = Cutting(compute_batch=compute, batch=batch, state_bytes=4)
    done = np.zeros(missing.shape, dtype=int)
    for unit in cutting.units(missing):
        assert unit.rows <= cutting.most_rows
        for case, member in unit.pairs:
            done[case, member] += 1
    np.testing.assert_array_equal(done, missing.astype(int))


def test_cases_that_lack_the_same_members_are_one_rectangle():
    missing = np.zeros((5, 8), dtype=bool)
    missing[:3, 4:] = True
    missing[3:, :] = True
    assert list(rectangles(missing)) == [(0, 3, 4, 8), (3, 5, 0, 8)]


@pytest.mark.parametrize(
    ("cases", "members", "compute", "batch", "batches"),
    [
        (6, 1, 4, 1, 2),
        (6, 2, 4, 1, 3),
        (6, 3, 4, 6, 5),
        (6, 5, 4, 64, 8),
        (100, 16, 16, 64, 100),
        (100, 50, 16, 64, 320),  # 313 would do, with units of 400 rows
        (1, 256, 16, 64, 16),
        (3, 100, 16, 64, 19),
    ],
)
def test_few_rows_are_filled_up(cases, members, compute, batch, batches):
    cutting = Cutting(compute_batch=compute, batch=batch, state_bytes=4)
    units = cutting.units(np.ones((cases, members), dtype=bool))
    assert sum(math.ceil(unit.rows / compute) for unit in units) == batches


def test_a_large_state_keeps_units_at_the_batch_and_windows_at_one_lead():
    cutting = Cutting(compute_batch=2, batch=4, state_bytes=300_000_000)
    (unit, *_) = cutting.units(np.ones((3, 50), dtype=bool))
    assert unit.rows == 4
    assert cutting.window(unit, 40) == 1


@pytest.mark.parametrize(("leads", "window"), [(3, 3), (1000, 122)])
def test_a_window_has_about_a_megabyte_of_small_states(leads, window):
    cutting = Cutting(compute_batch=16, batch=64, state_bytes=512)
    (unit,) = cutting.units(np.ones((1, 16), dtype=bool))
    assert cutting.window(unit, leads) == window


@pytest.mark.parametrize(
    "shape", [(1, 16, 40, 3, 64), (4, 16, 100, 70, 181, 360), (1, 1, 10, 1, 721, 1440)]
)
def test_chunks_of_a_unit_end_where_windows_do(shape):
    window = 5
    chunks = chunk_shape(shape, window)
    assert chunks[2] == window
    assert chunks[4:] == shape[4:]
    smallest = 4 * window * math.prod(shape[4:])
    assert 4 * math.prod(chunks) <= max(8_000_000, smallest)

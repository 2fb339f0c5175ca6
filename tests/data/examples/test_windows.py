"""Windows, cases and leaks, counted by hand."""

import numpy as np
import pytest
import torch

from diffsci.data.checks.leaks import assert_no_leak
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.examples.cases import cases_given, choose_rows
from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.base import windows
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.errors import DataError
from tests.data import makers


def test_no_window_crosses_a_gap_or_a_trajectory():
    breaks = np.zeros(10, dtype=bool)
    breaks[[4, 7]] = True
    found = windows(makers.fields(trajectories=2, breaks=breaks), 3)
    assert found.tolist() == [[t, s] for t in (0, 1) for s in (0, 1, 4, 7)]


def test_a_batch_is_what_the_task_makes_of_the_window():
    fields = makers.fields(scalars=np.linspace(0, 1, 3)[:, None], scalar_names=("nu",))
    for task in (Forecast(history=2, stride=2), Downscale(factor=2), Generate()):
        statistics = fit_statistics(fields, task)
        examples = Examples(fields, task, statistics)
        index = np.array([5, 0, len(examples) - 1])
        batch = examples.batch(index)
        rows = examples.windows[index]
        window = np.stack([fields.values[t, s : s + task.frames] for t, s in rows])
        normal = torch.from_numpy(statistics.encode(window))
        condition = task.condition(task.observe(normal, fields.grid), fields.grid)
        wanted = statistics.scale_target(task.target(normal, condition))
        assert torch.allclose(batch.target, wanted, rtol=0, atol=1e-5)  # float32, order 1
        assert (condition is None) == (batch.condition is None)
        if condition is not None:
            seen = statistics.scale_condition(condition)
            assert torch.allclose(batch.condition, seen, rtol=0, atol=1e-6)
        coded = statistics.encode_scalars(fields.scalars)[rows[:, 0]]
        assert np.array_equal(batch.scalars.numpy(), coded)


def test_cases_hold_what_is_given_and_what_is_true():
    fields, task = makers.fields(), Forecast(history=2, stride=2)
    statistics = fit_statistics(fields, task)
    found = cases_given(fields, task, Pde(), statistics, leads=2, every=2)
    # 3 given frames and 2 leads of stride 2: the last given frames are 2..5, every other of them.
    assert found.cases.rows.tolist() == [[t, s] for t in range(3) for s in (2, 4)]
    assert found.cases.leads == (2, 4) and found.cases.step == 0.5
    given = statistics.encode(fields.values[1, [2, 4]])
    assert np.array_equal(found.given[3].numpy(), given)
    assert np.array_equal(found.truth.read()[3], fields.values[1, [6, 8]])


def test_every_counts_within_each_trajectory():
    rows = choose_rows(makers.fields(), Forecast(history=2, stride=2), leads=2, every=3)
    assert rows.tolist() == [[t, s] for t in range(3) for s in (2, 5)]
    first = choose_rows(makers.fields(), Forecast(), leads=2, every=1000)
    assert first.tolist() == [[0, 0], [1, 0], [2, 0]]


def test_cases_without_leads():
    fields = makers.fields(times=1, trajectories=7, scalars=np.eye(7)[:, :2].copy(),
                           scalar_names=("label=0", "label=1"), space=(6, 6))  # fmt: skip
    found = cases_given(fields, Generate(), Image(), fit_statistics(fields, Generate()), cases=3)
    assert found.given is None and found.truth.shape == (3, 1, 2, 6, 6)
    assert found.cases.keys == ("sample=0", "sample=3", "sample=6")
    assert found.scalars.shape == (3, 2)


def test_at_most_so_many_cases_evenly_spread():
    rows = choose_rows(makers.fields(times=101), Downscale(factor=2), cases=4)
    assert len(rows) == 4 and rows[0].tolist() == [0, 0] and rows[-1].tolist() == [2, 100]
    with pytest.raises(DataError, match="it takes 12 consecutive times"):
        choose_rows(makers.fields(), Forecast(), leads=11)


def test_a_test_field_that_trained_is_a_leak():
    train, test = makers.fields(seed=1), makers.fields(seed=2, source="other")
    assert_no_leak(train, test)
    test.values[2, 4] = train.values[0, 0]
    with pytest.raises(DataError, match=r"other: 1 of 30 test fields.*first at sample 2, time 2,"):
        assert_no_leak(train, test)


def test_equal_constant_fields_are_no_leak():
    train, test = makers.fields(seed=1), makers.fields(seed=2)
    train.values[0, 0] = test.values[1, 1] = 0.0
    assert_no_leak(train, test)

"""Forecasts: history, stride and tendencies by hand."""

import numpy as np
import pytest
import torch

from diffsci.data.tasks.forecast import Forecast
from diffsci.errors import ConfigError, DataError, FieldError
from tests.data import makers


def test_history_and_stride_by_hand():
    task = Forecast(history=3, stride=2)
    assert (task.frames, task.given_frames) == (7, 5)
    window = torch.arange(7.0).reshape(1, 7, 1, 1)
    given = task.observe(window, makers.fields().grid)
    assert given.flatten().tolist() == [0, 2, 4]
    condition = task.condition(given, makers.fields().grid)
    assert task.target(window, condition).item() == 2  # 6 - 4
    assert Forecast(history=3, stride=2, learn="state").target(window, condition).item() == 6
    after = task.advance(given, torch.full((1, 1, 1, 1), 6.0))
    assert after.flatten().tolist() == [2, 4, 6]


def test_an_innovation_needs_frames_to_differ_from_the_last_one():
    """Of a single one it would be the tendency, without a word."""
    with pytest.raises(
        FieldError, match=r"learn: got 'innovation', expected `tendency`, which is th"
    ):
        Forecast(learn="innovation")
    Forecast(learn="innovation", history=2)
    Forecast(learn="innovation", recall=(3,))


def test_data_without_a_usable_time_axis_is_refused():
    with pytest.raises(DataError, match="a forecast needs times"):
        Forecast().check(makers.fields(times=1))
    irregular = np.array([False] + [True] * 9)
    with pytest.raises(DataError, match="9 of 9 time steps are irregular"):
        Forecast().check(makers.fields(breaks=irregular))
    with pytest.raises(DataError, match="no 12 consecutive times"):
        Forecast(history=11).check(makers.fields())
    with pytest.raises(ConfigError, match="stride: got 0, expected 1 or more"):
        Forecast(stride=0)

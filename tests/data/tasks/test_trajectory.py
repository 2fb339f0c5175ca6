"""Pieces of trajectories: which frames they are, and what is refused."""

import numpy as np
import pytest
import torch

from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.trajectory import Trajectory
from diffsci.errors import DataError, FieldError
from tests.data import makers


def test_a_piece_is_consecutive_frames_along_channels():
    task = Trajectory(length=3, stride=2)
    assert (task.frames, task.given_frames, task.block, task.emits) == (7, 1, 3, 3)
    window = torch.arange(7.0)[None, :, None, None].expand(2, 7, 2, 4)
    target = task.target(window, None)
    assert target.shape == (2, 6, 4)
    assert target[0, :, 0].tolist() == [2, 2, 4, 4, 6, 6]
    assert torch.equal(task.restore(target, None), target)
    assert task.observe(window, makers.fields(space=(4,)).grid) is None


def test_examples_have_all_windows():
    fields = makers.fields(space=(8,))
    task = Trajectory(length=2)
    examples = Examples(fields, task, fit_statistics(fields, task))
    assert len(examples) == len(fields.trajectories) * (len(fields.times) - 2)
    batch = examples.batch(np.arange(3))
    assert batch.condition is None and batch.target.shape[1] == 2 * len(fields.channels)


def test_what_has_too_few_times_is_refused():
    fields = makers.fields(space=(8,))
    with pytest.raises(DataError, match="no 101 consecutive times .* lower `length` or `stride`"):
        Trajectory(length=100).check(fields)
    with pytest.raises(FieldError, match="length: got 0, expected 1 or more"):
        Trajectory(length=0)

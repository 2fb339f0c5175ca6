"""Laws of every task: what is restored is the state, and nothing is seen that is not given."""

import numpy as np
import pytest
import torch

from diffsci import families
from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from tests.data import makers

SPACES = [(16,), (9, 14)]


@pytest.fixture(params=families.names("tasks"))
def task(request):
    settings = {"trajectory": {"length": 1}}.get(request.param, {})
    return families.load("tasks", request.param)(**settings)


@pytest.mark.parametrize("space", SPACES)
def test_restore_inverts_target(task, space):
    grid = makers.fields(space=space).grid
    window = torch.randn(4, task.frames, 3, *space, dtype=torch.float64)
    condition = task.condition(task.observe(window, grid), grid)
    target = task.target(window, condition)
    assert target.shape == (4, 3, *space)
    # Rounding of one difference and one sum of numbers of order 1.
    assert torch.allclose(task.restore(target, condition), window[:, -1], rtol=0, atol=1e-14)
    channels = 0 if condition is None else condition.shape[1]
    assert task.condition_channels(3) == channels


@pytest.mark.parametrize("space", SPACES)
def test_the_condition_is_made_of_given_frames_alone(task, space):
    if task.given_frames == 0:
        pytest.skip("no frame is given as it is")
    grid = makers.fields(space=space).grid
    window = torch.randn(2, task.frames, 3, *space)
    if task.observe(window, grid) is None:
        pytest.skip("nothing is given")
    later = window.clone()
    later[:, task.given_frames :] += 1
    assert torch.equal(task.observe(window, grid), task.observe(later, grid))


@pytest.mark.parametrize("space", SPACES)
def test_advance_keeps_the_shape_and_ends_with_the_state(task, space):
    if not (task.has_leads and task.goes_on):
        pytest.skip("no leads, or none that go on")
    grid = makers.fields(space=space).grid
    window = torch.randn(2, task.frames, 3, *space)
    given = task.observe(window, grid)
    states = torch.randn(2, task.block, 3, *space)
    after = task.advance(given, states)
    assert after.shape == given.shape and torch.equal(after[:, -1], states[:, -1])
    assert torch.equal(task.shown(after, grid), states[:, -1])


@pytest.mark.parametrize("space", SPACES)
def test_what_is_given_lies_on_its_grid_and_is_shown_as_a_state(task, space):
    grid = makers.fields(space=space).grid
    window = torch.randn(2, task.frames, 3, *space)
    given = task.observe(window, grid)
    shown = task.shown(given, grid)
    if given is None:
        assert shown is None
        return
    assert given.shape[-len(space) :] == task.given_grid(grid).sizes
    assert task.given_grid(grid).dims == grid.dims
    # It is the newest of what the network is told, and the last frame where frames are given.
    assert torch.equal(shown, task.condition(given, grid)[:, -3:])
    if task.given_frames:
        assert torch.equal(shown, window[:, task.given_frames - 1])


@pytest.mark.parametrize("space", SPACES)
def test_scaled_targets_have_mean_0_and_variance_1(task, space):
    fields = makers.fields(space=space)
    examples = Examples(fields, task, fit_statistics(fields, task))
    batch = examples.batch(np.arange(len(examples)))
    assert batch.target.shape[1:] == (2, *space)
    # float32 sums over some thousand values.
    assert batch.target.mean().abs() < 1e-5 and (batch.target.var() - 1).abs() < 1e-2

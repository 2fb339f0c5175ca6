import dataclasses

import pytest
import torch

from diffsci.batch import Batch
from diffsci.errors import FieldError
from diffsci.grid import Grid
from diffsci.sections import Train
from diffsci.training.augment import augment, check, mirror, other_numbers, roll, stronger
from diffsci.training.order import Draws

GRID = Grid(
    dims=("latitude", "longitude"),
    coordinates=((-1.0, 0.0, 1.0), (0.0, 90.0, 180.0, 270.0)),
    units=("degrees_north", "degrees_east"),
    boundary=(("wall", "wall"), ("periodic", "periodic")),
)


def batch(count=40):
    target = torch.randn(count, 2, 3, 4, dtype=torch.float64)
    mask = torch.rand(count, 2, 3, 4) < 0.5
    return Batch(target=target, condition=2 * target, scalars=torch.ones(count, 3), mask=mask)


def run(given, **changes):
    draws = Draws(0, count=len(given), rows=slice(None), device=torch.device("cpu"))
    return augment(given, Train(steps=1, **changes), GRID, draws)


def test_nothing_asked_nothing_changed():
    given = batch()
    after = run(given)
    for field in dataclasses.fields(Batch):
        one, other = getattr(after, field.name), getattr(given, field.name)
        plain = isinstance(one, tuple | int)
        assert one == other if plain else torch.equal(one, other), field.name


@pytest.mark.parametrize("axis", [0, 1])
def test_mirror_and_roll_against_torch(axis):
    x = torch.randn(5, 2, 3, 4)
    by = torch.tensor([0, 1, -1, 7, 2])
    chosen = torch.tensor([True, False, True, True, False])
    for row in range(5):
        assert torch.equal(roll(x, by, axis)[row], x[row].roll(int(by[row]), dims=1 + axis))
        expected = x[row].flip(1 + axis) if chosen[row] else x[row]
        assert torch.equal(mirror(x, chosen, axis)[row], expected)


@pytest.mark.parametrize("change", [{"flip": ("latitude",)}, {"shift": ("longitude",)}])
def test_target_condition_and_mask_move_together(change):
    given = batch()
    given = dataclasses.replace(given, mask=given.target > 0)
    after = run(given, **change)
    assert torch.equal(after.condition, 2 * after.target)
    assert torch.equal(after.mask, after.target > 0)
    moved = (after.target != given.target).flatten(1).any(dim=1).double().mean().item()
    # Half of 40 are mirrored, 3/4 are rolled: 5 standard deviations of 0.08.
    assert abs(moved - (0.5 if "flip" in change else 0.75)) < 0.4
    assert torch.equal(after.target.flatten(1).sort().values, given.target.flatten(1).sort().values)


def test_noise_is_on_the_condition_alone():
    given = batch()
    after = run(given, condition_noise=0.5)
    assert torch.equal(after.target, given.target)
    added = after.condition - given.condition
    assert abs(added.std().item() - 0.5) < 5 * 0.5 / (2 * added.numel()) ** 0.5


def test_noise_on_parameters_is_the_same_at_every_forecast_step():
    """The last scalar is a lead, which stays what it is."""
    given = dataclasses.replace(batch(400), scalars=torch.ones(400, 4), parameters=3)
    given = dataclasses.replace(
        given, later=(dataclasses.replace(given, scalars=given.scalars * 2),)
    )
    after = run(given, scalar_noise=0.25)
    for name in ("target", "condition", "mask"):
        assert torch.equal(getattr(after, name), getattr(given, name))
    added = (after.scalars - given.scalars)[:, :3]
    later = after.later[0].scalars - given.later[0].scalars
    assert torch.allclose(later[:, :3], added, atol=1e-6)
    assert torch.equal(after.scalars[:, 3], given.scalars[:, 3]) and not later[:, 3].any()
    # Each number of each example has its own: 1200 independent ones, standard error 0.25 / 49.
    assert abs(added.std().item() - 0.25) < 5 * 0.25 / (2 * added.numel()) ** 0.5
    assert abs(torch.corrcoef(added.T) - torch.eye(3)).max() < 5 / 400**0.5


def test_noise_on_numbers_fills_what_lies_between_two_of_them():
    # The best answer to a noisy number is the mean of the answers, weighted by how likely each is:
    # halfway between two values that is the mean of both, whatever a network would have put there.
    noise, low, high = 0.5, -1.0, 1.0
    draw = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    number = torch.where(torch.arange(len(draw)) % 2 == 0, low, high).to(draw)
    given = Batch(target=3 + 2 * number[:, None, None], condition=None, scalars=number[:, None])
    seen = other_numbers(given, noise * draw[:, None]).scalars[:, 0]
    near = (seen.abs() < 0.05).nonzero()[:, 0]
    # Some 2000 lie there; the standard error of a mean of 3 +- 2 over n of them is 2 / sqrt(n).
    assert abs(given.target[near].mean().item() - 3) < 5 * 2 / len(near) ** 0.5


def test_strength_is_that_of_the_target_and_the_given_states_alone():
    given = dataclasses.replace(batch(400), states=(0, 1), mask=None)
    given = dataclasses.replace(given, condition=torch.randn(400, 3, *given.target.shape[2:]))
    given = dataclasses.replace(given, later=(given,))
    after = run(given, amplitude=0.3)
    factor = (after.target / given.target).flatten(1)
    assert (factor / factor[:, :1] - 1).abs().max() < 1e-5
    found = (after.condition[:, :1] / given.condition[:, :1]).flatten(1)
    assert (found / factor[:, :1] - 1).abs().max() < 1e-5
    assert torch.equal(after.condition[:, 1:], given.condition[:, 1:])
    assert torch.equal(after.scalars, given.scalars)
    for name in ("target", "condition"):
        assert torch.equal(getattr(after.later[0], name), getattr(after, name))
    # Logarithms are normal: standard errors of mean and deviation of 400 are 0.3 / 20 and 0.3 / 28.
    logarithm = factor[:, 0].log()
    assert abs(logarithm.mean().item()) < 5 * 0.3 / 20
    assert abs(logarithm.std().item() - 0.3) < 5 * 0.3 / 28


def test_a_stronger_example_keeps_what_holds_linearly():
    given = dataclasses.replace(batch(5), states=(0, 1))
    linear = 3 * given.condition[:, :1] - 2 * given.condition[:, :1].roll(1, dims=-1)
    given = dataclasses.replace(given, target=linear, mask=None)
    after = stronger(given, torch.tensor([0.5, 1.0, 2.0, 3.0, 0.1]))
    seen = after.condition[:, :1]
    assert torch.allclose(after.target, 3 * seen - 2 * seen.roll(1, dims=-1), rtol=1e-5, atol=1e-5)
    assert torch.equal(after.target[1], given.target[1])


def test_dropped_scalars_are_zero():
    after = run(batch(400), drop_scalars=0.25)
    dropped = (after.scalars == 0).all(dim=1)
    assert torch.equal(dropped, (after.scalars == 0).any(dim=1))
    assert abs(dropped.double().mean().item() - 0.25) < 5 * (0.25 * 0.75 / 400) ** 0.5


def test_what_the_grid_does_not_allow_is_refused():
    check(Train(steps=1, flip=("latitude", "longitude"), shift=("longitude",)), GRID)
    with pytest.raises(FieldError, match="flip: got 'x', expected dims of the data, which are"):
        check(Train(steps=1, flip=("x",)), GRID)
    with pytest.raises(FieldError, match="shift: got 'latitude', expected periodic dims"):
        check(Train(steps=1, shift=("latitude",)), GRID)


def test_later_steps_are_changed_as_the_first():
    given = dataclasses.replace(batch(40), mask=None)
    given = dataclasses.replace(given, later=(given, given))
    after = run(given, shift=("longitude",), flip=("latitude",), drop_scalars=0.5)
    assert not torch.equal(after.target, given.target)
    for each in after.later:
        assert torch.equal(each.target, after.target) and torch.equal(each.scalars, after.scalars)
        assert torch.equal(each.condition, after.condition)

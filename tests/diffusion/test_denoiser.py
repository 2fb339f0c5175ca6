"""The denoiser: what the network is shown, and what is made of its answer."""

from typing import get_args

import pytest
import torch
from torch import nn

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.parameterisation import Predict
from diffsci.families import load, names
from tests.diffusion.laws import DIAGONAL, Knowing

SCHEDULES = [load("schedules", name)() for name in names("schedules")]
everywhere = pytest.mark.parametrize("schedule", SCHEDULES, ids=names("schedules"))
predictions = pytest.mark.parametrize("predict", get_args(Predict))


class Spy(nn.Module):
    """Remembers its input; answers zeros."""

    def forward(self, x, told, condition, scalars):
        self.seen = x, told, condition, scalars
        return torch.zeros_like(x)


def fields(*shape, dtype=torch.float64):
    return seeded(0)(torch.empty(shape, dtype=dtype), 0)


@everywhere
@predictions
def test_a_perfect_network_gives_the_exact_denoiser(schedule, predict):
    denoiser = Denoiser(Knowing(DIAGONAL, schedule, predict), schedule, predict)
    t = torch.tensor([0.05, 0.4, 0.95], dtype=torch.float64)
    at = level(schedule, t)
    x_t = at.norm[:, None, None] * fields(3, 1, 4)
    expected = DIAGONAL.posterior_mean(x_t.flatten(1), at).reshape(3, 1, 4)
    assert torch.allclose(denoiser(x_t, t), expected, rtol=1e-9, atol=1e-10)


@everywhere
def test_the_network_sees_unit_variance_and_a_bounded_level(schedule):
    spy = Spy()
    t = torch.linspace(0, 1, 5)
    at = level(schedule, t)
    x_0, noise = fields(5, 2, 40, 50, dtype=torch.float32), seeded(0)(torch.empty(5, 2, 40, 50), 1)
    x_t = at.over(x_0).signal_scale * x_0 + at.over(x_0).noise_std * noise
    condition, scalars = torch.ones(5, 3, 40, 50), torch.ones(5, 2)
    Denoiser(spy, schedule)(x_t, t, condition, scalars)
    x, told, *given = spy.seen
    # 4000 values a row: the std has a standard error of 1 / sqrt(8000).
    assert (x.flatten(1).std(dim=1) - 1).abs().max() < 4.5 / 8000**0.5
    assert torch.allclose(told, torch.log(at.noise_to_signal) / 4)
    assert told.abs().max() < 1.6
    assert given[0] is condition
    assert given[1] is scalars


@everywhere
@predictions
def test_one_level_for_all_is_the_same_level_for_each(schedule, predict):
    denoiser = Denoiser(Knowing(DIAGONAL, schedule, predict), schedule, predict)
    x_t, t = fields(3, 1, 4), torch.tensor(0.3, dtype=torch.float64)
    assert torch.allclose(denoiser(x_t, t), denoiser(x_t, t.expand(3)), rtol=1e-13)


@everywhere
@predictions
def test_a_network_in_bfloat16_leaves_the_conversion_in_float32(schedule, predict):
    class Half(nn.Module):
        def forward(self, x, told, condition, scalars):
            return torch.full_like(x, 0.5, dtype=torch.bfloat16)

    class Single(nn.Module):
        def forward(self, x, told, condition, scalars):
            return torch.full_like(x, 0.5)

    x_t, t = fields(2, 1, 6, dtype=torch.float32), torch.tensor([0.0, 1.0])
    half, single = (Denoiser(net(), schedule, predict)(x_t, t) for net in (Half, Single))
    assert half.dtype == torch.float32
    assert torch.equal(half, single)


def test_zeros_for_v_are_the_best_guess_for_unit_normal_data():
    """Then E[x_0 | x_t] = c / (c^2 + d^2) x_t: an untrained network starts from there."""
    schedule = load("schedules", "linear")()
    x_t, t = fields(2, 1, 5), torch.tensor([0.2, 0.8], dtype=torch.float64)
    at = level(schedule, t).over(x_t)
    expected = at.signal_scale / at.norm**2 * x_t
    assert torch.allclose(Denoiser(Spy(), schedule)(x_t, t), expected, rtol=1e-13)


def test_weights_are_those_of_the_network():
    denoiser = Denoiser(nn.Linear(2, 2), load("schedules", "edm")())
    assert set(denoiser.state_dict()) == {"network.weight", "network.bias"}

"""The denoiser: what the network is shown, and what is made of its answer."""

from typing import get_args

import pytest
import torch
from torch import nn

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.parameterisation import Predict
from diffsci.errors import ConfigError, FieldError
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


@everywhere
@pytest.mark.parametrize("t", [-0.01, 1.01, float("nan")])
def test_levels_outside_are_named(schedule, t):
    with pytest.raises(
        FieldError, match=rf"t: got {t}, expected levels from 0 \(almost clean\) to"
    ):
        Denoiser(Spy(), schedule)(fields(2, 1, 3), torch.tensor([0.5, t], dtype=torch.float64))


def test_levels_of_another_dtype_are_taken():
    """A level is a number; it is the fields that say in what precision to compute."""
    denoiser = Denoiser(Spy(), load("schedules", "cosine")())
    x_t = fields(2, 1, 3, dtype=torch.float32)
    t = torch.tensor([0.25, 0.5])
    assert torch.equal(denoiser(x_t, t.double()), denoiser(x_t, t))


@pytest.mark.parametrize("name", ["condition", "scalars"])
def test_mixed_dtypes_and_devices_are_named(name):
    denoiser, t = Denoiser(Spy(), load("schedules", "edm")()), torch.tensor(0.5)
    x_t = fields(2, 1, 3, dtype=torch.float32)
    given = torch.ones((2, 1, 3) if name == "condition" else (2, 4))
    mixed = rf"{name}: it has torch.float64 on cpu, x_t has torch.float32 on cpu: give both alike"
    with pytest.raises(ConfigError, match=rf"{mixed}, as by {name}.to\(x_t\)"):
        denoiser(x_t, t, **{name: given.double()})
    with pytest.raises(ConfigError, match=f"{name}: it has torch.float32 on meta, x_t has"):
        denoiser(x_t, t, **{name: given.to("meta")})
    assert denoiser(x_t, t, **{name: given}).dtype == torch.float32

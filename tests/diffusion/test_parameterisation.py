"""Exact conversions among what a network may predict."""

from itertools import permutations
from typing import get_args

import pytest
import torch

from diffsci import sections
from diffsci.diffusion.augmentation import Jump, Level, level, level_of
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.parameterisation import Predict, convert, quantity, squared_error_ratio
from diffsci.families import load, names

SCHEDULES = [load("schedules", name)() for name in names("schedules")]
KINDS = get_args(Predict)
everywhere = pytest.mark.parametrize("schedule", SCHEDULES, ids=names("schedules"))
predictions = pytest.mark.parametrize("predict", KINDS)
pairs = pytest.mark.parametrize(("given", "wanted"), list(permutations(KINDS, 2)))
T = torch.linspace(0, 1, 11, dtype=torch.float64)


def pair(schedule, t=T):
    """x_0, eps and the x_t they make, one row per level."""
    x_0, epsilon = (seeded(3)(torch.empty(len(t), 2, 5, dtype=t.dtype), draw) for draw in (0, 1))
    at = level(schedule, t)
    return x_0, epsilon, at.over(x_0).signal_scale * x_0 + at.over(x_0).noise_std * epsilon, at


def conditioning(given, wanted, at):
    """How many times as large an error of `wanted` is as the error of `given` that made it."""
    return torch.sqrt(squared_error_ratio(given, at) / squared_error_ratio(wanted, at))


def test_the_pipeline_file_knows_the_same_predictions():
    assert get_args(sections.Predict) == KINDS


@everywhere
@pairs
def test_every_quantity_is_found_from_every_other(schedule, given, wanted):
    """To 1e-12, times the conditioning where this is above 1; both of their own sizes."""
    x_0, epsilon, x_t, at = pair(schedule)
    found = convert(quantity(given, x_0, epsilon, at), x_t, at, given=given, wanted=wanted)
    expected = quantity(wanted, x_0, epsilon, at)
    size = quantity(given, x_0, epsilon, at).abs().amax(dim=(1, 2))
    bound = 1e-12 * torch.maximum(conditioning(given, wanted, at) * size, torch.ones_like(size))
    assert ((found - expected).abs().amax(dim=(1, 2)) < bound).all()


@pairs
def test_conversions_are_exact_at_ordinary_levels(given, wanted):
    """Where signal and noise are within a factor of 10 of each other, 1e-12 without conditions."""
    sigma = torch.logspace(-1, 1, 9, dtype=torch.float64)
    for schedule in SCHEDULES:
        x_0, epsilon, x_t, at = pair(schedule, level_of(schedule, sigma))
        value = quantity(given, x_0, epsilon, at)
        found = convert(value, x_t, at, given=given, wanted=wanted)
        expected = quantity(wanted, x_0, epsilon, at)
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
        back = convert(found, x_t, at, given=wanted, wanted=given)
        assert torch.allclose(back, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("given", ["v", "edm", "flow"])
@pytest.mark.parametrize("wanted", ["x0", "epsilon"])
@everywhere
def test_some_are_well_conditioned_in_float32_at_every_level(schedule, given, wanted):
    """An error of 1e-3 in v, edm or flow is at most 1e-3 in x_0 and in eps."""
    x_0, epsilon, x_t, at = pair(schedule, T.float())
    value = quantity(given, x_0, epsilon, at) + 1e-3
    found = convert(value, x_t, at, given=given, wanted=wanted)
    # Rounding of x_t / r, of size 5, and of the schedule's own float32 scales.
    assert (found - quantity(wanted, x_0, epsilon, at)).abs().max() < 1e-3 + 2e-5


@everywhere
def test_the_sign_is_all_that_differs_between_v_and_edm(schedule):
    x_0, epsilon, x_t, at = pair(schedule, T.float())
    value = quantity("v", x_0, epsilon, at)
    # Also in float32 and at the ends: no way through x_0 or eps is taken.
    assert torch.allclose(
        convert(value, x_t, at, given="v", wanted="edm"), -value, rtol=0, atol=1e-6
    )


def test_v_is_the_textbook_s_where_variance_is_preserved():
    for name in ("cosine", "linear", "sigmoid", "vp"):
        x_0, epsilon, _, at = pair(load("schedules", name)())
        c, d = at.over(x_0).signal_scale, at.over(x_0).noise_std
        assert torch.allclose(quantity("v", x_0, epsilon, at), c * epsilon - d * x_0, atol=1e-13)


@everywhere
def test_edm_is_the_preconditioning_of_karras(schedule):
    """D = c_skip y + c_out F with sigma_data = 1, where y = x_t / c has noise sigma."""
    x_0, epsilon, x_t, at = pair(schedule)
    shaped = at.over(x_0)
    sigma, y = shaped.noise_to_signal, x_t / shaped.signal_scale
    skip, out = 1 / (sigma**2 + 1), sigma / torch.sqrt(sigma**2 + 1)
    # Rounding of y, up to 5e2 under the schedules that go to sigma of 150, and of skip * y.
    assert torch.allclose(skip * y + out * quantity("edm", x_0, epsilon, at), x_0, atol=1e-12)
    network = (x_0 - skip * y) / out
    found = convert(x_0, x_t, at, given="x0", wanted="edm")
    assert torch.allclose(found, network, rtol=0, atol=1e-12)


def test_flow_is_the_velocity_of_straight_lines():
    """The derivative of x_t with respect to u, whatever u: a difference over any distance."""
    schedule = load("schedules", "rectified")()
    x_0, epsilon, x_t, at = pair(schedule)
    u = at.over(x_0).noise_std
    far = (1 - u[-1]) * x_0 + u[-1] * epsilon
    velocity = (far - x_t)[:-1] / (u[-1] - u[:-1])
    assert torch.allclose(quantity("flow", x_0, epsilon, at)[:-1], velocity, rtol=0, atol=1e-13)


def test_score_is_the_gradient_of_the_log_density():
    """Of x_t given x_0, by autograd."""
    x_0, epsilon, x_t, at = pair(load("schedules", "vp")())
    x = x_t.clone().requires_grad_()
    shaped = at.over(x)
    log_density = -(((x - shaped.signal_scale * x_0) / shaped.noise_std) ** 2).sum() / 2
    (gradient,) = torch.autograd.grad(log_density, x)
    score = quantity("score", x_0, epsilon, at)
    assert torch.allclose(score, gradient, rtol=1e-10, atol=1e-10 * float(score.abs().max()))


@everywhere
def test_mean_is_the_conditional_mean_of_the_jump_that_halves_the_noise(schedule):
    x_0, epsilon, x_t, at = pair(schedule, T[2:])
    half = level(schedule, level_of(schedule, at.noise_to_signal / 2))
    jump = Jump(at, half)
    weights = [w.reshape(-1, 1, 1) for w in (jump.weight_x_0, jump.weight_x_t, half.norm)]
    expected = (weights[0] * x_0 + weights[1] * x_t) / weights[2]
    # The level is found to 1e-12 of itself (see test_schedules).
    assert torch.allclose(quantity("mean", x_0, epsilon, at), expected, rtol=0, atol=1e-11)


def test_mean_is_of_unit_size_at_any_level():
    sigma = torch.logspace(-3, 3, 13, dtype=torch.float64)
    at = Level(sigma, torch.ones_like(sigma), sigma)
    x_0, epsilon = seeded(0)(torch.empty(2, 13, 4000, dtype=torch.float64), 0)
    size = quantity("mean", x_0, epsilon, at).std(dim=1)
    # Variance (1 + sigma^2 / 16) / (1 + sigma^2 / 4), from 1 down to 1/4.
    exact = torch.sqrt((1 + sigma**2 / 16) / (1 + sigma**2 / 4))
    assert ((size / exact - 1).abs() < 4.5 / 8000**0.5).all()
    assert exact.min() > 0.49


@everywhere
@predictions
def test_squared_errors_have_the_stated_ratio(schedule, predict):
    x_0, epsilon, x_t, at = pair(schedule)
    value = quantity(predict, x_0, epsilon, at)
    moved = convert(value + 0.1, x_t, at, given=predict, wanted="x0")
    ratio = ((moved - x_0) ** 2).mean(dim=(1, 2)) / 0.01
    assert torch.allclose(squared_error_ratio(predict, at), ratio, rtol=1e-8)


@everywhere
@predictions
def test_one_error_of_x_0_is_one_loss_whatever_is_predicted(schedule, predict):
    """The loss is this ratio times the squared error in the prediction's own units."""
    x_0, epsilon, x_t, at = pair(schedule)
    estimate = x_0 + 0.1 * seeded(5)(torch.empty_like(x_0), 0)
    predicted = convert(estimate, x_t, at, given="x0", wanted=predict)
    squared = (predicted - quantity(predict, x_0, epsilon, at)) ** 2
    loss = squared_error_ratio(predict, at) * squared.mean(dim=(1, 2))
    expected = ((estimate - x_0) ** 2).mean(dim=(1, 2))
    assert torch.allclose(loss, expected, rtol=1e-9)

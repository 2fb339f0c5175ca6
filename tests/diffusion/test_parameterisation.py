"""Exact conversions among what a network may predict."""

from itertools import permutations
from typing import get_args

import pytest
import torch

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.parameterisation import (
    Predict,
    Quantity,
    clean_and_noise,
    convert,
    quantity,
    squared_error_ratio,
)
from diffsci.families import load, names

SCHEDULES = [load("schedules", name)() for name in names("schedules")]
everywhere = pytest.mark.parametrize("schedule", SCHEDULES, ids=names("schedules"))
T = torch.linspace(0, 1, 11, dtype=torch.float64)


def pair(schedule, t=T):
    """x_0, eps and the x_t they make, one row per level."""
    x_0, epsilon = (seeded(3)(torch.empty(len(t), 2, 5, dtype=t.dtype), draw) for draw in (0, 1))
    at = level(schedule, t)
    return x_0, epsilon, at.over(x_0).signal_scale * x_0 + at.over(x_0).noise_std * epsilon, at


@everywhere
@pytest.mark.parametrize("kind", get_args(Quantity))
def test_every_quantity_gives_back_the_pair(schedule, kind):
    x_0, epsilon, x_t, at = pair(schedule)
    found = clean_and_noise(kind, quantity(kind, x_0, epsilon, at), x_t, at)
    # Rounding of x_t, up to 1e2, seen through 1 / c or 1 / d, up to 5e2.
    assert torch.allclose(found[0], x_0, rtol=0, atol=1e-12)
    assert torch.allclose(found[1], epsilon, rtol=0, atol=1e-12)


@everywhere
@pytest.mark.parametrize(("given", "wanted"), list(permutations(get_args(Quantity), 2)))
def test_there_and_back_is_the_identity(schedule, given, wanted):
    x_0, epsilon, x_t, at = pair(schedule)
    value = quantity(given, x_0, epsilon, at)
    there = convert(value, x_t, at, given=given, wanted=wanted)
    back = convert(there, x_t, at, given=wanted, wanted=given)
    assert torch.allclose(back, value, rtol=1e-12, atol=1e-12 * float(value.abs().max()))


@everywhere
def test_v_is_well_conditioned_in_float32_at_every_level(schedule):
    """An error of 1e-3 in v is at most 1e-3 in x_0 and in eps."""
    x_0, epsilon, x_t, at = pair(schedule, T.float())
    value = quantity("v", x_0, epsilon, at) + 1e-3
    clean, noise = clean_and_noise("v", value, x_t, at)
    # Rounding of x_t / r, of size 5, and of the schedule's own float32 scales.
    assert (clean - x_0).abs().max() < 1e-3 + 2e-5
    assert (noise - epsilon).abs().max() < 1e-3 + 2e-5


def test_v_is_the_textbook_s_where_variance_is_preserved():
    x_0, epsilon, _, at = pair(load("schedules", "cosine")())
    c, d = at.over(x_0).signal_scale, at.over(x_0).noise_std
    assert torch.allclose(quantity("v", x_0, epsilon, at), c * epsilon - d * x_0, atol=1e-14)


def test_v_under_edm_is_the_preconditioning_of_karras():
    """D = c_skip x + c_out F with sigma_data = 1, where F = -v."""
    x_0, epsilon, x_t, at = pair(load("schedules", "edm")())
    sigma = at.over(x_0).noise_std
    v = quantity("v", x_0, epsilon, at)
    skip, out = 1 / (sigma**2 + 1), sigma / torch.sqrt(sigma**2 + 1)
    assert torch.allclose(skip * x_t + out * -v, x_0, atol=1e-12)


@everywhere
@pytest.mark.parametrize("predict", get_args(Predict))
def test_squared_errors_have_the_stated_ratio(schedule, predict):
    x_0, epsilon, x_t, at = pair(schedule)
    value = quantity(predict, x_0, epsilon, at)
    moved = clean_and_noise(predict, value + 0.1, x_t, at)[0]
    ratio = ((moved - x_0) ** 2).mean(dim=(1, 2)) / 0.01
    assert torch.allclose(squared_error_ratio(predict, at), ratio, rtol=1e-8)

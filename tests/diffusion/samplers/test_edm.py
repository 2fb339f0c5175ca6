"""Churn: what it adds, where, and what it does to the law."""

import math

import pytest
import torch
from scipy.integrate import quad

from diffsci.diffusion.augmentation import descent
from diffsci.diffusion.exact import DiagonalGaussian, whole
from diffsci.families import load
from tests.diffusion.laws import f64
from tests.diffusion.samplers.variants import (
    SCHEDULES,
    at_the_end,
    every_schedule,
    output_law,
    unchecked,
)


@every_schedule
@pytest.mark.parametrize("churn", [3.0, 30.0])
def test_the_noise_that_a_step_adds_is_the_forward_noise_of_its_rise(schedule, churn):
    """Estimates x_0 = x / c leave y = x / c where it is, so that its end is the sum of draws.

    A rise by a quarter is taken as it is; one by 2.5 is cut to what doubles the variance, or to
    the noisiest level.
    """
    steps, low, high, inflation = 12, 0.05, 20.0, 1.3
    sampler = load("samplers", "edm")(
        steps=steps, churn=churn, churn_from=low, churn_to=high, noise_inflation=inflation
    )
    x_1 = f64([[2.0]])
    # The estimate is asked for t; its scale is the schedule's own.
    levels = {}

    def denoise(x_t, t):
        levels[len(levels)] = float(t)
        return x_t / schedule(t)[0]

    def sample(which):
        levels.clear()
        noise = lambda like, index: torch.full_like(like, float(index == which))  # noqa: E731
        with unchecked():
            return sampler(denoise, schedule, x_1, noise)

    still = sample(-1)
    scale, top = whole(schedule).after.signal_scale, float(whole(schedule).now.noise_to_signal)
    for number, jump in enumerate(descent(schedule, steps, "karras", x_1).jumps, start=1):
        sigma = float(jump.now.noise_to_signal)
        added = float((sample(number) - still) / scale)
        rise = min(churn / steps, math.sqrt(2) - 1, top / sigma - 1)
        churned = low <= sigma <= high and number > 1
        expected = inflation * sigma * math.sqrt((1 + rise) ** 2 - 1) if churned else 0.0
        assert added == pytest.approx(expected, rel=1e-6, abs=1e-9)


@every_schedule
def test_no_level_is_beyond_the_noisiest_or_the_cleanest(schedule):
    """With the largest rise in every step, the first included, which has nowhere to rise to."""
    seen = []

    def denoise(x_t, t):
        seen.append(float(t))
        return 0.5 * x_t

    sampler = load("samplers", "edm")(steps=30, churn=1e6)
    sampler(denoise, schedule, f64([[1.0]]), lambda like, index: like)
    assert len(seen) == 60
    assert all(0 <= t <= 1 for t in seen)


@pytest.mark.parametrize("inflation", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("name", ["edm", "near"])
def test_inflation_shifts_the_limit_of_the_law_by_the_predicted_amount(inflation, name):
    """In the limit the variance in y, over what it should be, is R with

        dR / du = 2 churn sigma^2 / (s^2 + sigma^2) (inflation^2 - R)

    over the share u of steps taken, for data of std s: each rise by gamma mixes in 2 gamma sigma^2
    of noise, and the flow leaves R as it is.
    """
    schedule, s2 = SCHEDULES[name], f64([1.0, 0.04, 0.0025])
    law = DiagonalGaussian(mean=torch.zeros(3).double(), variance=s2)
    churn, low, high = 2.0, 0.03, 2.0
    fields = {"churn": churn, "churn_from": low, "churn_to": high, "noise_inflation": inflation}
    jump = whole(schedule)
    first, last = (float(at.noise_to_signal) ** (1 / 7) for at in (jump.now, jump.after))
    share = [(first - sigma ** (1 / 7)) / (first - last) for sigma in (high, low)]

    def rate(u, variance):
        sigma = (first + u * (last - first)) ** 7
        return 2 * churn * sigma**2 / (variance + sigma**2)

    exponent = [quad(rate, *share, args=(float(v),))[0] for v in s2]
    expected = inflation**2 + (1 - inflation**2) * torch.exp(-f64(exponent))
    found = output_law(("edm", fields), 192, schedule, law, warm=True).variance
    found = found / at_the_end(schedule, law).variance
    # Second-order error of the steps, 1e-3 here; and the ends of the range fall between two steps:
    # 1 of about 60 churned steps, of a shift of at most 0.2.
    assert torch.allclose(found, expected, atol=0.004), (found, expected)
    assert inflation == 1 or ((found - 1) / (inflation - 1) > 0.1).all()

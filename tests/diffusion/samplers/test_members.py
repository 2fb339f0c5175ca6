"""Samplers that are one under two names, what one step adds, and spread as measured elsewhere."""

import math

import pytest
import torch

from diffsci.diffusion.exact import DiagonalGaussian, whole
from diffsci.diffusion.noise import seeded
from diffsci.errors import FieldError
from diffsci.families import load
from tests.diffusion.laws import MIXTURE, f64
from tests.diffusion.samplers.variants import (
    SCHEDULES,
    every_schedule,
    label,
    make,
    output_law,
    silent,
    start,
    unchecked,
)


def together(one, other):
    return pytest.param(one, other, id=f"{label(one)}-{label(other)}")


@every_schedule
@pytest.mark.parametrize(
    ("one", "other"),
    [
        together(("euler", {}), ("ddim", {})),
        together(("ab", {"multistep": 1}), ("ddim", {})),
        together(("dpmpp", {"multistep": 1}), ("ddim", {})),
        together(("dpmpp", {"multistep": 3}), ("ab", {"multistep": 3})),
        together(("edm", {"churn": 0.0}), ("heun", {})),
        together(("ddim", {"eta": 1.0}), ("ancestral", {})),
        together(("dpmpp", {"multistep": 1, "stochastic": True}), ("ancestral", {})),
    ],
)
def test_one_sampler_under_two_names(one, other, schedule):
    """Written in other variables, they agree to the rounding of x / c, which starts at 80."""
    x_1, denoise = start(schedule, 2), MIXTURE.denoiser(schedule)
    with unchecked():
        first, second = (make(x, 9)(denoise, schedule, x_1, seeded(4)) for x in (one, other))
    largest = float(whole(schedule).now.noise_to_signal)
    assert torch.allclose(first, second, rtol=1e-11, atol=1e-13 * largest)


def test_two_steps_of_unipc_by_hand():
    """Estimates 1 and then 5 whatever x is: the first step is a ramp between them over log(sigma).

    The mean of a ramp under exp(u) over a rise h, in units of c_s: 1 / h - 1 / (exp(h) - 1) from
    its end, as a share of it.
    """
    estimates = iter([1.0, 5.0])
    x = make(("unipc", {"multistep": 1}), 2)(
        lambda x_t, t: 0 * x_t + next(estimates), SCHEDULES["edm"], f64([[300.0]]), silent
    )
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    sigma = 80.0, ((high + low) / 2) ** 7, 0.002
    rise = math.log(sigma[0] / sigma[1])
    mean = 5 - 4 * (1 / rise - 1 / math.expm1(rise))
    between = mean + (300 - mean) * sigma[1] / sigma[0]
    assert float(x) == pytest.approx(5 + (between - 5) * sigma[2] / sigma[1], rel=1e-12)


@every_schedule
@pytest.mark.parametrize(
    ("variant", "std"),
    [
        (("ancestral", {}), lambda jump: jump.posterior_std),
        (("ancestral", {"variance": "large"}), lambda jump: jump.step_std),
        (("ddim", {"eta": 0.3}), lambda jump: 0.3 * jump.posterior_std),
        (
            ("dpmpp", {"multistep": 1, "stochastic": True}),
            lambda jump: jump.posterior_std,
        ),
        (("refiner", {}), lambda jump: jump.after.noise_std),
    ],
    ids=label,
)
def test_fresh_noise_of_one_jump_has_the_stated_std(variant, std, schedule):
    def with_noise(value):
        return make(variant, 1)(
            lambda x_t, t: 0.5 * x_t, schedule, f64([[3.0]]), lambda like, _: value + 0 * like
        )

    found = float(with_noise(1.0) - with_noise(0.0))
    # The two ends differ by the noise, of which x, up to 500 times as large, hides digits.
    assert found == pytest.approx(float(std(whole(schedule))), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("ancestral", {"variance": "exakt"}, "variance"),
        ("ddim", {"eta": 1.5}, "eta: got 1.5, expected a share from 0 to 1"),
        ("ab", {"multistep": 5}, "multistep: got 5, expected 1, 2, 3 or 4"),
        ("ab", {"multistep": 0}, "multistep: got 0, expected 1, 2, 3 or 4"),
        ("unipc", {"multistep": 4}, "multistep: got 4, expected 1, 2 or 3"),
        ("dpmpp", {"multistep": 4}, "multistep: got 4, expected 1, 2 or 3"),
        ("edm", {"churn": -1.0}, "churn: got -1.0, expected 0 or more"),
        ("edm", {"churn_from": -1.0}, "churn_from: got -1.0, expected 0 or more"),
        ("edm", {"churn_from": 2.0, "churn_to": 1.0}, "churn_to: got 1.0, expected more than"),
        ("edm", {"noise_inflation": 0.0}, "noise_inflation: got 0.0, expected more than 0"),
        ("edm", {"churn": 0.0, "noise_inflation": 1.1}, "expected 1 where churn is 0"),
    ],
)
def test_own_fields_out_of_range_are_named(name, fields, message):
    # Under the tests' own type checks a wrong word is a TypeError before that.
    with pytest.raises((FieldError, TypeError), match=message):
        load("samplers", name)(**fields)


def spread(variant, steps, std):
    """Sampled over true std, after one more denoising, which others end with."""
    schedule = SCHEDULES["edm"]
    s2 = f64(std) ** 2
    law = DiagonalGaussian(mean=torch.zeros(len(std)).double(), variance=s2)
    found = output_law(variant, steps, schedule, law)
    rest = whole(schedule).after.noise_std
    return torch.sqrt(found.variance * s2) / (s2 + rest**2)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (("ddim", {}), [0.87, 0.83, 0.76]),
        (("euler", {}), [0.87, 0.83, 0.76]),
        (("ab", {"multistep": 1}), [0.87, 0.83, 0.76]),
        (("heun", {}), [1.04, 1.07, 1.12]),
        (("edm", {"churn": 0.0}), [1.04, 1.07, 1.12]),
        (("dpmpp", {}), [1.04, 1.07, 0.98]),
        (("ancestral", {}), [0.77, 0.71, 0.64]),
        (("dpmpp", {"multistep": 1, "stochastic": True}), [0.77, 0.71, 0.64]),
        (("ancestral", {"variance": "large"}), [1.31, 1.46, 1.70]),
        (("ancestral", {"variance": "exact"}), [1.00, 1.00, 1.00]),
    ],
    ids=label,
)
def test_spread_of_a_perfect_model_as_measured_elsewhere(variant, expected):
    """Sampled over true std at 20 steps, for fields of std 1, 0.1, 0.01 (six-steps.md, C3).

    Those were made by other code, with a last denoising: here 19 steps and the factor it has.
    """
    ratio = spread(variant, 19, [1.0, 0.1, 0.01])
    assert torch.allclose(ratio, f64(expected), atol=0.03), ratio


def test_churn_as_others_set_it_inflates_a_perfect_model():
    """Churn 2.5 from 0.75 on with inflation 1.05, 20 steps: 1.10 to 1.18 (six-steps.md, C3)."""
    fields = {"churn": 2.5, "churn_from": 0.75, "noise_inflation": 1.05}
    ratio = spread(("edm", fields), 19, [1.0, 0.1, 0.01])
    # To the two digits that it was written down with.
    assert ((ratio > 1.095) & (ratio < 1.185)).all(), ratio

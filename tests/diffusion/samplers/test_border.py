"""What a sampler refuses, by name, before or after it walked."""

import math

import pytest
import torch

from diffsci.diffusion.exact import Gaussian, kalman
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.samplers.ancestral import Ancestral
from diffsci.diffusion.samplers.ddim import DDIM
from diffsci.diffusion.samplers.edm import EDM as Churned
from diffsci.diffusion.schedules.edm import EDM
from diffsci.errors import ConfigError, FieldError, NotFiniteError
from tests.diffusion.laws import f64
from tests.diffusion.samplers.variants import ALL, label, make, unchecked


def half(x_t, t):
    return 0.5 * x_t


@pytest.mark.parametrize(
    "x_1", [torch.ones(3, 2, dtype=torch.int64), torch.tensor(1.0), torch.ones(0, 2)], ids=str
)
def test_what_is_no_batch_of_numbers_is_refused(x_1):
    with (
        unchecked(),
        pytest.raises(ConfigError, match=r"x_1: got \[.*expected one or more examples"),
    ):
        DDIM(steps=3)(half, EDM(), x_1, seeded(0))


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (lambda like, index: torch.ones(like.shape[1:], dtype=like.dtype), "shape"),
        (lambda like, index: torch.ones_like(like).double(), "dtype"),
    ],
)
def test_noise_of_another_kind_is_refused(draw, kind):
    """Broadcast, all members would share one draw."""
    with unchecked(), pytest.raises(ConfigError, match=f"noise: its draw has {kind}"):
        Ancestral(steps=3)(half, EDM(), torch.ones(4, 5), draw)


def test_a_sample_that_is_not_finite_is_told_though_no_estimate_was():
    def last_is_nan(like, index):
        return torch.full_like(like, math.nan) if index == 3 else torch.zeros_like(like)

    with pytest.raises(NotFiniteError, match="call 3 of 3"):
        Ancestral(steps=3)(half, EDM(), torch.ones(2, 4), last_is_nan)


def test_nan_under_the_exact_variance_names_its_example():
    factor = f64([[0.5], [math.nan], [0.5]])
    with pytest.raises(NotFiniteError, match="call 1 of 4.*example 1 of"):
        Ancestral(steps=4, variance="exact")(
            lambda x_t, t: factor * x_t, EDM(), torch.ones(3, 2).double(), seeded(0)
        )


@pytest.mark.parametrize("steps", [2.5, True])
def test_steps_are_whole_numbers(steps):
    with unchecked(), pytest.raises(FieldError, match="steps: got .*, expected a whole number"):
        DDIM(steps=steps)


def test_a_schedule_that_goes_back_and_forth_is_refused():
    def wavy(t):
        return torch.ones_like(t), 0.01 + t + 0.9 * torch.sin(12 * t).abs()

    with pytest.raises(ConfigError, match="must fall strictly"):
        DDIM(steps=24)(half, wavy, torch.ones(2, 3), seeded(0))


def test_churn_at_its_largest_is_of_first_order():
    """More steps then mean more fresh noise in all, in proportion: measured 1.13, 0.96."""
    assert Churned(steps=32, churn=10.0).order == 2
    assert Churned(steps=32, churn=100.0).order == 1
    assert Churned(steps=512, churn=100.0).order == 2


def test_observation_errors_must_have_a_covariance():
    prior = Gaussian(mean=f64([0.0, 0.0]), covariance=torch.eye(2).double())
    h, y = torch.eye(2).double(), f64([1.0, 1.0])
    with pytest.raises(FieldError, match="noise_covariance: got 'an asymmetry"):
        kalman(prior, h, f64([[1.0, 0.9], [0.0, 1.0]]), y)
    with pytest.raises(FieldError, match="values: got 'NaN or infinity'"):
        kalman(prior, h, torch.eye(2).double(), f64([1.0, math.nan]))


@pytest.mark.parametrize("variant", [*ALL, ("ancestral", {"variance": "exact"})], ids=label)
def test_examples_may_be_single_numbers(variant):
    """A batch of numbers is the same as of vectors of one."""

    def denoise(x_t, t):
        sigma = 0.002 * 40000**t
        return x_t / (1 + sigma**2)

    def spread(t):
        return torch.ones_like(t), 0.002 * 40000**t

    x_1 = torch.linspace(-80, 80, 5, dtype=torch.float64)
    one = make(variant, 6)(denoise, spread, x_1, seeded(1))
    other = make(variant, 6)(denoise, spread, x_1[:, None], seeded(1))
    assert torch.equal(one, other[:, 0])

"""Ancestral sampling with the exact variance: right in any number of steps."""

import pytest
import torch

from diffsci.diffusion.augmentation import pure_noise
from diffsci.diffusion.exact import linear_output_law, whole
from diffsci.diffusion.noise import seeded
from diffsci.families import load
from tests.diffusion.laws import GAUSSIAN, MIXTURE, f64
from tests.diffusion.samplers.variants import SCHEDULES, every_schedule, unchecked


def exact(steps):
    return load("samplers", "ancestral")(steps=steps, variance="exact")


def plain(law, schedule):
    """A mere function, so that its covariance must be had from its Jacobian."""
    denoise = law.denoiser(schedule)
    return lambda x_t, t: denoise(x_t, t)


@every_schedule
@pytest.mark.parametrize("known", [True, False], ids=["known", "jacobian"])
def test_spread_of_gaussians_is_right_in_5_10_and_20_steps(schedule, known):
    """Every direction's std, over that of the data at t = 0; started cold, as samplers are.

    The signal that x_1 lacks is forgotten, but for sigma_max not far above the data: there the
    start is what the error is of, and it is taken warm.
    """
    at = whole(schedule).after
    signal_scale, noise_std = schedule(f64(1.0))
    unit = torch.eye(3, dtype=torch.float64)
    wanted = at.signal_scale**2 * GAUSSIAN.covariance + at.noise_std**2 * unit
    turn = torch.linalg.eigh(wanted).eigenvectors
    start = signal_scale**2 * GAUSSIAN.covariance + noise_std**2 * unit
    denoise = GAUSSIAN.denoiser(schedule) if known else plain(GAUSSIAN, schedule)
    for steps in (5, 10, 20):
        with unchecked():
            mean, covariance = linear_output_law(
                exact(steps), denoise, schedule, signal_scale * GAUSSIAN.mean, start
            )
        ratio = torch.sqrt((turn.T @ covariance @ turn / (turn.T @ wanted @ turn)).diagonal())
        # Exact up to rounding, and to the variance that `straight` enters without: 2 / 1000^2.
        assert torch.allclose(ratio, torch.ones(3).double(), atol=2e-6)
        assert torch.allclose(covariance, wanted, atol=1e-5)
        assert torch.allclose(mean, at.signal_scale * GAUSSIAN.mean, atol=1e-5)


@pytest.mark.parametrize("name", ["edm", "vp"])
def test_spread_is_right_from_a_cold_start(name):
    """Without the signal of x_1: 1 / 80^2 of the variance, forgotten in the first step."""
    schedule = SCHEDULES[name]
    at, unit = whole(schedule).after, torch.eye(3, dtype=torch.float64)
    wanted = at.signal_scale**2 * GAUSSIAN.covariance + at.noise_std**2 * unit
    start = schedule(f64(1.0))[1] ** 2 * unit
    for steps in (5, 10, 20):
        _, covariance = linear_output_law(
            exact(steps), GAUSSIAN.denoiser(schedule), schedule, 0 * GAUSSIAN.mean, start
        )
        assert torch.allclose(covariance, wanted, rtol=1e-3, atol=1e-4)


def test_samples_of_a_mixture_have_its_covariance():
    """Not exact where data are not normal, but within 4 % in 10 steps (measured: 2 %)."""
    schedule, rows = SCHEDULES["edm"], 20_000
    noise = seeded(3)
    x_1 = pure_noise(schedule, noise(torch.empty(rows, 2, dtype=torch.float64), 0))
    x = exact(10)(plain(MIXTURE, schedule), schedule, x_1, noise)
    mean = MIXTURE.weights @ MIXTURE.means
    off = MIXTURE.means - mean
    wanted = torch.einsum(
        "k,kij->ij", MIXTURE.weights, MIXTURE.covariances + off[:, :, None] * off[:, None, :]
    )
    ratio = torch.sqrt(torch.cov(x.T).diagonal() / wanted.diagonal())
    assert torch.allclose(ratio, torch.ones(2).double(), atol=0.04), ratio
    assert torch.allclose(x.mean(dim=0), mean, atol=0.04)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_calls_dtype_and_device_are_as_of_any_sampler(steps):
    calls = []

    def denoise(x_t, t):
        calls.append(float(t))
        return 0.5 * x_t

    with torch.inference_mode():
        x = exact(steps)(denoise, SCHEDULES["vp"], torch.ones(2, 1, 3), seeded(0))
    assert len(calls) == exact(steps).calls
    assert x.dtype == torch.float32
    assert x.shape == (2, 1, 3)

"""The discretised law of samplers, against propagation by hand and against itself."""

import math

import pytest
import torch

from diffsci.diffusion.augmentation import pure_noise
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.exact import (
    DiagonalGaussian,
    StationaryField,
    diagonal_output_law,
    linear_output_law,
    spectral_output_law,
    spread_by_band,
    whole,
)
from diffsci.diffusion.noise import seeded
from diffsci.errors import ConfigError
from diffsci.families import load, names
from tests.diffusion.laws import DIAGONAL, FIELD, GAUSSIAN, MIXTURE, dense, f64

EXACT = load("samplers", "ancestral")(steps=5, variance="exact")
SAMPLERS = {name: load("samplers", name)(steps=6) for name in names("samplers")} | {"exact": EXACT}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def cold(schedule, dim):
    """x_1 as samplers are started: noise alone."""
    return torch.zeros(dim).double(), whole(schedule).now.noise_std ** 2 * torch.eye(dim).double()


@pytest.mark.parametrize("variance", ["small", "large"])
def test_output_law_of_ancestral_steps_by_propagating_mean_and_variance(variance):
    """Independently, per element: one Gaussian regression after the other."""
    schedule = load("schedules", "linear")()
    sampler = load("samplers", "ancestral")(steps=7, variance=variance, spacing="time")
    c, d = schedule(torch.linspace(1, 0, 8, dtype=torch.float64))
    mean, total = torch.zeros(4).double(), d[0] ** 2 * torch.ones(4).double()
    m, s2 = DIAGONAL.mean, DIAGONAL.variance
    start = (mean, torch.diag(total))
    for i in range(7):
        step = c[i] / c[i + 1]
        innovation = d[i] ** 2 - step**2 * d[i + 1] ** 2
        a, b = c[i + 1] * innovation / d[i] ** 2, step * d[i + 1] ** 2 / d[i] ** 2
        gain = c[i] * s2 / (c[i] ** 2 * s2 + d[i] ** 2)
        added = innovation if variance == "large" else d[i + 1] ** 2 * innovation / d[i] ** 2
        mean = a * (m + gain * (mean - c[i] * m)) + b * mean
        total = (a * gain + b) ** 2 * total + added
    found = linear_output_law(sampler, DIAGONAL.denoiser(schedule), schedule, *start)
    assert torch.allclose(found[0], mean, rtol=1e-10, atol=1e-12)
    assert torch.allclose(found[1], torch.diag(total), rtol=1e-10, atol=1e-12)


def test_output_law_of_a_deterministic_sampler_is_its_matrix_alone():
    schedule, sampler = load("schedules", "edm")(), load("samplers", "ddim")(steps=4)
    denoise = GAUSSIAN.denoiser(schedule)
    _, covariance = linear_output_law(
        sampler, denoise, schedule, torch.zeros(3).double(), 6400 * torch.eye(3).double()
    )
    assert torch.allclose(covariance, covariance.T)
    assert torch.linalg.matrix_rank(covariance) == 3
    assert math.isclose(float(torch.trace(covariance)), float(covariance.diagonal().sum()))


@every_sampler
def test_probing_all_elements_at_once_is_probing_one_by_one(sampler):
    schedule = load("schedules", "edm")()
    denoise = DIAGONAL.denoiser(schedule)
    start = cold(schedule, 4)
    mean, covariance = linear_output_law(sampler, denoise, schedule, *start)
    law_1 = DiagonalGaussian(mean=start[0], variance=start[1].diagonal())
    found = diagonal_output_law(sampler, denoise, schedule, law_1)
    assert torch.allclose(found.mean, mean, rtol=1e-10, atol=1e-12)
    assert torch.allclose(torch.diag(found.variance), covariance, rtol=1e-10, atol=1e-12)


@every_sampler
def test_probing_waves_is_probing_fields(sampler):
    """A number for each variance, against 60 unit fields sent through the field's own code."""
    schedule, full = load("schedules", "linear")(), dense(FIELD)
    found = spectral_output_law(sampler, FIELD, schedule)

    def denoise(x_t, t):
        return FIELD.denoiser(schedule)(x_t.reshape(-1, 2, 6, 5), t).flatten(1)

    sought = full.denoiser(schedule) if sampler is EXACT else denoise
    mean, covariance = linear_output_law(sampler, sought, schedule, *cold(schedule, 60))
    assert torch.allclose(found.mean.flatten(), mean, rtol=1e-9, atol=1e-10)
    assert torch.allclose(dense(found).covariance, covariance, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("schedule", names("schedules"))
def test_exact_variance_is_exact_in_every_band_in_any_number_of_steps(schedule, steps):
    """Started in noise alone, which has 1/80 or so less variance than x_1 where data are red."""
    schedule = load("schedules", schedule)()
    basis = Basis((16, 16), (True, True))
    law = StationaryField.by_band(basis, 5 / (1 + torch.arange(basis.bands).double()[None]) ** 3)
    sampler = load("samplers", "ancestral")(steps=steps, variance="exact")
    found = spectral_output_law(sampler, law, schedule)
    ratio = spread_by_band(found, law.noisy(whole(schedule).after))
    # What a start without the data's own variance misses: at most v c_1^2 / (2 d_1^2) of it.
    missing = 5 * float(whole(schedule).now.snr)
    assert ((ratio - 1).abs() < missing).all()
    assert (ratio <= 1 + 1e-9).all()


@pytest.mark.parametrize("schedule", ["edm", "linear"])
def test_exact_variance_is_exact_for_full_covariances(schedule):
    """To rounding, when started at the true law of x_1."""
    schedule = load("schedules", schedule)()
    jump = whole(schedule)
    first, last = GAUSSIAN.noisy(jump.now), GAUSSIAN.noisy(jump.after)
    mean, covariance = linear_output_law(
        EXACT, GAUSSIAN.denoiser(schedule), schedule, first.mean, first.covariance
    )
    assert torch.allclose(mean, last.mean, rtol=1e-9, atol=1e-10)
    assert torch.allclose(covariance, last.covariance, rtol=1e-9, atol=1e-10)


def test_samples_of_fields_have_the_law_of_their_waves():
    """2 000 fields through the sampler: the variance of each wave within 4.5 standard errors."""
    schedule, rows, noise = load("schedules", "edm")(), 2_000, seeded(21)
    x_1 = pure_noise(schedule, noise(torch.empty(rows, 2, 6, 5, dtype=torch.float64), 0))
    for sampler in (SAMPLERS["dpmpp"], EXACT):
        x = sampler(FIELD.denoiser(schedule), schedule, x_1, noise)
        law = spectral_output_law(sampler, FIELD, schedule)
        waves = FIELD.forward(x - law.mean)
        found = (waves**2).mean(dim=0)
        assert ((found / law.variance - 1).abs() < 4.5 * math.sqrt(2 / rows)).all()


def test_a_function_is_a_sampler_too():
    schedule = load("schedules", "edm")()

    def one_step(denoise, schedule, x_1, noise):
        return denoise(x_1, torch.ones((), dtype=x_1.dtype)) + 0.5 * noise(x_1, 1)

    mean, covariance = linear_output_law(
        one_step, DIAGONAL.denoiser(schedule), schedule, *cold(schedule, 4)
    )
    d2 = whole(schedule).now.noise_std ** 2
    gain = DIAGONAL.variance / (DIAGONAL.variance + d2)
    assert torch.allclose(mean, DIAGONAL.mean - gain * DIAGONAL.mean, rtol=1e-12)
    assert torch.allclose(covariance, torch.diag(gain**2 * d2 + 0.25), rtol=1e-12)


def test_what_is_not_affine_is_refused():
    """Its output law would be wrong without a word."""
    schedule, sampler = load("schedules", "edm")(), load("samplers", "heun")(steps=4)
    with pytest.raises(ConfigError, match="not affine in x_1, by .* of .*: give the denoiser"):
        linear_output_law(sampler, MIXTURE.denoiser(schedule), schedule, *cold(schedule, 2))

    def mixes(x_t, t):
        return x_t.mean(dim=-1, keepdim=True).expand_as(x_t)

    start = DiagonalGaussian(mean=f64([0, 0, 0]), variance=f64([1, 1, 1]))
    with pytest.raises(ConfigError, match="not affine in x_1"):
        diagonal_output_law(sampler, mixes, schedule, start)


def test_data_of_no_variance_are_affine_too():
    """Outputs near 0 are compared at the size of x_1, whose rounding they carry."""
    point = DiagonalGaussian(mean=f64([0.0, 1e-9]), variance=f64([0.0, 1e-18]))
    for name, sampler in SAMPLERS.items():
        for schedule in (load("schedules", "edm")(), load("schedules", "linear")()):
            start = cold(schedule, 2)
            mean, _ = linear_output_law(sampler, point.denoiser(schedule), schedule, *start)
            assert torch.allclose(mean, point.mean, atol=1e-9), name

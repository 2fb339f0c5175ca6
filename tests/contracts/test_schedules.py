"""What every schedule must do."""

import pytest
import torch

from diffsci.families import load, names

everyone = pytest.mark.parametrize(
    "schedule", [load("schedules", name)() for name in names("schedules")], ids=names("schedules")
)
T = torch.linspace(0, 1, 2001, dtype=torch.float64)


def sigma(schedule, t):
    signal_scale, noise_std = schedule(t)
    return noise_std / signal_scale


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_shape_and_dtype_are_those_of_t(schedule, shape, dtype):
    for part in schedule(torch.full(shape, 0.3, dtype=dtype)):
        assert part.shape == shape
        assert part.dtype == dtype


@everyone
def test_signal_to_noise_falls_strictly_from_finite_to_positive(schedule):
    signal_scale, noise_std = schedule(T)
    assert (signal_scale > 0).all()
    assert (noise_std > 0).all()
    assert (sigma(schedule, T).diff() > 0).all()


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_are_almost_clean_and_almost_noise(schedule, dtype):
    low, high = sigma(schedule, torch.tensor([0.0, 1.0], dtype=dtype)).tolist()
    assert low == pytest.approx(0.002, rel=1e-5 if dtype == torch.float32 else 1e-12)
    assert high > 50


@everyone
def test_level_of_is_the_exact_inverse(schedule):
    # t is found to rounding, at most 1e3 times worse where sigma hardly moves with t.
    assert torch.allclose(schedule.level_of(sigma(schedule, T)), T, rtol=0, atol=1e-12)
    single = T.float()
    found = schedule.level_of(sigma(schedule, single))
    assert torch.allclose(found, single, rtol=0, atol=1e-5)


@everyone
def test_level_of_clips_to_the_ends(schedule):
    beyond = torch.tensor([0.0, 1e-9, 1e9, float("inf")], dtype=torch.float64)
    assert schedule.level_of(beyond).tolist() == [0, 0, 1, 1]


@everyone
def test_derivatives_are_finite_and_right(schedule):
    """Against central differences; step 1e-6 leaves about 1e-9 of truncation and rounding."""
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(sigma(schedule, t).log().sum(), t)
    step = 1e-6
    with torch.no_grad():
        rise = (sigma(schedule, t + step) / sigma(schedule, t - step)).log() / (2 * step)
    assert torch.allclose(slope, rise, rtol=1e-6)


@everyone
def test_float32_is_float64_to_its_own_precision(schedule):
    for rough, fine in zip(schedule(T.float()), schedule(T.float().double()), strict=True):
        # Relative, at both ends: an angle or exponent of size 10 costs about 10 roundings.
        assert torch.allclose(rough.double(), fine, rtol=3e-6, atol=0)


def test_variance_preserving_ones_preserve_the_variance():
    for name in ("linear", "cosine"):
        signal_scale, noise_std = load("schedules", name)()(T)
        assert torch.allclose(signal_scale**2 + noise_std**2, torch.ones_like(T), rtol=1e-14)


def test_linear_is_the_limit_of_ddpm_s_products():
    """alphabar after N steps of beta(i/N)/N tends to signal_scale^2, with error of order 1/N."""
    schedule = load("schedules", "linear")()
    errors = []
    for count in (1000, 2000):
        u = torch.arange(1, count + 1, dtype=torch.float64) / count
        alphabar = torch.cumprod(1 - (0.1 + 19.9 * u) / count, dim=0)
        start = schedule._start
        inside = u >= start
        exact = schedule((u[inside] - start) / (1 - start))[0] ** 2
        errors.append(float((alphabar[inside] - exact).abs().max()))
    assert errors[0] < 0.006
    assert 1.9 < errors[0] / errors[1] < 2.1


def test_edm_s_levels_uniform_in_t_are_karras_spacing():
    found = load("schedules", "edm")()(torch.linspace(1, 0, 18, dtype=torch.float64))[1]
    i, root = torch.arange(18, dtype=torch.float64), 1 / 7
    expected = (80**root + i / 17 * (0.002**root - 80**root)) ** 7
    assert torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("edm", {"sigma_min": 0.0}, "sigma_min: got 0.0, expected more than 0"),
        ("edm", {"sigma_max": 0.001}, "sigma_max: got 0.001, expected a finite number above"),
        ("edm", {"rho": 0.5}, "rho: got 0.5"),
        ("cosine", {"sigma_min": -1.0}, "sigma_min: got -1.0"),
        ("cosine", {"sigma_max": float("inf")}, "sigma_max: got inf"),
        ("linear", {"beta_min": 0.0}, "beta_min: got 0.0"),
        ("linear", {"beta_max": 0.05}, "beta_max: got 0.05"),
        ("linear", {"sigma_min": 1e9}, "sigma_min: got 1000000000.0, expected between 0 and 15"),
    ],
)
def test_values_out_of_range_are_named(name, fields, message):
    with pytest.raises(ValueError, match=message):
        load("schedules", name)(**fields)

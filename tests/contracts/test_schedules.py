"""What every schedule must do."""

import math

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


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("cosine", {"sigma_min": 1e-6, "sigma_max": 1e5}),
        ("edm", {"sigma_min": 1e-6, "sigma_max": 1e5, "rho": 1.0}),
        ("linear", {"levels": 2, "beta_min": 0.5, "beta_max": 1.9}),
        ("linear", {"levels": 81, "beta_max": 80.0}),
        ("rectified", {"sigma_min": 1e-6, "sigma_max": 1e5}),
        ("sigmoid", {"sigma_min": 1e-6, "sigma_max": 1e5}),
        ("sigmoid", {"tau": 1000.0}),
        ("sigmoid", {"start": 0.0, "end": 20.0, "tau": 0.5}),
        ("sigmoid", {"start": -20.0, "end": 20.0, "tau": 0.5}),
        ("vp", {"beta_max": 80.0, "sigma_min": 1e-6}),
    ],
)
def test_unusual_fields_keep_the_law(name, fields):
    schedule = load("schedules", name)(**fields)
    found = sigma(schedule, T)
    assert (found.diff() > 0).all()
    assert torch.isfinite(found).all()
    # The level is compared by its sigma: where sigma hardly moves, t is not determined better.
    again = sigma(schedule, schedule.level_of(found))
    assert torch.allclose(again, found, rtol=1e-9, atol=0)


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


@everyone
@pytest.mark.parametrize("t", [-0.001, 1.001, float("nan"), float("inf")])
def test_levels_outside_are_named(schedule, t):
    with pytest.raises(ValueError, match=f"t: got {t}, expected levels from 0"):
        schedule(torch.tensor([0.5, t], dtype=torch.float64))


@everyone
def test_nothing_is_read_of_a_device(schedule):
    """A meta tensor has no values: a host that waits for one raises."""
    t = torch.empty(2, 3, device="meta")
    for found in (*schedule(t), schedule.level_of(t)):
        assert (found.device.type, found.shape) == ("meta", (2, 3))


@everyone
def test_float32_is_exact_to_the_very_ends(schedule):
    """Levels 1e-6 from either end, where a difference of large numbers would lose digits."""
    for t in (torch.logspace(-6, -1, 11), 1 - torch.logspace(-6, -1, 11)):
        for rough, fine in zip(schedule(t), schedule(t.double()), strict=True):
            assert torch.allclose(rough.double(), fine, rtol=3e-6, atol=0)


@everyone
def test_level_of_in_inference_mode_leaves_training_possible(schedule):
    fresh = type(schedule)(sigma_min=0.0123)  # no table of it is kept yet
    with torch.inference_mode():
        fresh(T), fresh.level_of(T)
    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    sigma(fresh, t).backward()
    assert t.grad > 0


def test_variance_preserving_ones_preserve_the_variance():
    for name in ("linear", "cosine", "sigmoid", "vp"):
        signal_scale, noise_std = load("schedules", name)()(T)
        # The sigmoid's two parts are products of five functions each.
        assert torch.allclose(signal_scale**2 + noise_std**2, torch.ones_like(T), rtol=1e-14)


def test_linear_has_ddpm_s_products_at_ddpm_s_levels():
    """As in the paper: 1000 betas from 1e-4 to 0.02."""
    schedule = load("schedules", "linear")()
    alphabar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)
    # u_0 lies in the first step, where -log(alphabar) is u times 1000 times its value at the end.
    start = math.log1p(0.002**2) / -math.log1p(-1e-4) / 1000
    u = torch.arange(1, 1001, dtype=torch.float64) / 1000
    signal_scale, noise_std = schedule((u - start) / (1 - start))
    # A product of 1000 roundings, and 1 - alphabar of up to 1e4 times its own.
    assert torch.allclose(signal_scale**2, alphabar, rtol=1e-12)
    assert torch.allclose(noise_std**2, 1 - alphabar, rtol=1e-10)
    assert float(alphabar[-1]) == pytest.approx(4.0358e-5, rel=1e-4)  # the known end of DDPM


def test_vp_is_the_limit_of_linear_in_many_levels():
    """Error of alphabar and of noise_std, halved by twice the levels."""
    limit = load("schedules", "vp")()(T)
    errors = []
    for levels in (250, 500, 1000, 2000):
        found = load("schedules", "linear")(levels=levels)(T)
        errors.append(max(float((a - b).abs().max()) for a, b in zip(found, limit, strict=True)))
    assert errors[2] < 0.002
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 1.9 < coarse / fine < 2.1


def test_vp_solves_its_own_equation():
    """d log(signal_scale) / du = -beta(u) / 2 and c^2 + d^2 = 1: Song's probability flow."""
    schedule = load("schedules", "vp")()
    t = torch.linspace(0, 1, 21, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule(t)[0].log().sum(), t)
    # d/dt is d/du times the length 1 - u_0, and beta is linear in t from beta(u_0) to 20.
    first = slope[0] / slope[-1]
    root = math.sqrt(0.1**2 + 2 * 19.9 * math.log1p(0.002**2))  # beta at u_0
    assert float(first) == pytest.approx(root / 20, rel=1e-10)
    assert torch.allclose(slope.diff(), slope.diff().mean().expand(20), rtol=1e-9)
    assert float(slope[-1]) == pytest.approx(-10 * (1 - (root - 0.1) / 19.9), rel=1e-10)


@pytest.mark.parametrize(
    "fields", [{}, {"start": 0.0, "tau": 0.9}, {"start": -1.0, "end": 8.0, "tau": 0.3}]
)
def test_sigmoid_is_the_published_formula(fields):
    schedule = load("schedules", "sigmoid")(**fields)
    z_0, z_1 = schedule.start / schedule.tau, schedule.end / schedule.tau

    def gamma(u):
        first, last = (torch.sigmoid(torch.tensor(z, dtype=torch.float64)) for z in (z_0, z_1))
        return (last - torch.sigmoid(z_0 + u * (z_1 - z_0))) / (last - first)

    # The two ends by bisection of the published formula; in between u is linear in t.
    ends = []
    for wanted in (0.002, 80.0):
        low, high = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        for _ in range(60):
            middle = (low + high) / 2
            noisier = (1 - gamma(middle)) > wanted**2 * gamma(middle)
            low, high = (low, middle) if noisier else (middle, high)
        ends.append(low)
    expected = gamma(ends[0] + T * (ends[1] - ends[0]))
    # It is the formula that cancels: 1e-16 over the slope of the curve at its flat ends.
    assert torch.allclose(schedule(T)[0] ** 2, expected, rtol=0, atol=1e-10)


def test_rectified_runs_on_straight_lines():
    signal_scale, noise_std = load("schedules", "rectified")()(T)
    assert torch.allclose(signal_scale + noise_std, torch.ones_like(T), rtol=1e-15)
    assert torch.allclose(noise_std.diff(), noise_std.diff().mean().expand(2000), rtol=1e-12)


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
        ("rectified", {"sigma_min": 0.0}, "sigma_min: got 0.0"),
        ("rectified", {"sigma_max": float("nan")}, "sigma_max: got nan"),
        ("sigmoid", {"sigma_max": 0.0}, "sigma_max: got 0.0"),
        ("sigmoid", {"tau": 0.0}, "tau: got 0.0, expected a finite number above 0"),
        ("sigmoid", {"start": 3.0}, "end: got 3.0, expected more than start = 3.0, at most 40 tau"),
        ("sigmoid", {"end": 5.0, "tau": 0.1}, "end: got 5.0, expected more than start"),
        ("sigmoid", {"start": -float("inf")}, "start: got -inf, expected at most 40 tau from 0"),
        ("linear", {"levels": 20}, r"levels: got 20, expected more than 1 and than beta_max = 20"),
        *[
            row
            for name in ("linear", "vp")
            for row in [
                (name, {"beta_min": 0.0}, "beta_min: got 0.0"),
                (name, {"beta_max": 0.05}, "beta_max: got 0.05"),
                (name, {"beta_max": 81.0}, "beta_max: got 81.0, expected more than .* at most 80"),
                (
                    name,
                    {"sigma_min": 1e9},
                    "sigma_min: got 1000000000.0, expected between 0 and 15",
                ),
            ]
        ],
    ],
)
def test_values_out_of_range_are_named(name, fields, message):
    with pytest.raises(ValueError, match=message):
        load("schedules", name)(**fields)

"""The algebra of a jump, held to the identities of the six steps for every schedule."""

import dataclasses
import math

import pytest
import torch

from diffsci.diffusion.augmentation import (
    Jump,
    check_descent,
    descent,
    ends,
    level,
    level_of,
    pure_noise,
    step_times,
)
from diffsci.diffusion.noise import seeded
from diffsci.errors import ConfigError, FieldError
from diffsci.families import load, names
from tests.diffusion.laws import DIAGONAL


def odd(t):
    """A schedule that is a mere function: neither variance-preserving nor -exploding."""
    return (1 + t**2) ** -2, 0.003 + 2 * torch.sinh(3 * t)


def bare(t):
    """Rectified flow without clipping: no signal at t = 1, no noise at t = 0."""
    return 1 - t, t


def circle(t):
    """Without clipping as well, but cos(pi / 2) is 6e-17 in floating point."""
    return torch.cos(math.pi / 2 * t), torch.sin(math.pi / 2 * t)


SCHEDULES = {name: load("schedules", name)() for name in names("schedules")} | {"odd": odd}
everywhere = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
singular = pytest.mark.parametrize("schedule", [bare, circle])


def jumps(schedule):
    """1000 random jumps: the whole way and parts of it, a hundredth of it and less; near the ends.

    Half of the levels are drawn as u^4 or 1 - u^4, which is within 1e-4 of an end for a tenth.
    """
    u = torch.rand(2, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    u[:, 250:500] = u[:, 250:500] ** 4
    u[:, 500:750] = 1 - u[:, 500:750] ** 4
    u[1, 900:] = u[0, 900:] + 0.01 * (u[1, 900:] - u[0, 900:])
    after, now = u.sort(dim=0).values
    return Jump(level(schedule, now), level(schedule, after))


def same(found, expected, size=None):
    """To 1e-12 of each value, or of the `size` of the terms that it is the difference of."""
    size = expected.abs() if size is None else size
    assert ((found - expected).abs() <= 1e-12 * size).all()


@everywhere
def test_a_jump_composes_the_marginals(schedule):
    jump = jumps(schedule)
    now, after = jump.now, jump.after
    same(jump.step_scale * after.signal_scale, now.signal_scale)
    same(jump.step_scale**2 * after.noise_std**2 + jump.step_std**2, now.noise_std**2)


@everywhere
def test_the_exact_conditional_satisfies_all_five_identities(schedule):
    jump = jumps(schedule)
    now, after = jump.now, jump.after
    a, b, v = jump.weight_x_0, jump.weight_x_t, jump.posterior_std**2
    c, d = now.signal_scale, now.noise_std
    same(b * c + a, after.signal_scale)
    same(b**2 * d**2 + v, after.noise_std**2)
    same(a / c + b, 1 / jump.step_scale)
    same(a * d / c, jump.step_std**2 / (jump.step_scale * d))
    # The only difference: of two ratios that may be near each other.
    same(a**2 / (2 * v), (after.snr - now.snr) / 2, size=after.snr)


@everywhere
def test_the_exact_conditional_is_that_of_the_joint_normal(schedule):
    """Independently: condition the joint law of (x_s, x_t) given x_0 by the textbook formula."""
    jump = jumps(schedule)
    lam = jump.now.signal_scale / jump.after.signal_scale
    var_s, var_t = jump.after.noise_std**2, jump.now.noise_std**2
    gain = lam * var_s / var_t
    same(jump.weight_x_t, gain)
    same(jump.posterior_std**2, var_s - gain * lam * var_s, size=var_s)
    c = jump.after.signal_scale
    same(jump.weight_x_0, c - gain * jump.now.signal_scale, size=c)
    same(jump.step_std**2, var_t - lam**2 * var_s, size=var_t)


@everywhere
def test_two_jumps_are_one(schedule):
    s, u, t = (level(schedule, torch.tensor(x, dtype=torch.float64)) for x in (0.1, 0.55, 0.8))
    first, second, both = Jump(u, s), Jump(t, u), Jump(t, s)
    same(first.step_scale * second.step_scale, both.step_scale)
    same(second.step_scale**2 * first.step_std**2 + second.step_std**2, both.step_std**2)
    same(first.width + second.width, both.width)
    same(both.width, torch.log(s.snr / t.snr) / 2)


@everywhere
@pytest.mark.parametrize("steps", [1, 2, 17])
@pytest.mark.parametrize("spacing", ["karras", "log_snr", "time"])
def test_step_times_go_down_from_one_to_zero(schedule, steps, spacing):
    times = step_times(schedule, steps, spacing)
    assert times.dtype == torch.float64
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (1, 0)
    assert (times.diff() < 0).all()
    sigma = level(schedule, times).noise_to_signal
    warped = {"karras": sigma ** (1 / 7), "log_snr": sigma.log(), "time": times}[spacing]
    same(warped.diff(), warped.diff().mean().expand(steps), size=warped.abs().max())


def test_karras_spacing_is_uniform_in_t_under_edm():
    edm = load("schedules", "edm")()
    same(step_times(edm, 13, "karras"), step_times(edm, 13, "time"))


def test_a_descent_keeps_scales_exact_and_t_with_the_field():
    schedule = load("schedules", "linear")()
    jump = descent(schedule, 3, "karras", torch.zeros(2, 5)).jumps[-1]
    assert jump.after.t.dtype == torch.float32
    assert jump.after.noise_std.dtype == torch.float64
    assert (jump.posterior_std * torch.zeros(2, 5)).dtype == torch.float32


def test_pure_noise_has_the_std_of_the_last_level():
    unit = torch.randn(2, 3)
    assert torch.equal(pure_noise(load("schedules", "edm")(), unit), 80 * unit)
    assert pure_noise(load("schedules", "cosine")(), unit).dtype == torch.float32


def test_level_of_inverts_a_mere_function():
    t = torch.linspace(0, 1, 41, dtype=torch.float64).reshape(1, 41)
    found = level_of(odd, level(odd, t).noise_to_signal)
    assert found.shape == t.shape
    # A rounding of sigma is one of t where its slope is that of its size; near t = 0 that is 1e-3.
    assert torch.allclose(found, t, rtol=1e-13, atol=1e-15)
    beyond = torch.tensor([0.0, 1e-9, 1e9, math.inf], dtype=torch.float64)
    assert torch.allclose(level_of(odd, beyond), torch.tensor([0.0, 0, 1, 1]).double(), atol=1e-15)


def test_a_member_and_the_function_it_is_are_inverted_alike():
    cosine = SCHEDULES["cosine"]
    sigma = torch.logspace(-2, 1, 7, dtype=torch.float64)
    same(level_of(lambda t: cosine(t), sigma), level_of(cosine, sigma))


@everywhere
def test_regular_schedules_are_walked_from_end_to_end(schedule):
    assert ends(schedule).tolist() == [1, 0]
    assert ends(schedule).dtype == torch.float64


@singular
def test_singular_ends_are_entered_and_left_where_they_are_regular(schedule):
    sigma = level(schedule, ends(schedule)).noise_to_signal
    same(sigma, torch.tensor([1e3, 1e-3], dtype=torch.float64))


def test_one_singular_end_leaves_the_other_alone():
    assert ends(lambda t: (torch.ones_like(t), t)).tolist()[0] == 1
    assert ends(lambda t: (1 - t, 0.1 + t)).tolist()[1] == 0


@singular
@pytest.mark.parametrize("spacing", ["karras", "log_snr", "time"])
def test_singular_schedules_are_walked(schedule, spacing):
    jumps = descent(schedule, 8, spacing, torch.zeros(1, 1)).jumps
    assert len(jumps) == 8
    for first, second in zip(jumps, jumps[1:], strict=False):
        assert first.after is second.now
    parts = torch.stack([torch.stack([j.weight_x_0, j.weight_x_t, j.posterior_std]) for j in jumps])
    assert torch.isfinite(parts).all()
    assert (parts > 0).all()


@singular
def test_a_sampler_takes_a_bare_flow(schedule):
    """Ancestral sampling with the exact variance has the right law for any number of steps."""
    law = DIAGONAL
    x_1 = pure_noise(schedule, seeded(0)(torch.empty(20_000, 4, dtype=torch.float64), 0))
    sampler = load("samplers", "ancestral")(steps=5, variance="exact")
    x_0 = sampler(law.denoiser(schedule), schedule, x_1, seeded(0))
    std = law.variance.sqrt()
    # Entered at 1000 and left at 0.001: the mean is off by at most |m| / 1000.
    assert ((x_0.mean(dim=0) - law.mean).abs() < 4.5 * std / 20_000**0.5 + 2e-3).all()
    assert ((x_0.std(dim=0) / std - 1).abs() < 4.5 / 40_000**0.5 + 2e-3).all()


def test_noise_that_does_not_fall_is_refused():
    with pytest.raises(
        ConfigError, match=r"noise_std / signal_scale must fall strictly from t = 1"
    ):
        descent(lambda t: (torch.ones_like(t), 2 - t), 3, "time", torch.zeros(1, 1))


@everywhere
def test_a_level_off_the_path_has_its_noise(schedule):
    path = descent(schedule, 3, "karras", torch.zeros(2, 5))
    sigma = torch.tensor(0.7, dtype=torch.float64)
    at = path.at(sigma)
    assert (at.t.dtype, at.noise_std.dtype) == (torch.float32, torch.float64)
    assert abs(at.noise_to_signal / sigma - 1) < 1e-12
    assert abs(at.t - level_of(schedule, sigma)) < 1e-6
    clipped = path.at(torch.tensor(1e-9, dtype=torch.float64))
    same(clipped.noise_std, path.jumps[-1].after.noise_std)


@everywhere
@pytest.mark.parametrize("t", [-1e-3, 1.001, math.nan])
def test_levels_outside_are_named(schedule, t):
    with pytest.raises(FieldError, match=f"t: got {t}, expected levels from 0"):
        level(schedule, torch.tensor([0.5, t], dtype=torch.float64))


def test_bad_steps_and_spacings_are_named():
    with pytest.raises(FieldError, match="steps: got 0, expected 1 or more"):
        check_descent(0, "time")
    with pytest.raises(FieldError, match=r"spacing: got 'cosine', expected one of \('karras'"):
        check_descent(1, "cosine")


def test_level_shapes_to_a_field():
    at = level(load("schedules", "edm")(), torch.tensor([0.0, 1.0]))
    assert at.over(torch.zeros(2, 3, 4, 5)).noise_std.shape == (2, 1, 1, 1)
    scalar = dataclasses.replace(
        at, **{f.name: getattr(at, f.name)[0] for f in dataclasses.fields(at)}
    )
    assert scalar.over(torch.zeros(2, 3)).t.shape == (1, 1)
    assert math.isclose(float(scalar.snr), 250_000, rel_tol=1e-5)

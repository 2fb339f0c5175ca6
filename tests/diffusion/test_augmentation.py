"""The algebra of a jump, held to the identities of the six steps for every schedule."""

import dataclasses
import math

import pytest
import torch

from diffsci.diffusion.augmentation import (
    Jump,
    check_descent,
    descent,
    level,
    pure_noise,
    step_times,
)
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import ConfigError, FieldError
from diffsci.families import load, names

SCHEDULES = [load("schedules", name)() for name in names("schedules")]
everywhere = pytest.mark.parametrize("schedule", SCHEDULES, ids=names("schedules"))


def jumps(schedule):
    """All jumps between 21 levels, the whole way and twentieths of it."""
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    start, end = torch.triu_indices(21, 21, offset=1)
    return Jump(level(schedule, t[end]), level(schedule, t[start]))


def same(found, expected):
    # Rounding of float64, times the 1e2 to 1e3 that 1 - kept loses where levels are near.
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max()))


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
    same((a / c + b) * jump.step_scale, torch.ones_like(a))
    same(a * d / c * jump.step_scale * d, jump.step_std**2)
    same(a**2 / (2 * v), (after.snr - now.snr) / 2)


@everywhere
def test_the_exact_conditional_is_that_of_the_joint_normal(schedule):
    """Independently: condition the joint law of (x_s, x_t) given x_0 by the textbook formula."""
    jump = jumps(schedule)
    lam = jump.now.signal_scale / jump.after.signal_scale
    var_s, var_t = jump.after.noise_std**2, jump.now.noise_std**2
    gain = lam * var_s / var_t
    same(jump.weight_x_t, gain)
    same(jump.posterior_std**2, var_s - gain * lam * var_s)
    same(jump.weight_x_0, jump.after.signal_scale - gain * jump.now.signal_scale)


@everywhere
def test_two_jumps_are_one(schedule):
    s, u, t = (level(schedule, torch.tensor(x, dtype=torch.float64)) for x in (0.1, 0.55, 0.8))
    first, second, both = Jump(u, s), Jump(t, u), Jump(t, s)
    same(first.step_scale * second.step_scale, both.step_scale)
    same(second.step_scale**2 * first.step_std**2 + second.step_std**2, both.step_std**2)


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
    same(warped.diff(), warped.diff().mean().expand(steps))


def test_karras_spacing_is_uniform_in_t_under_edm():
    edm = load("schedules", "edm")()
    same(step_times(edm, 13, "karras"), step_times(edm, 13, "time"))


def test_a_descent_keeps_scales_exact_and_t_with_the_field():
    schedule = load("schedules", "linear")()
    jump = descent(schedule, 3, "karras", torch.zeros(2, 5))[-1]
    assert jump.after.t.dtype == torch.float32
    assert jump.after.noise_std.dtype == torch.float64
    assert (jump.posterior_std * torch.zeros(2, 5)).dtype == torch.float32


def test_pure_noise_has_the_std_of_the_last_level():
    unit = torch.randn(2, 3)
    assert torch.equal(pure_noise(load("schedules", "edm")(), unit), 80 * unit)
    assert pure_noise(load("schedules", "cosine")(), unit).dtype == torch.float32


class Rectified(Schedule):
    """Without clipping: no signal at t = 1, no noise at t = 0."""

    def __call__(self, t):
        return 1 - t, t

    def level_of(self, noise_to_signal):
        return noise_to_signal / (1 + noise_to_signal)


def test_a_schedule_without_noise_or_signal_at_an_end_is_refused():
    with pytest.raises(ConfigError, match=r"Rectified.*must fall strictly.*inf, 1, 1, 0: clip"):
        descent(Rectified(), 2, "time", torch.zeros(1, 1))


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

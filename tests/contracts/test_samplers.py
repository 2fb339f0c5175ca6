"""What every sampler must do: its order, its calls, its law, and the same in any batch."""

import functools
import math

import pytest
import torch
from scipy.integrate import solve_ivp

from diffsci.diffusion.augmentation import Level, pure_noise
from diffsci.diffusion.exact import DiagonalGaussian, whole
from diffsci.diffusion.noise import MemberNoise, seeded
from diffsci.errors import ConfigError, FieldError, NotFiniteError
from tests.diffusion.laws import DIAGONAL, GAUSSIAN, MIXTURE, f64
from tests.diffusion.samplers.variants import (
    SCHEDULES,
    at_the_end,
    deterministic,
    draws_of,
    entered,
    everyone,
    fewest,
    make,
    orders,
    output_law,
    rms,
    silent,
    start,
    stochastic,
    unchecked,
)

FIRST = {1: 48, 2: 96, 3: 128, 4: 256}
"""Steps from which on an order shows, by order."""


def check_order(variant, schedule, denoise, x_1, exact, halvings):
    order = make(variant, 8).order
    # Entered at sigma 1000 instead of 80, and left at half the sigma, steps are 1.7 times as wide.
    first = FIRST[order] * (2 if schedule is SCHEDULES["straight"] else 1)
    samplers = [make(variant, first * 2**i) for i in range(halvings + 1)]
    with unchecked():
        found = orders([rms(s(denoise, schedule, x_1, silent) - exact) for s in samplers])
    assert all(abs(x - order) < 0.15 for x in found), found


def quick(*schedules):
    """One halving under a few schedules; the slow twin has three, under all of them."""
    return pytest.mark.parametrize(
        ("name", "halvings"),
        [
            *((name, 1) for name in schedules),
            *(pytest.param(name, 3, marks=pytest.mark.slow) for name in SCHEDULES),
        ],
    )


@deterministic
@quick("vp", "near")
def test_order_on_a_gaussian_against_the_exact_flow(variant, name, halvings):
    schedule = SCHEDULES[name]
    x_1 = start(schedule, 3)
    exact = GAUSSIAN.flow(entered(schedule, x_1), whole(schedule))
    check_order(variant, schedule, GAUSSIAN.denoiser(schedule), x_1, exact, halvings)


@functools.cache
def mixture_flow(high, low):
    """Start and end of the flow y = x / c of the mixture, by other code, to 1e-11.

    In u = log(sigma) it is dy/du = y - E[x_0 | x], whatever the schedule. The smallest error that
    it is the reference for is 1e-10.
    """
    shape = (32, 2)

    def slope(u, y):
        at = Level(f64(0.0), f64(1.0), f64(u).exp())
        y = torch.from_numpy(y).reshape(shape)
        return (y - MIXTURE.posterior_mean(y, at)).flatten().numpy()

    y = high * seeded(5)(torch.empty(shape, dtype=torch.float64), 0)
    span = math.log(high), math.log(low)
    with unchecked():
        found = solve_ivp(slope, span, y.flatten().numpy(), method="DOP853", rtol=1e-13, atol=1e-13)
    return y, torch.from_numpy(found.y[:, -1].copy()).reshape(shape)


@deterministic
@quick("near")
def test_order_on_a_mixture_against_another_solver(variant, name, halvings):
    """A linear problem would hide errors of the non-linear terms."""
    schedule = SCHEDULES[name]
    now, after = whole(schedule).now, whole(schedule).after
    # Rounded, so that schedules with the same ends share one reference.
    sigma = [float(f"{float(at.noise_to_signal):.12g}") for at in (now, after)]
    first, last = mixture_flow(*sigma)
    x_1 = first * now.signal_scale * (schedule(f64(1.0))[1] / now.noise_std)
    exact = last * after.signal_scale
    check_order(variant, schedule, MIXTURE.denoiser(schedule), x_1, exact, halvings)


@deterministic
@pytest.mark.parametrize(
    ("spacing", "name"),
    [
        ("log_snr", "near"),
        pytest.param("time", "vp", marks=pytest.mark.slow),
        ("time", "straight"),
    ],
)
def test_other_spacings_converge_to_the_same_end(variant, name, spacing):
    """Steps uniform in t are hard under these two; under `edm` they are the usual ones."""
    schedule = SCHEDULES[name]
    x_1 = start(schedule, 4)
    denoise = DIAGONAL.denoiser(schedule)
    exact = DIAGONAL.flow(entered(schedule, x_1), whole(schedule))
    samplers = [make(variant, steps, spacing=spacing) for steps in (60, 240)]
    with unchecked():
        coarse, fine = (rms(s(denoise, schedule, x_1, silent) - exact) for s in samplers)
    assert fine < 0.05
    # First order would be 4; where the last step in t spans decades it is not reached yet.
    assert fine < coarse / 2.5


@stochastic
@quick("edm", "near")
def test_law_converges_with_the_stated_order(variant, name, halvings):
    """The exact law of the output, against the exact law at t = 0: no Monte-Carlo error at all."""
    schedule = SCHEDULES[name]
    exact = at_the_end(schedule, DIAGONAL).variance
    order = make(variant, 8).order
    counts = [96 * 2**i for i in range(halvings + 1)]
    laws = [output_law(variant, steps, schedule, DIAGONAL, warm=True) for steps in counts]
    errors = [rms(law.variance / exact - 1) for law in laws]
    if order > 0:
        assert all(abs(x - order) < 0.15 for x in orders(errors)), orders(errors)
    else:
        # It does not vanish: with order 1 it would be halved, in the slow twin thrice.
        assert errors[-1] > 0.8 * errors[0]


@everyone
@pytest.mark.parametrize("name", ["vp", "straight"])
def test_samples_have_the_exact_discretised_law(variant, name):
    """5 steps, far from convergence: mean and covariance of N draws within 4.5 standard errors."""
    rows, schedule = 20_000, SCHEDULES[name]
    noise, like = seeded(11), torch.empty(rows, 4, dtype=torch.float64)
    x_1 = pure_noise(schedule, noise(like, 0))
    x = make(variant, 5)(DIAGONAL.denoiser(schedule), schedule, x_1, noise)
    law = output_law(variant, 5, schedule, DIAGONAL)
    spread, covariance = law.variance, torch.diag(law.variance)
    assert ((x.mean(dim=0) - law.mean).abs() < 4.5 * torch.sqrt(spread / rows)).all()
    error = torch.sqrt((covariance**2 + spread[:, None] * spread) / rows)
    assert ((torch.cov(x.T) - covariance).abs() < 4.5 * error).all()


@everyone
@pytest.mark.parametrize("more", [0, 1, 2, 15])
def test_calls_are_exactly_as_stated(variant, more):
    seen = []

    def denoise(x_t, t):
        seen.append(float(t))
        return torch.zeros_like(x_t)

    sampler = make(variant, fewest(variant) + more)
    sampler(denoise, SCHEDULES["cosine"], torch.ones(2, 3), seeded(0))
    assert len(seen) == sampler.calls
    assert seen[0] == 1.0
    assert all(0 <= t <= 1 for t in seen)


@stochastic
def test_draws_are_numbered_from_one_and_never_repeat(variant):
    """Draw 0 made x_1."""
    taken = draws_of(variant)
    assert min(taken) >= 1
    assert len(set(taken)) == len(taken)


@everyone
@pytest.mark.parametrize("name", ["edm", "vp", "near", "straight"])
def test_a_point_as_data_is_reached_in_any_number_of_steps(variant, name):
    """E[x_0 | x_t] never changes, so nothing is left to discretise; remaining noise is at t = 0."""
    schedule = SCHEDULES[name]
    point = DiagonalGaussian(mean=f64([0.7, -0.3]), variance=f64([0.0, 0.0]))
    at = whole(schedule).after
    # These leave more than they should: one the innovation of its last step, one what it inflates.
    wide = variant[1].get("variance") == "large" or "noise_inflation" in variant[1]
    for steps in (fewest(variant), 7):
        x_1 = start(schedule, 2, 500)
        with unchecked():
            x = make(variant, steps)(point.denoiser(schedule), schedule, x_1, seeded(9))
        rest = (x - at.signal_scale * point.mean) / at.noise_std
        # 1000 normals of std 1.
        assert wide or abs(float(rest.std()) - 1) < 4.5 / math.sqrt(2000)
        assert abs(float(rest.mean())) < 4.5 * float(rest.std()) / math.sqrt(1000)


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_stays_throughout(variant, dtype):
    def denoise(x_t, t):
        assert x_t.dtype == t.dtype == dtype
        assert t.shape == ()
        return 0.5 * x_t

    x = make(variant, 5)(denoise, SCHEDULES["linear"], torch.ones(2, 1, 4, dtype=dtype), seeded(0))
    assert x.dtype == dtype
    assert x.shape == (2, 1, 4)


@everyone
@pytest.mark.parametrize("name", ["edm", "vp", "straight"])
def test_float32_gives_the_float64_sample_to_its_precision(variant, name):
    schedule = SCHEDULES[name]
    x_1 = start(schedule, 4)
    law = DIAGONAL.to(x_1.float())
    with unchecked():
        fine = make(variant, 20)(DIAGONAL.denoiser(schedule), schedule, x_1, seeded(2))
        rough = make(variant, 20)(law.denoiser(schedule), schedule, x_1.float(), seeded(2))
    # x / c falls from 80 to 1, under `straight` from 1000, while errors of 6e-8 of it are made.
    largest = float(whole(schedule).now.noise_to_signal)
    assert (rough - fine).abs().max() < 1e-6 * max(largest, 80)


@everyone
def test_a_member_is_the_same_in_any_batch(variant):
    schedule = SCHEDULES["edm"]
    cases, members = ("a", "a", "b", "b"), (0, 1, 0, 1)

    def sample(rows):
        noise = MemberNoise(
            seed=1,
            cases=tuple(cases[r] for r in rows),
            members=tuple(members[r] for r in rows),
            leads=(0,) * len(rows),
        )
        x_1 = pure_noise(schedule, noise(torch.empty(len(rows), 4), 0))
        return make(variant, 6)(DIAGONAL.to(x_1).denoiser(schedule), schedule, x_1, noise)

    together = sample([0, 1, 2, 3])
    assert torch.equal(sample([3, 0]), together[[3, 0]])


@everyone
def test_no_step_waits_for_the_device(variant):
    """A meta tensor has no values: a host that waits for one raises."""

    def denoise(x_t, t):
        return x_t * t

    x_1 = torch.empty(2, 1, 5, device="meta")
    x = make(variant, 4)(denoise, SCHEDULES["linear"], x_1, seeded(0))
    assert x.shape == x_1.shape
    assert x.device.type == "meta"


@everyone
def test_bad_fields_are_named(variant):
    least = fewest(variant)
    for steps in (least - 1, 0, -3):
        with pytest.raises(FieldError, match=f"steps: got {steps}, expected {least} or more"):
            make(variant, steps)
    # Under the tests' own type checks a wrong word is a TypeError before that.
    with pytest.raises((FieldError, TypeError), match="spacing"):
        make(variant, 5, spacing="even")


@everyone
def test_an_estimate_that_is_not_finite_is_named_by_call_and_example(variant):
    sampler = make(variant, 6)
    for bad_call, bad_example, value in ((1, 0, math.nan), (4, 2, math.inf)):
        seen = []

        def denoise(x_t, t, seen=seen, wanted=(bad_call, bad_example, value)):
            seen.append(float(t))
            x_0 = 0.5 * x_t
            if len(seen) == wanted[0]:
                x_0[wanted[1], 0, 1] = wanted[2]
            return x_0

        with pytest.raises(NotFiniteError, match="not finite in call") as caught:
            sampler(denoise, SCHEDULES["vp"], torch.ones(3, 1, 2), seeded(0))
        found = caught.value
        assert (found.call, found.example) == (bad_call, bad_example)
        assert found.calls == sampler.calls
        assert f"t = {seen[bad_call - 1]:.4g}" in str(found)


@everyone
@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("shape", lambda x: x[:, :1]),
        ("shape", lambda x: x[0]),
        ("dtype", lambda x: x.double()),
        ("dtype", lambda x: x.half()),
        ("device", lambda x: x.to("meta")),
    ],
    ids=["fewer", "unbatched", "double", "half", "elsewhere"],
)
def test_estimates_unlike_x_are_refused(variant, what, spoil):
    with pytest.raises(ConfigError, match=f"denoise: its estimate has {what} .*, x_t has "):
        make(variant, 5)(lambda x_t, t: spoil(x_t), SCHEDULES["edm"], torch.ones(2, 3), seeded(0))

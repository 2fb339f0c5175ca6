"""What every sampler must do: its order, its calls, its law, and the same in any batch."""

import functools
import math

import pytest
import torch

from diffsci.diffusion.augmentation import Jump, Level, level, pure_noise
from diffsci.diffusion.exact import DiagonalGaussian, linear_output_law
from diffsci.diffusion.noise import MemberNoise, seeded
from diffsci.errors import FieldError
from diffsci.families import load, names
from tests.diffusion.laws import DIAGONAL, GAUSSIAN, MIXTURE, f64

SCHEDULES = {name: load("schedules", name)() for name in names("schedules")}
VARIANTS = {
    "ancestral": [{}, {"variance": "large"}],
    "ddim": [{}, {"eta": 0.5}, {"eta": 1.0}],
}
"""Settings that change what a member does; members not named are tried at their defaults."""
ALL = [(name, fields) for name in names("samplers") for fields in VARIANTS.get(name, [{}])]


def label(value):
    if isinstance(value, tuple):
        return "-".join([value[0], *map(str, value[1].values())])
    return None


def make(variant, steps, **fields):
    name, own = variant
    return load("samplers", name)(steps=steps, **own, **fields)


def draws_of(variant):
    """Indices of the draws that one sampling in 3 steps takes."""
    taken = []

    def noise(like, index):
        taken.append(index)
        return torch.zeros_like(like)

    schedule = SCHEDULES["edm"]
    make(variant, 3)(DIAGONAL.denoiser(schedule), schedule, torch.ones(1, 4).double(), noise)
    return taken


def silent(like, index):
    raise AssertionError("a deterministic sampler took a draw")


DETERMINISTIC = [variant for variant in ALL if not draws_of(variant)]
STOCHASTIC = [variant for variant in ALL if draws_of(variant)]

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
everyone = pytest.mark.parametrize("variant", ALL, ids=label)
deterministic = pytest.mark.parametrize("variant", DETERMINISTIC, ids=label)
stochastic = pytest.mark.parametrize("variant", STOCHASTIC, ids=label)


def start(schedule, dim, rows=32):
    return pure_noise(schedule, seeded(5)(torch.empty(rows, dim, dtype=torch.float64), 0))


def ends(schedule):
    return Jump(level(schedule, f64(1.0)), level(schedule, f64(0.0)))


def orders(errors):
    return [math.log2(coarse / fine) for coarse, fine in zip(errors, errors[1:], strict=False)]


def rms(x):
    return float(x.pow(2).mean().sqrt())


HALVINGS = (48, 96, 192, 384)


@deterministic
@every_schedule
def test_order_on_a_gaussian_against_the_exact_flow(variant, schedule):
    x_1 = start(schedule, 3)
    exact = GAUSSIAN.flow(x_1, ends(schedule))
    denoise = GAUSSIAN.denoiser(schedule)
    samplers = [make(variant, steps) for steps in HALVINGS]
    found = orders([rms(s(denoise, schedule, x_1, silent) - exact) for s in samplers])
    assert all(abs(order - samplers[0].order) < 0.15 for order in found), found


@functools.cache
def mixture_flow(high, low):
    """Start and end of the flow y = x / c of the mixture: fourth-order Runge-Kutta, its own code.

    In u = log(sigma) it is dy/du = y - E[x_0 | x], whatever the schedule. Twice the steps change
    the end by 1e-7; the smallest error that it is the reference for is 5e-5.
    """

    def slope(y, u):
        at = Level(f64(0.0), f64(1.0), u.exp())
        return y - MIXTURE.posterior_mean(y, at)

    y = high * seeded(5)(torch.empty(32, 2, dtype=torch.float64), 0)
    first, steps = y, 300
    h = f64(math.log(low / high) / steps)
    for i in range(steps):
        u = math.log(high) + i * h
        k1 = slope(y, u)
        k2 = slope(y + h / 2 * k1, u + h / 2)
        k3 = slope(y + h / 2 * k2, u + h / 2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3, u + h))
    return first, y


@deterministic
@pytest.mark.parametrize("name", SCHEDULES)
def test_order_on_a_mixture_against_fine_runge_kutta(variant, name):
    """A linear problem would hide errors of the non-linear terms."""
    schedule = SCHEDULES[name]
    now, after = ends(schedule).now, ends(schedule).after
    # Rounded, so that schedules with the same ends share one reference.
    sigma = [float(f"{float(at.noise_to_signal):.12g}") for at in (now, after)]
    first, last = mixture_flow(*sigma)
    x_1, exact = first * now.signal_scale, last * after.signal_scale
    denoise = MIXTURE.denoiser(schedule)
    samplers = [make(variant, steps) for steps in HALVINGS]
    found = orders([rms(s(denoise, schedule, x_1, silent) - exact) for s in samplers])
    assert all(abs(order - samplers[0].order) < 0.15 for order in found), found


@deterministic
@every_schedule
@pytest.mark.parametrize("spacing", ["log_snr", "time"])
def test_other_spacings_converge_to_the_same_end(variant, schedule, spacing):
    x_1 = start(schedule, 4)
    denoise = DIAGONAL.denoiser(schedule)
    exact = DIAGONAL.flow(x_1, ends(schedule))
    samplers = [make(variant, steps, spacing=spacing) for steps in (60, 240)]
    coarse, fine = (rms(s(denoise, schedule, x_1, silent) - exact) for s in samplers)
    assert fine < 0.05
    assert fine < coarse / 2.5  # first order would be 4; `time` under `linear` is below it


def output_law(variant, steps, schedule, law):
    """Mean and covariance after `steps`, for x_1 drawn as noise alone."""
    dim = len(law.mean)
    at = ends(schedule).now
    cold = torch.zeros(dim).double(), at.noise_std**2 * torch.eye(dim).double()
    return linear_output_law(make(variant, steps), law.denoiser(schedule), schedule, *cold)


@stochastic
@every_schedule
def test_law_converges_with_the_stated_order(variant, schedule):
    """The exact law of the output, against the exact law at t = 0: no Monte-Carlo error at all."""
    at = ends(schedule).after
    exact = (
        at.signal_scale**2 * torch.diag(DIAGONAL.variance) + at.noise_std**2 * torch.eye(4).double()
    )
    variances = [output_law(variant, n, schedule, DIAGONAL)[1].diagonal() for n in HALVINGS[:3]]
    found = orders([rms(v / exact.diagonal() - 1) for v in variances])
    order = make(variant, 1).order
    assert all(abs(x - order) < 0.15 for x in found), found


@everyone
@every_schedule
def test_samples_have_the_exact_discretised_law(variant, schedule):
    """5 steps, far from convergence: mean and covariance of N draws within 4.5 standard errors."""
    rows = 40_000
    noise, like = seeded(11), torch.empty(rows, 3, dtype=torch.float64)
    x_1 = pure_noise(schedule, noise(like, 0))
    x = make(variant, 5)(GAUSSIAN.denoiser(schedule), schedule, x_1, noise)
    mean, covariance = output_law(variant, 5, schedule, GAUSSIAN)
    spread = covariance.diagonal()
    assert ((x.mean(dim=0) - mean).abs() < 4.5 * torch.sqrt(spread / rows)).all()
    error = torch.sqrt((covariance**2 + spread[:, None] * spread) / rows)
    assert ((torch.cov(x.T) - covariance).abs() < 4.5 * error).all()


@everyone
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_calls_are_exactly_as_stated(variant, steps):
    seen = []

    def denoise(x_t, t):
        seen.append(float(t))
        return torch.zeros_like(x_t)

    sampler = make(variant, steps)
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
@every_schedule
def test_a_point_as_data_is_reached_in_any_number_of_steps(variant, schedule):
    """E[x_0 | x_t] never changes, so nothing is left to discretise; remaining noise is at t = 0."""
    point = DiagonalGaussian(mean=f64([0.7, -0.3]), variance=f64([0.0, 0.0]))
    at = ends(schedule).after
    for steps in (1, 3, 10):
        x = make(variant, steps)(
            point.denoiser(schedule), schedule, start(schedule, 2, 500), seeded(9)
        )
        rest = (x - at.signal_scale * point.mean) / at.noise_std
        wide = make(variant, steps).__class__.__name__ == "Ancestral" and variant[1]
        # 1000 normals of std 1; `large` leaves the innovation of its last step, which is wider.
        assert wide or abs(float(rest.std()) - 1) < 4.5 / math.sqrt(2000)
        assert abs(float(rest.mean())) < 4.5 * float(rest.std()) / math.sqrt(1000)


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_stays_throughout(variant, dtype):
    def denoise(x_t, t):
        assert x_t.dtype == t.dtype == dtype
        assert t.shape == ()
        return 0.5 * x_t

    x = make(variant, 3)(denoise, SCHEDULES["linear"], torch.ones(2, 1, 4, dtype=dtype), seeded(0))
    assert x.dtype == dtype
    assert x.shape == (2, 1, 4)


@everyone
@every_schedule
def test_float32_gives_the_float64_sample_to_its_precision(variant, schedule):
    x_1 = start(schedule, 4)
    fine = make(variant, 20)(DIAGONAL.denoiser(schedule), schedule, x_1, seeded(2))
    law = DiagonalGaussian(mean=DIAGONAL.mean.float(), variance=DIAGONAL.variance.float())
    rough = make(variant, 20)(law.denoiser(schedule), schedule, x_1.float(), seeded(2))
    # x falls from about 100 to 1 while errors of 1e-7 of it are made.
    assert (rough - fine).abs().max() < 1e-4


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
        law = DiagonalGaussian(mean=DIAGONAL.mean.float(), variance=DIAGONAL.variance.float())
        return make(variant, 6)(law.denoiser(schedule), schedule, x_1, noise)

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
    with pytest.raises(FieldError, match="steps: got 0, expected 1 or more"):
        make(variant, 0)
    # Under the tests' own type checks a wrong word is a TypeError before that.
    with pytest.raises((FieldError, TypeError), match="spacing"):
        make(variant, 5, spacing="even")


def test_own_fields_out_of_range_are_named():
    with pytest.raises((FieldError, TypeError), match="variance"):
        load("samplers", "ancestral")(variance="exact")
    with pytest.raises(FieldError, match="eta: got 1.5, expected a share from 0 to 1"):
        load("samplers", "ddim")(eta=1.5)


@every_schedule
@pytest.mark.parametrize(
    ("variant", "std"),
    [
        (("ancestral", {}), lambda jump: jump.posterior_std),
        (("ancestral", {"variance": "large"}), lambda jump: jump.step_std),
        (("ddim", {"eta": 0.3}), lambda jump: 0.3 * jump.posterior_std),
    ],
    ids=label,
)
def test_fresh_noise_of_one_jump_has_the_stated_std(variant, std, schedule):
    def with_noise(value):
        return make(variant, 1)(
            lambda x_t, t: 0.5 * x_t, schedule, f64([[3.0]]), lambda like, _: value + 0 * like
        )

    assert float(with_noise(1.0) - with_noise(0.0)) == pytest.approx(float(std(ends(schedule))))


@every_schedule
def test_ddim_with_all_noise_renewed_is_ancestral_sampling(schedule):
    """Written in other variables, they agree to rounding."""
    x_1, denoise = start(schedule, 2), MIXTURE.denoiser(schedule)
    a = load("samplers", "ancestral")(steps=9)(denoise, schedule, x_1, seeded(4))
    b = load("samplers", "ddim")(steps=9, eta=1.0)(denoise, schedule, x_1, seeded(4))
    assert torch.allclose(a, b, rtol=1e-11, atol=1e-12)


def test_spread_of_a_perfect_model_as_measured_elsewhere():
    """Sampled over true std at 20 steps, for fields of std 1, 0.1, 0.01 (six-steps.md, C3).

    Those were made by other code, with a last denoising: here 19 steps and the factor it has.
    """
    schedule = SCHEDULES["edm"]
    s2 = f64([1.0, 0.1, 0.01]) ** 2
    law = DiagonalGaussian(mean=torch.zeros(3).double(), variance=s2)
    at = ends(schedule).after
    table = {
        "ddim": ({}, [0.87, 0.83, 0.76]),
        "heun": ({}, [1.04, 1.07, 1.12]),
        "dpmpp": ({}, [1.04, 1.07, 0.98]),
        "ancestral": ({}, [0.77, 0.71, 0.64]),
    }
    for name, (fields, expected) in table.items():
        _, covariance = output_law((name, fields), 19, schedule, law)
        ratio = torch.sqrt(covariance.diagonal()) * torch.sqrt(s2) / (s2 + at.noise_std**2)
        assert torch.allclose(ratio, f64(expected), atol=0.03), (name, ratio)

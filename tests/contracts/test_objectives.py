"""What every objective must do: levels in range with a stated density, positive finite weights."""

import math

import pytest
import torch

from diffsci.diffusion.augmentation import ends, level, level_of
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.errors import FieldError
from diffsci.families import load, names
from diffsci.grid import Grid

WORDS = [name for name in names("objectives") if issubclass(load("objectives", name), ByLevel)]
SCHEDULES = [load("schedules", name)() for name in names("schedules")]
everywhere = pytest.mark.parametrize("schedule", SCHEDULES, ids=names("schedules"))
everyone = pytest.mark.parametrize(
    "objective",
    [load("objectives", name)() for name in WORDS],
    ids=WORDS,
)
UNIFORM = torch.linspace(0, 1, 1002, dtype=torch.float64)[1:-1]


@everywhere
@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_rise_with_the_uniform_number_within_the_schedule(schedule, objective, dtype):
    """Monotone: stratified uniform numbers give stratified levels."""
    t = objective.levels(UNIFORM.to(dtype), schedule)
    assert t.dtype == dtype
    assert ((t >= 0) & (t <= 1)).all()
    assert (t.diff() >= 0).all()
    assert t[-1] > t[0]


@everywhere
@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_positive_and_finite_at_every_level(schedule, objective, dtype):
    weight = objective.weight(torch.linspace(0, 1, 101, dtype=dtype), schedule)
    assert weight.dtype == dtype
    assert (weight > 0).all()
    assert torch.isfinite(weight).all()
    assert not weight.requires_grad


@everywhere
@everyone
def test_ends_of_the_uniform_interval_do_no_harm(schedule, objective):
    """A float32 generator may return 0, and rounding may give 1."""
    t = objective.levels(torch.tensor([0.0, 1.0]), schedule)
    assert torch.isfinite(t).all()
    assert torch.isfinite(objective.weight(t, schedule)).all()


@everywhere
@everyone
def test_density_is_the_slope_of_the_inverse_of_levels(schedule, objective):
    """dt/du times the density is 1, wherever nothing is clipped."""
    u = torch.linspace(0.001, 0.999, 801, dtype=torch.float64).requires_grad_()
    t = objective.levels(u, schedule)
    (slope,) = torch.autograd.grad(t.sum(), u)
    inside = (t > 1e-6) & (t < 1 - 1e-6)
    assert inside.sum() > 700
    found = objective.density(t.detach(), schedule) * slope
    assert not found.requires_grad
    # Differences of nearly equal t are taken nowhere: rounding alone, at steep ends 1e4 of it.
    assert torch.allclose(found[inside], torch.ones_like(found[inside]), rtol=1e-8)


@everywhere
@pytest.mark.parametrize(
    "objective",
    [load("objectives", name)() for name in WORDS]
    + [load("objectives", "edm")(p_mean=3.0, p_std=2.0)],
    ids=[*WORDS, "clipped"],
)
def test_density_integrates_to_1_with_what_lies_at_the_ends(schedule, objective):
    """To the share of uniform numbers that `levels` sends between the first and the last t."""
    low, high = level(schedule, ends(schedule).flip(0)).noise_to_signal.log().tolist()
    log_sigma = torch.linspace(low + 0.01, high - 0.01, 20_001, dtype=torch.float64)
    t = level_of(schedule, log_sigma.exp())
    density = objective.density(t, schedule)
    assert (density >= 0).all()

    def reached(end):
        below, above = 0.0, 1.0
        for _ in range(60):
            middle = torch.tensor([(below + above) / 2], dtype=torch.float64)
            if objective.levels(middle, schedule) > end:
                above = middle.item()
            else:
                below = middle.item()
        return above

    # The trapezoid rule over the kinks of `linear` leaves 1e-5, under the others below 1e-7.
    integral = torch.trapezoid(density, t).item()
    assert integral == pytest.approx(reached(t[-1]) - reached(t[0]), abs=2e-5)
    assert torch.isfinite(objective.density(torch.tensor([0.0, 1.0]), schedule)).all()


@everywhere
def test_weights_in_closed_form(schedule):
    t = torch.linspace(0, 1, 51, dtype=torch.float64)
    snr = level(schedule, t).snr
    assert torch.allclose(load("objectives", "simplified")().weight(t, schedule), snr)
    assert torch.allclose(load("objectives", "edm")().weight(t, schedule), snr + 1)
    cut = load("objectives", "min_snr")(gamma=3.0).weight(t, schedule)
    assert torch.equal(cut, torch.minimum(snr, torch.tensor(3.0, dtype=torch.float64)))
    # With gamma 1, SNR / (1 + SNR) is the share of the signal in the variance of x_t.
    at = level(schedule, t)
    share = (at.signal_scale / at.norm) ** 2
    assert torch.allclose(load("objectives", "p2")(gamma=1.0).weight(t, schedule), share)
    assert torch.allclose(
        load("objectives", "p2")(gamma=0.5).weight(t, schedule), torch.sqrt(share * snr)
    )
    assert torch.equal(load("objectives", "p2")(gamma=0.0).weight(t, schedule), snr)


@everywhere
def test_variational_weight_is_half_the_fall_of_the_snr(schedule):
    """Against central differences, whose step of 1e-6 leaves 1e-6 of it where it is steepest."""
    # Away from multiples of 0.001, where the slope of `linear` jumps by 1e-4 of itself.
    t, step = torch.linspace(0.0203, 0.9803, 25, dtype=torch.float64), 1e-6
    high, low = level(schedule, t - step).snr, level(schedule, t + step).snr
    expected = (high - low) / (4 * step)
    found = load("objectives", "variational")().weight(t, schedule)
    assert torch.allclose(found, expected, rtol=1e-5)


@everywhere
def test_variational_weight_integrates_to_the_snr_s_fall(schedule):
    """Independently of the path between, as the likelihood must be."""
    ends = level(schedule, torch.tensor([0.3, 0.9], dtype=torch.float64)).snr
    t = torch.linspace(0.3, 0.9, 20_001, dtype=torch.float64)
    total = torch.trapezoid(load("objectives", "variational")().weight(t, schedule), t)
    # The trapezoid rule over the kinks of `linear`; 1e-8 under the others.
    assert float(total) == pytest.approx(float(ends[0] - ends[1]) / 2, rel=5e-6)


@everywhere
def test_edm_levels_are_log_normal_in_noise_to_signal(schedule):
    objective = load("objectives", "edm")(p_mean=-0.7, p_std=0.9)
    quantiles = torch.tensor([0.02275013194817921, 0.5, 0.8413447460685429], dtype=torch.float64)
    log_sigma = level(schedule, objective.levels(quantiles, schedule)).noise_to_signal.log()
    expected = torch.tensor([-0.7 - 2 * 0.9, -0.7, -0.7 + 0.9], dtype=torch.float64)
    assert torch.allclose(log_sigma, expected, rtol=1e-9)


def grid(*sizes):
    return Grid(
        dims=("z", "y", "x")[-len(sizes) :],
        coordinates=tuple(tuple(map(float, range(size))) for size in sizes),
        units=("1",) * len(sizes),
        boundary=(("wall", "open"), ("periodic", "periodic"), ("pole", "pole"))[: len(sizes)],
    )


LEARNING = [load("objectives", name)() for name in WORDS]
LEARNING = [one for one in LEARNING if one.learned(1, grid(4)) is not None]
LEARNING += [load("objectives", "likelihood")(per=per) for per in ("pixel", "wavenumber")]


@pytest.mark.parametrize("objective", LEARNING, ids=repr)
@pytest.mark.parametrize("sizes", [(1,), (7,), (6, 5), (3, 4, 5)], ids=str)
def test_what_is_learned_begins_at_1_on_every_grid(objective, sizes):
    learned = objective.learned(2, grid(*sizes))
    told = torch.linspace(-3, 3, 5)
    u = learned(told)
    assert torch.broadcast_shapes(u.shape, (5, 2, *sizes)) == (5, 2, *sizes)
    assert (u.abs() < 1e-6).all()
    residual = torch.ones(5, 2, *sizes)
    # Parseval: what is compared with the variances has the size of the residual.
    assert torch.allclose((learned.turned(residual) ** 2).sum(), (residual**2).sum())


@everywhere
@pytest.mark.parametrize("objective", LEARNING, ids=repr)
def test_what_is_learned_is_the_error_of_v(schedule, objective):
    """The denoiser turns it into that of x_0 by this weight."""
    t = torch.linspace(0, 1, 51, dtype=torch.float64)
    assert torch.allclose(objective.weight(t, schedule), level(schedule, t).snr + 1)


def test_values_out_of_range_are_named():
    with pytest.raises(FieldError, match="gamma: got 0.0, expected a finite number above 0"):
        load("objectives", "min_snr")(gamma=0.0)
    with pytest.raises(FieldError, match="gamma: got -1.0, expected a finite number, 0 or more"):
        load("objectives", "p2")(gamma=-1.0)
    with pytest.raises((FieldError, TypeError), match="'wave'"):
        load("objectives", "likelihood")(per="wave")
    with pytest.raises(FieldError, match="p_std: got -1.0"):
        load("objectives", "uncertainty")(p_std=-1.0)
    with pytest.raises(FieldError, match="p_std: got 0.0, expected a finite number above 0"):
        load("objectives", "edm")(p_std=0.0)
    with pytest.raises(FieldError, match="p_mean: got nan"):
        load("objectives", "edm")(p_mean=math.nan)

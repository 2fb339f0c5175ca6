"""What every objective must do: levels in range with a stated density, positive finite weights."""

import math

import pytest
import torch

from diffsci.diffusion.augmentation import level
from diffsci.errors import FieldError
from diffsci.families import load, names

SCHEDULES = [load("schedules", name)() for name in names("schedules")]
everywhere = pytest.mark.parametrize("schedule", SCHEDULES, ids=names("schedules"))
everyone = pytest.mark.parametrize(
    "objective",
    [load("objectives", name)() for name in names("objectives")],
    ids=names("objectives"),
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
def test_weights_in_closed_form(schedule):
    t = torch.linspace(0, 1, 51, dtype=torch.float64)
    snr = level(schedule, t).snr
    assert torch.allclose(load("objectives", "simplified")().weight(t, schedule), snr)
    assert torch.allclose(load("objectives", "edm")().weight(t, schedule), snr + 1)


@everywhere
def test_variational_weight_is_half_the_fall_of_the_snr(schedule):
    """Against central differences, whose step of 1e-6 leaves 1e-6 of it where it is steepest."""
    t, step = torch.linspace(0.02, 0.98, 25, dtype=torch.float64), 1e-6
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
    assert float(total) == pytest.approx(float(ends[0] - ends[1]) / 2, rel=1e-6)


@everywhere
def test_edm_levels_are_log_normal_in_noise_to_signal(schedule):
    objective = load("objectives", "edm")(p_mean=-0.7, p_std=0.9)
    quantiles = torch.tensor([0.02275013194817921, 0.5, 0.8413447460685429], dtype=torch.float64)
    log_sigma = level(schedule, objective.levels(quantiles, schedule)).noise_to_signal.log()
    expected = torch.tensor([-0.7 - 2 * 0.9, -0.7, -0.7 + 0.9], dtype=torch.float64)
    assert torch.allclose(log_sigma, expected, rtol=1e-9)


def test_values_out_of_range_are_named():
    with pytest.raises(FieldError, match="p_std: got 0.0, expected a finite number above 0"):
        load("objectives", "edm")(p_std=0.0)
    with pytest.raises(FieldError, match="p_mean: got nan"):
        load("objectives", "edm")(p_mean=math.nan)

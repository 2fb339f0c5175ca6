"""The loss: one value per example, in the units of the prediction, at its known minimum."""

from typing import get_args

import pytest
import torch
from torch import nn

from diffsci.batch import Batch
from diffsci.diffusion.augmentation import level
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.objective import loss_per_example
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.diffusion.parameterisation import Predict
from diffsci.families import load, names
from tests.diffusion.laws import DIAGONAL, MIXTURE, Knowing, f64

SCHEDULES = [load("schedules", name)() for name in names("schedules")]
WORDS = [w for w in names("objectives") if issubclass(load("objectives", w), ByLevel)]
OBJECTIVES = [load("objectives", name)() for name in WORDS]
everywhere = pytest.mark.parametrize("schedule", SCHEDULES, ids=names("schedules"))
all_objectives = pytest.mark.parametrize("objective", OBJECTIVES, ids=WORDS)
predictions = pytest.mark.parametrize("predict", get_args(Predict))


class Constant(nn.Module):
    def forward(self, x, told, condition, scalars):
        return torch.full_like(x, 0.25)


def example(rows, *shape, dtype=torch.float64):
    like = torch.empty(rows, *shape, dtype=dtype)
    uniform = (torch.arange(rows, dtype=dtype) + 0.5) / rows
    return Batch(target=seeded(0)(like, 0)), uniform, seeded(0)(like, 1)


@everywhere
@all_objectives
@predictions
def test_loss_is_the_weight_times_the_squared_error_of_x_0(schedule, objective, predict):
    """Computed the short way in the prediction's units, and here the long way in float64."""
    batch, uniform, noise = example(7, 2, 5)
    denoiser = Denoiser(Constant(), schedule, predict)
    t = objective.levels(uniform, schedule)
    at = level(schedule, t).over(noise)
    estimate = denoiser(at.signal_scale * batch.target + at.noise_std * noise, t)
    error = ((estimate - batch.target) ** 2).mean(dim=(1, 2))
    expected = objective.weight(t, schedule) * error
    found = loss_per_example(denoiser, batch, objective, uniform, noise)
    assert found.shape == (7,)
    assert torch.allclose(found, expected, rtol=1e-8)


@everywhere
@all_objectives
@pytest.mark.parametrize("predict", ["epsilon", "v"])
def test_float32_loses_nothing_at_any_level(schedule, objective, predict):
    """At low noise the weight is up to 1e6 and the error of x_0 a small difference."""
    denoiser = Denoiser(Constant(), schedule, predict)
    batch, uniform, noise = example(50, 1, 9)
    exact = loss_per_example(denoiser, batch, objective, uniform, noise)
    batch, uniform, noise = example(50, 1, 9, dtype=torch.float32)
    found = loss_per_example(denoiser, batch, objective, uniform, noise)
    assert found.dtype == torch.float32
    # Not the loss but t in float32 is the limit: a weight's slope in t is up to 1e2 of its size,
    # under `linear` at its clean end 1e4.
    assert torch.allclose(found.double(), exact, rtol=1e-4)


@everywhere
@pytest.mark.parametrize(("name", "predict"), [("simplified", "epsilon"), ("edm", "v")])
def test_these_pairs_are_plain_mean_squared_errors(schedule, name, predict):
    batch, uniform, noise = example(6, 1, 8)
    objective = load("objectives", name)()
    at = level(schedule, objective.levels(uniform, schedule)).over(noise)
    v = (at.signal_scale * noise - at.noise_std * batch.target) / at.norm
    expected = ((0.25 - (noise if predict == "epsilon" else v)) ** 2).mean(dim=(1, 2))
    denoiser = Denoiser(Constant(), schedule, predict)
    found = loss_per_example(denoiser, batch, objective, uniform, noise)
    assert torch.allclose(found, expected, rtol=1e-10)


@everywhere
@predictions
@pytest.mark.parametrize("law", [DIAGONAL, MIXTURE], ids=["gaussian", "mixture"])
def test_a_perfect_network_has_the_least_loss(schedule, predict, law):
    """E |x_0 - E[x_0 | x_t]|^2 = E tr Cov[x_0 | x_t], over the same draws."""
    rows, objective = 20_000, load("objectives", "edm")(p_std=1e-9)
    unit = seeded(8)(torch.empty(rows, 4, dtype=torch.float64), 0)
    if law is DIAGONAL:
        x_0 = law.mean + law.variance.sqrt() * unit
    else:
        which = torch.bucketize(torch.special.ndtr(unit[:, 2]), law.weights.cumsum(0)[:-1])
        roots = torch.linalg.cholesky(law.covariances)[which]
        x_0 = law.means[which] + (roots @ unit[:, :2, None])[..., 0]
    noise = seeded(8)(torch.empty_like(x_0), 1)
    uniform = torch.full((rows,), 0.5, dtype=torch.float64)
    denoiser = Denoiser(Knowing(law, schedule, predict), schedule, predict)
    loss = loss_per_example(
        denoiser, Batch(target=x_0[:, None]), objective, uniform, noise[:, None]
    )
    t = objective.levels(uniform, schedule)
    at = level(schedule, t)
    x_t = at.over(x_0).signal_scale * x_0 + at.over(x_0).noise_std * noise
    if law is DIAGONAL:
        left = law.posterior_variance(x_t, at).mean(dim=1)
    else:
        left = law.posterior_covariance(x_t, at).diagonal(dim1=1, dim2=2).mean(dim=1)
    gap = loss - objective.weight(t, schedule) * left
    assert abs(gap.mean()) < 4.5 * gap.std() / rows**0.5
    # And it is a minimum: the gradient of the mean loss with respect to a scale vanishes there.
    slope = torch.autograd.grad(loss.mean(), denoiser.network.weight)[0]
    assert abs(slope) < 0.03


def test_only_cells_that_count_enter():
    schedule, objective = load("schedules", "cosine")(), load("objectives", "simplified")()
    batch, uniform, noise = example(3, 1, 6)
    mask = torch.zeros(3, 1, 6, dtype=torch.bool)
    mask[0, 0, :2] = True
    mask[1] = True
    denoiser = Denoiser(Constant(), schedule, "epsilon")
    masked = Batch(target=batch.target, mask=mask)
    found = loss_per_example(denoiser, masked, objective, uniform, noise)
    square = (0.25 - noise) ** 2
    assert torch.allclose(found, torch.stack([square[0, 0, :2].mean(), square[1].mean(), f64(0.0)]))


def test_condition_and_scalars_reach_the_network():
    class Adding(nn.Module):
        def forward(self, x, told, condition, scalars):
            return condition.sum(dim=1, keepdim=True) + scalars.sum(dim=1)[:, None, None]

    batch, uniform, noise = example(2, 1, 3)
    given = Batch(
        target=batch.target, condition=noise - 1, scalars=torch.tensor([[0.25, 0.75]] * 2).double()
    )
    denoiser = Denoiser(Adding(), load("schedules", "edm")(), "epsilon")
    found = loss_per_example(denoiser, given, load("objectives", "simplified")(), uniform, noise)
    assert torch.allclose(found, torch.zeros(2).double())


@everywhere
def test_variational_loss_is_the_limit_of_the_step_wise_one(schedule):
    """Sum over steps of a^2 / (2 v) times the least error, against the integral over t."""
    objective = load("objectives", "variational")()

    def left(at):
        return DIAGONAL.posterior_variance(torch.zeros(len(at.t), 4).double(), at).sum(dim=1)

    ends = level(schedule, f64([0.0, 1.0])).noise_to_signal.log()
    # In u = log(sigma), where all is smooth: t = level_of(e^u).
    u = torch.linspace(*ends.tolist(), 4001, dtype=torch.float64)
    at = level(schedule, schedule.level_of(u.exp()))
    steps = (at.snr[:-1] - at.snr[1:]) / 2 * (left(at)[1:] + left(at)[:-1]) / 2
    weight = objective.weight(at.t[1:-1], schedule)
    dt_du = (at.t[2:] - at.t[:-2]) / (u[2:] - u[:-2])
    integral = torch.trapezoid(weight * dt_du * left(at)[1:-1], u[1:-1])
    assert integral == pytest.approx(float(steps.sum()), rel=1e-2)


@all_objectives
def test_gradients_flow_to_the_network_alone(objective):
    batch, uniform, noise = example(4, 1, 4)
    schedule = load("schedules", "linear")()
    denoiser = Denoiser(Knowing(DIAGONAL, schedule, "v"), schedule, "v")
    loss_per_example(denoiser, batch, objective, uniform, noise).mean().backward()
    assert torch.isfinite(denoiser.network.weight.grad)
    assert not uniform.requires_grad


@all_objectives
def test_validation_modes_change_nothing(objective):
    args = example(5, 1, 4)
    denoiser = Denoiser(Constant(), load("schedules", "linear")(), "v")
    plain = loss_per_example(denoiser, args[0], objective, *args[1:])
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            uniform = args[1].clone()
            assert torch.equal(
                loss_per_example(denoiser, args[0], objective, uniform, args[2]), plain
            )


@all_objectives
def test_the_loss_waits_for_nothing_on_the_device(objective):
    """A meta tensor has no values: a host that waits for one raises."""
    like = torch.empty(4, 2, 5, 5, device="meta")
    batch = Batch(target=like, mask=torch.ones_like(like, dtype=torch.bool))
    denoiser = Denoiser(Constant(), load("schedules", "linear")(), "v")
    loss = loss_per_example(denoiser, batch, objective, torch.empty(4, device="meta"), like)
    assert loss.shape == (4,)

"""The learned variance: it finds the posterior variance of laws for which that is known."""

import json
import math

import pytest
import torch
from torch import nn

from diffsci.batch import Batch
from diffsci.diffusion.augmentation import level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.exact import DiagonalGaussian
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.objective import losses, pair
from diffsci.diffusion.objectives._learned import FLOOR, LearnedVariance
from diffsci.diffusion.objectives.base import ByLevel
from diffsci.diffusion.parameterisation import convert
from diffsci.families import load, names
from diffsci.grid import Grid
from tests.diffusion.laws import DIAGONAL, Knowing, f64
from tests.diffusion.samplers.variants import unchecked

SCHEDULE = load("schedules", "edm")()
LIKELIHOOD = load("objectives", "likelihood")
SPLITS = ["channel", "pixel", "wavenumber"]


def grid(*sizes):
    return Grid(
        dims=("y", "x")[-len(sizes) :],
        coordinates=tuple(tuple(map(float, range(size))) for size in sizes),
        units=("1",) * len(sizes),
        boundary=(("periodic", "periodic"), ("wall", "wall"))[: len(sizes)],
    )


class Field(nn.Module):
    """A perfect network for a stationary field, whose waves are independent."""

    def __init__(self, basis, law):
        super().__init__()
        self.basis, self.law = basis, law

    def forward(self, x, told, condition, scalars):
        at = level(SCHEDULE, SCHEDULE.level_of(torch.exp(4 * told)))
        x_t = x * at.over(x).norm
        x_0 = self.basis.inverse(self.law.posterior_mean(self.basis.forward(x_t), at))
        return convert(x_0, x_t, at, given="x0", wanted="v")


class Zero(nn.Module):
    def forward(self, x, told, condition, scalars):
        return torch.zeros_like(x)


def problem(per):
    """A perfect network, its law, channels and grid, and data from standard normal numbers."""
    if per == "wavenumber":
        place = grid(4, 3)
        basis = Basis.of(place)
        law = DiagonalGaussian(
            mean=torch.zeros(1, 4, 3, dtype=torch.float64),
            variance=basis.by_band(f64([2.0, 0.3, 0.05, 0.01]))[None],
        )
        return Field(basis, law), law, 1, place, lambda z: basis.inverse(law.variance.sqrt() * z)
    network = Knowing(DIAGONAL, SCHEDULE, "v").requires_grad_(False)
    shape, channels, place = ((1, 4), 1, grid(4)) if per == "pixel" else ((4, 1), 4, grid(1))
    mean, deviation = DIAGONAL.mean.reshape(shape), DIAGONAL.variance.sqrt().reshape(shape)
    return network, DIAGONAL, channels, place, lambda z: mean + deviation * z


def trained(objective, per, rows=2000, steps=300):
    """A table trained beside a perfect network, with fresh data and noise in each step."""
    network, law, channels, place, data = problem(per)
    denoiser = Denoiser(network, SCHEDULE, "v", objective.learned(channels, place)).double()
    optimiser = torch.optim.Adam(denoiser.learned.parameters(), betas=(0.9, 0.99))
    uniform = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    generator, shape = torch.Generator().manual_seed(0), (2, rows, channels, *place.sizes)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / steps))
        unit, noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        optimiser.zero_grad()
        batch = Batch(target=data(unit))
        losses(denoiser, batch, objective, uniform, noise).loss.mean().backward()
        optimiser.step()
    return denoiser, law


@pytest.mark.parametrize("per", ["level", *SPLITS])
def test_its_optimum_is_the_posterior_variance(per):
    """exp(u) / (SNR + 1) = d^2 s^2 / (c^2 s^2 + d^2), at levels of the central 75 %."""
    levels = {"p_mean": -1.2, "p_std": 2.0}
    uncertainty = load("objectives", "uncertainty")
    objective = uncertainty(**levels) if per == "level" else LIKELIHOOD(per=per, **levels)
    with unchecked():
        denoiser, law = trained(objective, per)
    log_sigma = torch.linspace(-3.5, 1.1, 24, dtype=torch.float64)
    at = level(SCHEDULE, SCHEDULE.level_of(log_sigma.exp()))
    with torch.no_grad():
        found = denoiser.posterior_variance(at)
    exact = law.posterior_variance(torch.zeros(24, *law.mean.shape, dtype=torch.float64), at)
    if per == "level":
        exact = exact.mean(dim=1)[:, None, None]
    elif per == "channel":
        exact = exact[..., None]
    elif per == "pixel":
        exact = exact[:, None]
    assert found.shape == exact.shape
    # 2000 draws in each of the last 100 steps or so, a tenth of them about each knot: 1 %, and as
    # much for the spline. Measured: at most 3.5 % anywhere.
    assert torch.allclose(found, exact, rtol=0.06)


def test_a_spline_of_one_knot_a_unit_meets_it_to_a_percent():
    """The likelihood itself, without noise: its integral over levels, minimised."""
    deviation = f64([1.5, 0.6, 0.2, 0.05, 0.01])
    learned = LearnedVariance("channel", 5, grid(1)).double()
    log_sigma = torch.linspace(-6.9, 4.9, 400, dtype=torch.float64)
    sigma = log_sigma.exp()[:, None]
    exact = deviation**2 * (1 + sigma**2) / (deviation**2 + sigma**2)
    optimiser = torch.optim.LBFGS(
        learned.parameters(), max_iter=150, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )

    def closure():
        optimiser.zero_grad()
        u = learned(log_sigma / 4)[..., 0]
        loss = (exact * torch.exp(-u) + u).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        ratio = learned(log_sigma / 4)[..., 0].exp() / exact
    assert 1e-3 < (ratio - 1).abs().max() < 0.012  # measured: 0.0101


def test_beyond_the_last_knots_it_stays_what_it_is():
    learned = LearnedVariance("level", 1, grid(3))
    nn.init.normal_(learned.weight)
    with torch.no_grad():
        u = learned(torch.tensor([-30.0, -7.0, 5.0, 30.0]) / 4).flatten()
    assert u[0] == u[1] and u[2] == u[3] and u[1] != u[2]


def test_splines_sum_to_1():
    learned = LearnedVariance("level", 1, grid(3)).double()
    nn.init.constant_(learned.weight, -2.5)
    u = learned(torch.linspace(-2, 1.5, 91, dtype=torch.float64))
    expected = f64(math.log(FLOOR + (1 - FLOOR) * math.exp(-2.5)))
    assert torch.allclose(u, expected.expand_as(u), rtol=1e-12)


def test_what_is_known_exactly_stops_at_the_floor():
    learned = LearnedVariance("level", 1, grid(3))
    nn.init.constant_(learned.weight, -1e3)
    assert learned(torch.zeros(1)).item() == pytest.approx(math.log(FLOOR))


def sides(per, dtype=torch.float64):
    """Losses with and without a new table, of a network that is far from perfect."""
    objective, place = LIKELIHOOD(per=per), grid(6, 5)
    x_0, noise = (seeded(1)(torch.empty(7, 2, 6, 5, dtype=dtype), draw) for draw in (0, 1))
    uniform = (torch.arange(7, dtype=dtype) + 0.5) / 7
    table = objective.learned(2, place).to(dtype)
    return objective, table, Batch(target=x_0), uniform, noise


@pytest.mark.parametrize("per", SPLITS)
@pytest.mark.parametrize("predict", ["v", "epsilon", "x0"])
def test_a_new_table_changes_nothing(per, predict):
    """u = 0, so that the loss is the plain error; in waves by Parseval."""
    objective, table, batch, uniform, noise = sides(per)
    with_it = losses(Denoiser(Zero(), SCHEDULE, predict, table), batch, objective, uniform, noise)
    without = losses(Denoiser(Zero(), SCHEDULE, predict), batch, objective, uniform, noise)
    assert torch.allclose(with_it.loss, without.loss, rtol=1e-12)
    assert torch.equal(with_it.error, without.error)
    assert torch.equal(with_it.error, without.loss)
    assert with_it.loss.requires_grad and not with_it.error.requires_grad


@pytest.mark.parametrize("per", SPLITS)
def test_the_table_sees_only_what_counts(per):
    """A mask of ones is none; values under the mask are not seen; no cell at all gives 0."""
    objective, table, batch, uniform, noise = sides(per)
    nn.init.normal_(table.weight)
    denoiser = Denoiser(Zero(), SCHEDULE, "v", table)

    def loss(mask, target=batch.target):
        return losses(denoiser, Batch(target=target, mask=mask), objective, uniform, noise).loss

    everything = torch.ones_like(batch.target, dtype=torch.bool)
    assert torch.allclose(loss(everything), loss(None), rtol=1e-12)
    mask = everything.clone()
    mask[:, 1, :, 3:] = False
    mask[0] = False
    other = torch.where(mask, batch.target, 17.0)
    assert torch.equal(loss(mask), loss(mask, other))
    assert loss(mask)[0] == 0
    assert not torch.allclose(loss(mask), loss(None))


def test_masked_white_residuals_have_their_own_variance_in_waves():
    """At u = log(variance), the derivative by u vanishes, whatever share of the cells is left."""
    place = grid(8, 8)
    table = LearnedVariance("wavenumber", 1, place).double()
    target = seeded(2)(torch.empty(4000, 1, 8, 8, dtype=torch.float64), 0)
    # Another mask for each example: one alone may lie where some waves are strong.
    mask = seeded(2)(target, 2) > 0.3
    # At sigma = 1, v = (eps - x_0) / sqrt(2) of a network that puts out 0: variance 1, u = 0.
    objective = LIKELIHOOD(per="wavenumber", p_mean=0.0, p_std=1e-9)
    denoiser = Denoiser(Zero(), SCHEDULE, "v", table)
    uniform, noise = torch.full((4000,), 0.5, dtype=torch.float64), seeded(2)(target, 1)
    batch = Batch(target=target, mask=mask)
    losses(denoiser, batch, objective, uniform, noise).loss.mean().backward()
    by_band = table.weight.grad.sum(dim=0)
    # Each band's pull is the mean of 1 - e^2 over its share of the waves: n of 64, in 4000 draws
    # of variance 2 each, and a little more for the share that varies.
    waves = torch.bincount(table.band.flatten())
    assert (by_band.abs() < 4.5 * torch.sqrt(2.2 * waves / 4000) / 64).all()


@pytest.mark.parametrize("per", SPLITS)
def test_autocast_leaves_the_likelihood_alone(per):
    objective, table, batch, uniform, noise = sides(per, dtype=torch.float32)
    nn.init.normal_(table.weight)
    denoiser = Denoiser(Zero(), SCHEDULE, "v", table)
    plain = losses(denoiser, batch, objective, uniform, noise).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(losses(denoiser, batch, objective, uniform, noise).loss, plain)


@pytest.mark.parametrize("per", SPLITS)
def test_it_waits_for_nothing_on_the_device(per):
    """A meta tensor has no values: a host that waits for one raises."""
    denoiser = Denoiser(Zero(), SCHEDULE, "v", LIKELIHOOD(per=per).learned(2, grid(6, 5)))
    like = torch.empty(4, 2, 6, 5, device="meta")
    uniform = torch.empty(4, device="meta")
    batch = Batch(target=like)
    found = losses(denoiser.to("meta"), batch, LIKELIHOOD(per=per), uniform, like)
    assert found.loss.shape == found.error.shape == found.log_sigma.shape == (4,)


def test_the_denoiser_tells_the_variance_at_one_level_or_several():
    table = LearnedVariance("pixel", 2, grid(6, 5))
    nn.init.normal_(table.weight)
    denoiser = Denoiser(Zero(), SCHEDULE, "v", table)
    several = level(SCHEDULE, f64([0.2, 0.7]))
    single = level(SCHEDULE, f64(0.7))
    with torch.no_grad():
        rows, row = denoiser.posterior_variance(several), denoiser.posterior_variance(single)
    assert rows.shape == (2, 2, 6, 5) and row.shape == (1, 2, 6, 5)
    assert torch.equal(rows[1:], row)
    assert Denoiser(Zero(), SCHEDULE).posterior_variance(single) is None


def test_it_is_a_part_of_the_denoiser_and_its_constants_are_not_saved():
    denoiser = Denoiser(
        nn.Linear(2, 2), SCHEDULE, "v", LIKELIHOOD(per="wavenumber").learned(1, grid(4))
    )
    assert set(denoiser.state_dict()) == {"network.weight", "network.bias", "learned.weight"}
    assert list(denoiser.state_dict())[-1] == "learned.weight"


@pytest.mark.parametrize("name", ["edm", "uncertainty", "likelihood", "variational"])
def test_these_pairs_do_not_depend_on_the_schedule(name):
    """In log sigma: a log-normal law, or the SNR of an integral over it."""
    objective = load("objectives", name)()
    for word in names("schedules"):
        rows = pair(objective, load("schedules", word)())
        assert len(rows) == 33
        for row in rows:
            s = math.log(row.noise_to_signal)
            if name == "variational":
                assert row.product == pytest.approx(math.exp(-2 * s), rel=1e-6)
            else:
                bell = math.exp(-(((s + 1.2) / 1.2) ** 2) / 2) / (1.2 * math.sqrt(2 * math.pi))
                assert row.density == pytest.approx(bell, rel=1e-6, abs=1e-12)
                assert row.weight == pytest.approx(math.exp(-2 * s) + 1, rel=1e-6)
            assert row.product == row.weight * row.density


@pytest.mark.parametrize(
    "name", [w for w in names("objectives") if issubclass(load("objectives", w), ByLevel)]
)
@pytest.mark.parametrize("word", names("schedules"))
def test_every_pair_is_rows_of_finite_numbers_over_the_schedule(name, word):
    rows = pair(load("objectives", name)(), load("schedules", word)())
    json.dumps(rows, allow_nan=False)
    sigma = [row.noise_to_signal for row in rows]
    assert sigma == sorted(sigma) and sigma[0] <= 0.01 and sigma[-1] >= 10
    total = torch.trapezoid(f64([row.density for row in rows]), f64(sigma).log())
    # 33 rows are enough to integrate by: but for `variational` and its like at steep ends.
    assert total == pytest.approx(1, abs=0.1)

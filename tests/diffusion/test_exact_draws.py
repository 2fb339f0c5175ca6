"""Covariances, draws and losses of every exact law, by unit vectors and by statistics."""

import pytest
import torch

from diffsci.diffusion.augmentation import Level, level
from diffsci.diffusion.covariance import with_covariance
from diffsci.diffusion.exact import whole
from diffsci.diffusion.noise import seeded
from diffsci.families import load
from tests.diffusion.laws import (
    DIAGONAL,
    FIELD,
    GAUSSIAN,
    MIXTURE,
    copies,
    dense,
    f64,
    shape_of,
    units,
)

LAWS = {"diagonal": DIAGONAL, "gaussian": GAUSSIAN, "field": FIELD, "mixture": MIXTURE}
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
normal_laws = pytest.mark.parametrize("law", list(LAWS.values())[:3], ids=list(LAWS)[:3])


@every_law
@pytest.mark.parametrize("t", [0.1, 0.6])
def test_the_denoiser_knows_its_covariance(law, t):
    """Against the Jacobian of its estimate: Tweedie's second identity, true for any data."""
    schedule = load("schedules", "cosine")()
    at, x_t = copies(law, schedule, t)
    x_t = x_t[:1]
    mean, covariance = with_covariance(law.denoiser(schedule), x_t, at)
    assert torch.equal(mean, law.denoiser(schedule)(x_t, at.t))
    roots = covariance.draw(units(law), f64(0.0), f64(1.0)).flatten(1)
    _, jacobian = with_covariance(lambda x, t: law.posterior_mean(x, level(schedule, t)), x_t, at)
    # Both are roots of one matrix; the Jacobian's has lost half of its digits near 0.
    assert torch.allclose(roots.T @ roots, jacobian.matrix[0], rtol=1e-9, atol=1e-12)
    white = covariance.draw(units(law), f64(0.3), f64(0.5)).flatten(1)
    expected = 0.09 * torch.eye(len(roots)).double() + 0.25 * roots.T @ roots
    assert torch.allclose(white.T @ white, expected, rtol=1e-9, atol=1e-12)


@every_law
def test_levels_may_differ_by_example_in_the_covariance_too(law):
    schedule = load("schedules", "linear")()
    t = f64([0.1, 0.5, 0.9])
    x = seeded(0)(torch.empty(3, *shape_of(law), dtype=torch.float64), 0)
    together = law.posterior(x, level(schedule, t))[1].draw(x, f64(0.1), f64(1.0))
    for row in range(3):
        one = x[row : row + 1]
        alone = law.posterior(one, level(schedule, t[row]))[1].draw(one, f64(0.1), f64(1.0))
        assert torch.allclose(together[row], alone[0], rtol=1e-10, atol=1e-12)


@every_law
def test_fields_keep_their_dtype_under_levels_in_float64(law):
    """As samplers give them: scales of float64 on the CPU with fields of any other dtype."""
    schedule = load("schedules", "edm")()
    fine = copies(law, schedule, 0.4)[1][:1]
    at = level(schedule, f64(0.4))
    x, small = fine.float(), law.to(fine.float())
    mean, covariance = small.posterior(x, at)
    drawn = covariance.draw(x, at.noise_std, at.signal_scale)
    assert mean.dtype == drawn.dtype == small.log_density(x, at).dtype == torch.float32
    # 1e-7 of numbers of order 1 to 10.
    assert torch.allclose(mean.double(), law.posterior_mean(fine, at), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("law", [DIAGONAL, GAUSSIAN], ids=["diagonal", "gaussian"])
def test_exact_variance_is_exact_in_three_steps(law):
    """`ancestral` with `variance: exact`: 20 000 draws against the law at t = 0."""
    schedule = load("schedules", "edm")()
    jump = whole(schedule)
    like = torch.empty(20_000, *shape_of(law), dtype=torch.float64)
    noise = seeded(3)
    # Started at the true law of x_1, since the steps are what is on trial.
    x_1 = law.noisy(jump.now).sample(noise(like, 0))
    sampler = load("samplers", "ancestral")(steps=3, variance="exact")
    x = sampler(law.denoiser(schedule), schedule, x_1, noise).flatten(1)
    root = law.noisy(jump.after).sample(units(law)) - law.noisy(jump.after).mean
    covariance = root.flatten(1).T @ root.flatten(1)
    spread = covariance.diagonal()
    error = torch.sqrt((covariance**2 + spread[:, None] * spread) / len(x))
    assert ((torch.cov(x.T) - covariance).abs() < 4.5 * error).all()


@normal_laws
def test_samples_have_the_covariance(law):
    """x = m + L z with L L^T the covariance, L read off unit vectors."""
    root = (law.sample(units(law)) - law.mean).flatten(1)
    if law is DIAGONAL:
        expected = torch.diag(law.variance)
    else:
        expected = (dense(FIELD) if law is FIELD else law).covariance
    assert torch.allclose(root.T @ root, expected, rtol=1e-10, atol=1e-12)
    assert torch.allclose(law.sample(0 * units(law)), law.mean.expand_as(units(law)), atol=1e-14)


def test_samples_of_a_mixture_come_from_its_components_in_their_shares():
    rows = 40_000
    uniform = (torch.arange(rows).double() + 0.5) / rows
    z = seeded(2)(torch.empty(rows, 2, dtype=torch.float64), 0)
    x = MIXTURE.sample(z, uniform)
    first = 0
    for k, weight in enumerate(MIXTURE.weights.tolist()):
        count = round(weight * rows)
        own = x[first : first + count]
        spread = MIXTURE.covariances[k].diagonal()
        assert ((own.mean(dim=0) - MIXTURE.means[k]).abs() < 4.5 * torch.sqrt(spread / count)).all()
        error = torch.sqrt((MIXTURE.covariances[k] ** 2 + spread[:, None] * spread) / count)
        assert ((torch.cov(own.T) - MIXTURE.covariances[k]).abs() < 4.5 * error).all()
        first += count
    ends = MIXTURE.sample(torch.zeros(2, 2).double(), f64([0.0, 1.0]))
    assert torch.allclose(ends, MIXTURE.means[[0, 3]], atol=1e-14)


@normal_laws
def test_no_estimate_loses_less_than_the_minimum(law):
    """The trace of the posterior covariance; and what estimates scaled by 1 + e lose besides.

    E|x_0 - (1 + e) D|^2 = minimum + e^2 E|D|^2, since the error is uncorrelated with D.
    """
    at = level(load("schedules", "linear")(), f64(0.3))
    least = float(law.minimum_loss(at))
    x_t = copies(law, load("schedules", "linear")(), 0.3)[1][:1]
    root = law.posterior(x_t, at)[1].draw(units(law), f64(0.0), f64(1.0))
    assert float((root**2).sum()) == pytest.approx(least, rel=1e-11)
    rows = 20_000
    z = [seeded(8)(torch.empty(rows, *shape_of(law), dtype=torch.float64), i) for i in (0, 1)]
    x_0 = law.sample(z[0])
    estimate = law.posterior_mean(at.signal_scale * x_0 + at.noise_std * z[1], at)
    for factor in (1.0, 1.1):
        loss = ((x_0 - factor * estimate) ** 2).flatten(1).sum(dim=1)
        expected = least + (factor - 1) ** 2 * (estimate**2).flatten(1).sum(dim=1).mean()
        assert abs(loss.mean() - expected) < 4.5 * loss.std() / rows**0.5


@every_law
def test_noisy_is_the_law_of_the_noisy_copy(law):
    at, x_t = copies(law, load("schedules", "cosine")(), 0.3)
    clean = Level(f64(0.0), f64(1.0), f64(0.0))
    found = law.noisy(at).log_density(x_t, clean)
    assert torch.allclose(found, law.log_density(x_t, at), rtol=1e-9)

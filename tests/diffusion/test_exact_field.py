"""Stationary fields: the same numbers as with matrices, without them."""

import torch

from diffsci.diffusion.augmentation import Jump, Level, level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.exact import StationaryField
from diffsci.families import load
from tests.diffusion.laws import FIELD, copies, dense, f64


def test_a_stationary_field_is_the_gaussian_of_its_matrix():
    """The same numbers without waves: 60 x 60 matrices."""
    full, schedule = dense(FIELD), load("schedules", "vp")()
    at, x = copies(FIELD, schedule, 0.4)
    flat = x.flatten(1)
    for name in ("posterior_mean", "score", "log_density"):
        a, b = getattr(FIELD, name)(x, at), getattr(full, name)(flat, at)
        assert torch.allclose(a.flatten(), b.flatten(), rtol=1e-10, atol=1e-11), name
    jump = Jump(at, level(schedule, f64(0.05)))
    assert torch.allclose(FIELD.flow(x, jump).flatten(1), full.flow(flat, jump), atol=1e-11)
    assert torch.allclose(FIELD.sample(x).flatten(1), full.sample(flat), atol=1e-11)
    assert torch.allclose(FIELD.minimum_loss(at), full.minimum_loss(at), rtol=1e-11)
    noisy = FIELD.noisy(at), full.noisy(at)
    level_0 = Level(f64(0.0), f64(1.0), f64(0.0))
    a, b = noisy[0].log_density(x, level_0), noisy[1].log_density(flat, level_0)
    assert torch.allclose(a, b, rtol=1e-11)
    assert torch.allclose(a, FIELD.log_density(x, at), rtol=1e-11)


def test_a_stationary_field_looks_the_same_from_every_cell():
    """Cov of two cells depends on what lies between them: on a torus, rolled rows are equal."""
    basis = torus((6, 5))
    law = StationaryField.by_band(basis, 1 / (1 + torch.arange(basis.bands).double()[None]) ** 2)
    root = law.sample(units_of(basis)).flatten(1)
    covariance = (root.T @ root).reshape(6, 5, 6, 5)
    for i, j in [(1, 0), (2, 3), (5, 4)]:
        moved = torch.roll(covariance[0, 0], (i, j), (0, 1))
        assert torch.allclose(covariance[i, j], moved, atol=1e-13)
    # The mean of the waves' variances is the variance of each cell.
    assert torch.allclose(covariance[0, 0, 0, 0], law.variance.mean(), rtol=1e-12)


def torus(sizes):
    return Basis(sizes, (True,) * len(sizes))


def units_of(basis):
    size = basis.sizes[0] * basis.sizes[1]
    return torch.eye(size).double().reshape(-1, 1, *basis.sizes)


def test_large_fields_need_no_matrix():
    """512 x 512: one wave comes back times its own gain."""
    basis = torus((512, 512))
    law = StationaryField.by_band(basis, 100 / (1 + torch.arange(basis.bands).double()[None]) ** 3)
    at = level(load("schedules", "edm")(), f64(0.3))
    wave = torch.zeros(1, 1, 512, 512).double()
    wave[..., 3, 500] = 1.0
    x_t = basis.inverse(wave)
    v = law.variance[0, 3, 500]
    mean, covariance = law.posterior(x_t, at)
    assert torch.allclose(mean, v / (v + at.noise_std**2) * x_t, atol=1e-13)
    drawn = covariance.draw(x_t, f64(0.0), f64(1.0))
    std = at.noise_std * torch.sqrt(v / (v + at.noise_std**2))
    assert torch.allclose(drawn, std * x_t, atol=1e-13)


def test_a_field_first_used_while_sampling_still_has_gradients_after():
    law = StationaryField(basis=torus((7, 9)), variance=torch.ones(1, 7, 9))
    at = level(load("schedules", "edm")(), torch.tensor(0.3))
    with torch.inference_mode():
        law.posterior_mean(torch.ones(1, 1, 7, 9), at)
    x = torch.ones(1, 1, 7, 9, requires_grad=True)
    (gradient,) = torch.autograd.grad(law.posterior_mean(x, at).sum(), x)
    assert torch.allclose(gradient, 1 / (1 + at.noise_std**2) * torch.ones_like(x), rtol=1e-5)

"""Closed forms, held to each other and to identities that are true for any data."""

import pytest
import torch

from diffsci.diffusion.augmentation import Jump, level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.exact import DiagonalGaussian, Gaussian, Mixture, StationaryField
from diffsci.diffusion.noise import seeded
from diffsci.errors import FieldError
from diffsci.families import load, names
from tests.diffusion.laws import (
    DIAGONAL,
    GAUSSIAN,
    MIXTURE,
    copies,
    f64,
)

SCHEDULES = [load("schedules", name)() for name in names("schedules")]
everywhere = pytest.mark.parametrize("schedule", SCHEDULES, ids=names("schedules"))
vectors = pytest.mark.parametrize("law", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])


def jacobian(function, x):
    """Of a function that treats rows apart: [batch, out, in]."""
    return torch.autograd.functional.jacobian(lambda x: function(x).sum(dim=0), x).movedim(1, 0)


@everywhere
@vectors
@pytest.mark.parametrize("t", [0.1, 0.4, 0.7])
def test_second_tweedie_identity(law, schedule, t):
    """Cov[x_0 | x_t] = (d^2 / c) dE[x_0 | x_t] / dx_t, for any data."""
    at, x_t = copies(law, schedule, t)
    slope = jacobian(lambda x: law.posterior_mean(x, at), x_t)
    expected = at.noise_std**2 / at.signal_scale * slope
    assert torch.allclose(law.posterior_covariance(x_t, at), expected, rtol=1e-9, atol=1e-12)


@everywhere
@vectors
@pytest.mark.parametrize("t", [0.1, 0.4, 0.7])
def test_score_is_the_gradient_of_the_log_density(law, schedule, t):
    at, x_t = copies(law, schedule, t)
    x_t.requires_grad_()
    (gradient,) = torch.autograd.grad(law.log_density(x_t, at).sum(), x_t)
    # The score divides a difference by noise_std^2, at least 1e-4 here.
    assert torch.allclose(law.score(x_t, at), gradient, rtol=1e-8, atol=1e-10)


@vectors
def test_density_integrates_to_one_over_two_dimensions(law):
    if len(law.posterior_mean(*reversed(copies(law, SCHEDULES[0], 0.5)))[0]) != 2:
        law = Gaussian(mean=law.mean[:2], covariance=law.covariance[:2, :2])
    at = level(load("schedules", "cosine")(), f64(0.3))
    line = torch.linspace(-9, 9, 301, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    total = law.log_density(points, at).exp().sum() * (line[1] - line[0]) ** 2
    assert abs(total - 1) < 1e-9  # the trapezoidal rule converges faster than any power here


def test_diagonal_and_full_gaussians_agree():
    full = Gaussian(mean=DIAGONAL.mean, covariance=torch.diag(DIAGONAL.variance))
    schedule = load("schedules", "linear")()
    at, x_t = copies(DIAGONAL, schedule, 0.3)
    jump = Jump(at, level(schedule, f64(0.1)))
    for name in ("posterior_mean", "score", "log_density"):
        a, b = getattr(DIAGONAL, name)(x_t, at), getattr(full, name)(x_t, at)
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12), name
    assert torch.allclose(DIAGONAL.flow(x_t, jump), full.flow(x_t, jump), rtol=1e-12)


def test_gaussian_against_solving_the_normal_equations():
    at, x_t = copies(GAUSSIAN, load("schedules", "cosine")(), 0.5)
    c, d, m = at.signal_scale, at.noise_std, GAUSSIAN.mean
    total = c**2 * GAUSSIAN.covariance + d**2 * torch.eye(3).double()
    solved = torch.linalg.solve(total, (x_t - c * m).T).T
    assert torch.allclose(
        GAUSSIAN.posterior_mean(x_t, at), m + c * solved @ GAUSSIAN.covariance, rtol=1e-11
    )
    law = torch.distributions.MultivariateNormal(c * m, total)
    assert torch.allclose(GAUSSIAN.log_density(x_t, at), law.log_prob(x_t), rtol=1e-11)


def test_points_as_data_are_weighed_by_their_distance():
    points = f64([[0.0, 1.0], [2.0, -1.0], [1.0, 1.0]])
    law = Mixture(
        weights=f64([1, 1, 1]) / 3, means=points, covariances=torch.zeros(3, 2, 2).double()
    )
    at, x_t = copies(law, load("schedules", "edm")(), 0.4)
    distance = ((x_t[:, None] - points) ** 2).sum(-1)
    shares = torch.softmax(-distance / (2 * at.noise_std**2), dim=1)
    assert torch.allclose(law.posterior_mean(x_t, at), shares @ points, rtol=1e-12)


@everywhere
def test_flow_composes_and_keeps_the_law(schedule):
    at = [level(schedule, f64(t)) for t in (0.9, 0.5, 0.05)]
    x = copies(GAUSSIAN, schedule, 0.9)[1]
    way = GAUSSIAN.flow(GAUSSIAN.flow(x, Jump(at[0], at[1])), Jump(at[1], at[2]))
    assert torch.allclose(way, GAUSSIAN.flow(x, Jump(at[0], at[2])), rtol=1e-11)
    slope = jacobian(lambda x: GAUSSIAN.flow(x, Jump(at[0], at[2])), x)[0]
    start, end = (
        a.signal_scale**2 * GAUSSIAN.covariance + a.noise_std**2 * torch.eye(3).double().double()
        for a in (at[0], at[2])
    )
    assert torch.allclose(slope @ start @ slope.T, end, rtol=1e-9, atol=1e-12)


def test_levels_may_differ_by_example():
    schedule = load("schedules", "linear")()
    t = f64([0.1, 0.5, 0.9])
    x = seeded(0)(torch.empty(3, 4, dtype=torch.float64), 0)
    together = DIAGONAL.denoiser(schedule)(x, t)
    for row in range(3):
        alone = DIAGONAL.denoiser(schedule)(x[row : row + 1], t[row])
        assert torch.allclose(together[row], alone[0], rtol=1e-14)


def test_diagonal_fields_have_any_shape():
    field = DiagonalGaussian(mean=torch.zeros(2, 3, 4), variance=torch.ones(2, 3, 4))
    at = level(load("schedules", "edm")(), torch.tensor([0.2, 0.3]))
    x = torch.randn(2, 2, 3, 4)
    assert torch.allclose(field.posterior_mean(x, at), x / (1 + at.over(x).noise_std ** 2))
    assert torch.allclose(
        field.log_density(x, at).exp().log(),
        torch.distributions.Normal(0, at.over(x).norm).log_prob(x).flatten(1).sum(1),
        rtol=1e-4,
    )


def test_what_is_no_law_is_refused():
    eye = torch.eye(2).double()
    with pytest.raises(FieldError, match="covariance: got 'an asymmetry of 0.5'"):
        Gaussian(mean=f64([0, 0]), covariance=f64([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(FieldError, match="covariance: got 'an eigenvalue -1'"):
        Gaussian(mean=f64([0, 0]), covariance=f64([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(FieldError, match="variance: got -0.1, expected 0 or more"):
        DiagonalGaussian(mean=f64([0, 0]), variance=f64([1.0, -0.1]))
    with pytest.raises(FieldError, match="weights: got 'a sum of 0.9', expected a sum of 1"):
        Mixture(weights=f64([0.5, 0.4]), means=eye, covariances=torch.stack([eye, eye]))
    with pytest.raises(FieldError, match=r"variance: got \[4, 5\], expected waves of a box \(5, 4"):
        StationaryField(basis=Basis((5, 4), (True, True)), variance=torch.ones(1, 4, 5))
    with pytest.raises(FieldError, match="spectrum: got 2, expected 4 bands"):
        StationaryField.by_band(Basis((5, 4), (True, True)), torch.ones(1, 2))

"""Linear dynamics, Kalman analyses and distances, against other ways to the same numbers."""

import math

import pytest
import torch

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.exact import (
    DiagonalGaussian,
    Gaussian,
    LinearDynamics,
    StationaryField,
    kalman,
    kalman_mixture,
    linear_output_law,
    wasserstein2,
    wasserstein2_each,
    whole,
)
from diffsci.diffusion.noise import seeded
from diffsci.errors import ConfigError, FieldError
from diffsci.families import load
from tests.diffusion.laws import DIAGONAL, FIELD, GAUSSIAN, MIXTURE, dense, f64

DYNAMICS = LinearDynamics(
    transition=f64([[0.9, 0.3, 0.0], [-0.3, 0.8, 0.1], [0.0, 0.2, 0.5]]),
    innovation=f64([[0.2, 0.05, 0.0], [0.05, 0.1, 0.02], [0.0, 0.02, 0.3]]),
)
H, R = f64([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0]]), f64([[0.3, 0.1], [0.1, 0.2]])
Y = f64([0.7, -0.4])


def same(one, other, atol=1e-12):
    return torch.allclose(one.mean, other.mean, rtol=1e-10, atol=atol) and torch.allclose(
        one.covariance, other.covariance, rtol=1e-10, atol=atol
    )


def test_rollout_is_the_sum_over_its_innovations():
    F, Q = DYNAMICS.transition, DYNAMICS.innovation
    power = [torch.linalg.matrix_power(F, i) for i in range(6)]
    spread = sum((power[i] @ Q @ power[i].T for i in range(5)), torch.zeros(3, 3).double())
    expected = Gaussian(
        mean=power[5] @ GAUSSIAN.mean,
        covariance=power[5] @ GAUSSIAN.covariance @ power[5].T + spread,
    )
    assert same(DYNAMICS.rollout(GAUSSIAN, 5), expected)
    assert same(DYNAMICS.rollout(DYNAMICS.rollout(GAUSSIAN, 2), 3), expected)
    assert same(DYNAMICS.rollout(GAUSSIAN, 0), GAUSSIAN)


def test_the_climate_is_what_a_step_leaves_alone():
    climate = DYNAMICS.stationary()
    assert same(DYNAMICS.rollout(climate, 1), climate)
    far = DYNAMICS.rollout(
        Gaussian(mean=f64([9, 9, 9]), covariance=torch.zeros(3, 3).double()), 400
    )
    # The largest eigenvalue is 0.9: 0.9^400 is 5e-19.
    assert same(far, climate, atol=1e-10)
    growing = LinearDynamics(transition=torch.eye(3).double(), innovation=DYNAMICS.innovation)
    with pytest.raises(FieldError, match="transition: got 'a spectral radius of 1', expected less"):
        growing.stationary()


def test_the_conditional_denoiser_is_that_of_the_next_state():
    schedule = load("schedules", "cosine")()
    x_n, x_t = (seeded(1)(torch.empty(4, 3).double(), i) for i in (0, 1))
    t = f64([0.1, 0.4, 0.6, 0.9])
    together = DYNAMICS.denoiser(schedule)(x_t, t, x_n)
    assert torch.allclose(DYNAMICS.next(x_n).denoiser(schedule)(x_t, t), together, rtol=1e-10)
    for row in range(4):
        alone = DYNAMICS.next(x_n[row]).posterior_mean(x_t[row : row + 1], level(schedule, t[row]))
        assert torch.allclose(together[row], alone[0], rtol=1e-10)


def test_a_forecast_sampled_step_by_step_has_the_law_of_the_rollout():
    """Three leads of `ancestral` with `variance: exact`: 20 000 members of one start."""
    schedule, rows = load("schedules", "edm")(), 20_000
    sampler = load("samplers", "ancestral")(steps=4, variance="exact")
    state = f64([1.0, -2.0, 0.5])
    x = state.expand(rows, 3)
    for lead in range(3):
        noise = seeded(lead)
        x_1 = whole(schedule).now.noise_std * noise(torch.empty(rows, 3).double(), 0)
        x = sampler(DYNAMICS.next(x).denoiser(schedule), schedule, x_1, noise)
    expected = DYNAMICS.rollout(Gaussian(mean=state, covariance=torch.zeros(3, 3).double()), 3)
    spread = expected.covariance.diagonal()
    assert ((x.mean(dim=0) - expected.mean).abs() < 4.5 * torch.sqrt(spread / rows)).all()
    error = torch.sqrt((expected.covariance**2 + spread[:, None] * spread) / rows)
    # Noise of std 0.002 is left at t = 0, and the start in noise alone misses 1e-4.
    assert ((torch.cov(x.T) - expected.covariance).abs() < 4.5 * error + 1e-4).all()


def test_kalman_in_its_information_form():
    """Precisions add up: P_a^-1 = P^-1 + H^T R^-1 H."""
    found = kalman(GAUSSIAN, H, R, Y)
    before = torch.linalg.inv(GAUSSIAN.covariance)
    after = torch.linalg.inv(before + H.T @ torch.linalg.inv(R) @ H)
    mean = after @ (before @ GAUSSIAN.mean + H.T @ torch.linalg.inv(R) @ Y)
    assert same(found, Gaussian(mean=mean, covariance=(after + after.T) / 2))


def test_kalman_takes_independent_observations_one_by_one():
    R = torch.diag(f64([0.3, 0.2]))
    one = kalman(GAUSSIAN, H[:1], R[:1, :1], Y[:1])
    assert same(kalman(one, H[1:], R[1:, 1:], Y[1:]), kalman(GAUSSIAN, H, R, Y))


def test_kalman_of_a_batch_is_that_of_each():
    values = torch.stack([Y, 2 * Y, -Y])
    together = kalman(DYNAMICS.next(values @ H), H, R, values)
    for row in range(3):
        alone = kalman(DYNAMICS.next(values[row] @ H), H, R, values[row])
        assert torch.allclose(together.mean[row], alone.mean, rtol=1e-12)
        assert torch.allclose(together.covariance, alone.covariance, rtol=1e-12)


def test_the_filter_is_the_joint_analysis_of_a_trajectory():
    """Predict and analyse three times; or condition the law of all three states at once."""
    F = DYNAMICS.transition
    values = seeded(4)(torch.empty(3, 2).double(), 0)
    state, parts = GAUSSIAN, []
    for y in values:
        state = kalman(DYNAMICS.rollout(state, 1), H, R, y)
    law = GAUSSIAN
    for _ in range(3):
        law = DYNAMICS.rollout(law, 1)
        parts.append(law)
    mean = torch.cat([part.mean for part in parts])
    joint = torch.zeros(9, 9).double()
    for i in range(3):
        for j in range(i, 3):
            # Cov(x_i, x_j) = P_i F^(j - i)T for j later than i.
            block = parts[i].covariance @ torch.linalg.matrix_power(F, j - i).T
            joint[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = block
            joint[3 * j : 3 * j + 3, 3 * i : 3 * i + 3] = block.T
    seen, errors = torch.block_diag(H, H, H), torch.block_diag(R, R, R)
    gain = joint @ seen.T @ torch.linalg.inv(seen @ joint @ seen.T + errors)
    mean = mean + gain @ (values.flatten() - seen @ mean)
    joint = joint - gain @ seen @ joint
    assert torch.allclose(state.mean, mean[6:], rtol=1e-10)
    assert torch.allclose(state.covariance, joint[6:, 6:], rtol=1e-9, atol=1e-12)


def test_kalman_of_a_mixture_against_quadrature():
    """Prior times likelihood on a fine mesh: it converges faster than any power."""
    h, r, y = f64([[1.0, 0.5]]), f64([[0.2]]), f64([0.4])
    found = kalman_mixture(MIXTURE, h, r, y)
    line = torch.linspace(-6, 6, 601).double()
    points = torch.cartesian_prod(line, line)
    clean = level(lambda t: (torch.ones_like(t), 0 * t), f64(0.0))
    log = MIXTURE.log_density(points, clean) - ((y - points @ h.T) ** 2 / r).sum(dim=1) / 2
    shares = torch.softmax(log, dim=0)
    mean = shares @ points
    off = points - mean
    covariance = (shares[:, None] * off).T @ off
    by_law = found.posterior_mean(torch.zeros(1, 2).double(), level(_nothing_kept, f64(0.5)))[0]
    spread = found.posterior_covariance(torch.zeros(1, 2).double(), level(_nothing_kept, f64(0.5)))
    assert torch.allclose(by_law, mean, atol=1e-9)
    assert torch.allclose(spread[0], covariance, atol=1e-9)
    density = found.log_density(points, clean).exp() * (line[1] - line[0]) ** 2
    assert torch.allclose(density, shares, atol=1e-12)


def _nothing_kept(t):
    """Noise alone: what is left to know of x_0 is its law."""
    return 0 * t, torch.ones_like(t)


def test_observations_that_repeat_each_other_without_error_are_refused():
    with pytest.raises(ConfigError, match=r"H P H\^T \+ R is singular.*positive variance"):
        kalman(GAUSSIAN, H[[0, 0]], torch.zeros(2, 2).double(), Y)


def test_wasserstein_by_the_formula_with_matrix_roots():
    import scipy.linalg

    other = DYNAMICS.stationary()
    root = scipy.linalg.sqrtm(GAUSSIAN.covariance.numpy())
    cross = torch.as_tensor(scipy.linalg.sqrtm(root @ other.covariance.numpy() @ root).real)
    square = (
        (GAUSSIAN.mean - other.mean).pow(2).sum()
        + torch.trace(GAUSSIAN.covariance + other.covariance)
        - 2 * torch.trace(cross)
    )
    found = wasserstein2(GAUSSIAN, other)
    assert found == pytest.approx(math.sqrt(square), rel=1e-9)
    assert wasserstein2(other, GAUSSIAN) == pytest.approx(float(found), rel=1e-12)


def test_wasserstein_of_laws_that_are_near_keeps_its_digits():
    """One std off by e: W2 is e; by the formula with traces it would be lost below 1e-8."""
    values, vectors = torch.linalg.eigh(GAUSSIAN.covariance)
    for e in (1e-3, 1e-6, 1e-10):
        std = torch.sqrt(values) + torch.tensor([0.0, 0.0, e]).double()
        near = vectors * std**2 @ vectors.T
        near = Gaussian(mean=GAUSSIAN.mean, covariance=(near + near.T) / 2)
        assert wasserstein2(GAUSSIAN, near) == pytest.approx(e, rel=1e-4)


def test_wasserstein_of_each_element_and_each_wave_adds_up():
    other = DiagonalGaussian(mean=DIAGONAL.mean + 0.1, variance=2 * DIAGONAL.variance)
    full = [
        Gaussian(mean=law.mean, covariance=torch.diag(law.variance)) for law in (DIAGONAL, other)
    ]
    each = wasserstein2_each(DIAGONAL, other)
    assert torch.linalg.norm(each) == pytest.approx(float(wasserstein2(*full)), rel=1e-10)
    assert each[0] == pytest.approx(math.hypot(0.1, 1.5 * (math.sqrt(2) - 1)), rel=1e-12)
    calmer = StationaryField(basis=FIELD.basis, variance=FIELD.variance / 2)
    total = wasserstein2(dense(FIELD), Gaussian(mean=f64([0.0] * 60), covariance=half(FIELD)))
    waves = wasserstein2_each(FIELD, calmer)
    assert waves.shape == FIELD.variance.shape
    assert torch.linalg.norm(waves) == pytest.approx(float(total), rel=1e-9)


def half(field):
    return dense(field).covariance / 2


def test_distances_of_unlike_laws_are_refused():
    with pytest.raises(FieldError, match="other: got 'DiagonalGaussian', expected a Stationary"):
        wasserstein2_each(FIELD, DIAGONAL)


def test_output_of_a_step_sampler_is_the_law_of_the_next_state():
    """Without draws: the affine map of the sampler's own code, started at the true x_1."""
    schedule = load("schedules", "vp")()
    jump, law = whole(schedule), DYNAMICS.next(f64([1.0, 0.0, -1.0]))
    first, last = law.noisy(jump.now), law.noisy(jump.after)
    sampler = load("samplers", "ancestral")(steps=2, variance="exact")
    mean, covariance = linear_output_law(
        sampler, law.denoiser(schedule), schedule, first.mean, first.covariance
    )
    assert same(last, Gaussian(mean=mean, covariance=(covariance + covariance.T) / 2), atol=1e-9)

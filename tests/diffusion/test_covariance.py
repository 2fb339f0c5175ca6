"""Posterior covariances: those that are known, the Jacobian for the rest, draws of each kind."""

import pytest
import torch

from diffsci.diffusion.augmentation import Level, level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.covariance import (
    LARGEST,
    Dense,
    Diagonal,
    InWaves,
    WithCovariance,
    with_covariance,
)
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.samplers.ancestral import Ancestral
from diffsci.diffusion.schedules.cosine import Cosine
from diffsci.diffusion.schedules.edm import EDM
from diffsci.errors import ConfigError
from tests.diffusion.laws import DIAGONAL, GAUSSIAN, MIXTURE, f64

SCHEDULES = [EDM(), Cosine()]
LEVELS = [0.05, 0.4, 0.8]
FLOOR, SCALE = f64(0.3), f64(0.7)


def plain(law, schedule):
    """The denoiser of a law as a function that does not know its covariance."""

    def denoise(x_t, t):
        return law.posterior_mean(x_t, level(schedule, t))

    return denoise


def points(law_dim, rows=5):
    return seeded(3)(torch.empty(rows, law_dim, dtype=torch.float64), 0)


def covariance_of(draw, shape):
    """Of draw(z), z standard normal and of this shape, each example's, from its linear map."""
    count = torch.Size(shape[1:]).numel()
    unit = torch.eye(count, dtype=torch.float64).reshape(count, *shape[1:])
    # One unit vector at a time for all examples.
    rows = torch.stack([draw(one.expand(shape)).flatten(1) for one in unit], dim=1)
    return rows.mT @ rows


def floor_and_scale(covariance, shape):
    return covariance_of(lambda z: covariance.draw(z, FLOOR, SCALE), shape)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("t", LEVELS)
@pytest.mark.parametrize("law", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_the_jacobian_is_the_closed_form(law, schedule, t):
    """Second Tweedie identity, for any law: to the rounding of d^2 / c times slopes of order 1."""
    dim = 3 if law is GAUSSIAN else 2
    at = level(schedule, f64(t))
    x_t = at.norm * points(dim)
    mean, found = with_covariance(plain(law, schedule), x_t, at)
    assert isinstance(found, Dense)
    assert torch.allclose(mean, law.posterior_mean(x_t, at), rtol=0, atol=1e-14)
    exact = law.posterior_covariance(x_t, at)
    assert torch.allclose(found.matrix, exact, rtol=1e-9, atol=1e-12)


def test_the_jacobian_is_taken_of_fields_and_examples_apart():
    """A [channel, cell] field, whose elements are the diagonal law's; and no gradient is left."""
    schedule = EDM()
    at = level(schedule, f64(0.4))
    x_t = points(4).reshape(5, 2, 2)

    def denoise(x_t, t):
        flat = DIAGONAL.posterior_mean(x_t.flatten(1), level(schedule, t))
        return flat.reshape(x_t.shape)

    mean, found = with_covariance(denoise, x_t, at)
    assert mean.shape == x_t.shape
    assert not mean.requires_grad
    exact = DIAGONAL.posterior_variance(x_t.flatten(1), at)
    assert torch.allclose(found.matrix, torch.diag_embed(exact), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_jacobian_can_be_taken_where_gradients_are_off(mode):
    schedule = EDM()
    at = level(schedule, f64(0.4))
    expected = with_covariance(plain(GAUSSIAN, schedule), points(3), at)[1].matrix
    with mode():
        found = with_covariance(plain(GAUSSIAN, schedule), points(3), at)[1].matrix
    assert torch.equal(found, expected)


def test_one_call_gives_both():
    schedule, calls = EDM(), []

    def denoise(x_t, t):
        calls.append(t)
        return GAUSSIAN.posterior_mean(x_t, level(schedule, t))

    with_covariance(denoise, points(3), level(schedule, f64(0.4)))
    assert len(calls) == 1


def test_a_denoiser_that_knows_is_asked():
    class Knowing(WithCovariance):
        def __call__(self, x_t, t):
            raise AssertionError("not to be called beside with_covariance")

        def with_covariance(self, x_t, at):
            return 2 * x_t, Diagonal(f64(3.0))

    mean, found = with_covariance(Knowing(), points(3), level(EDM(), f64(0.4)))
    assert torch.equal(mean, 2 * points(3))
    assert float(found.variance) == 3


def test_a_jacobian_of_no_symmetry_is_made_symmetric():
    """As of a network: the nearest symmetric matrix, times d^2 / c."""
    at = Level(f64(0.5), f64(0.5), f64(3.0))
    slope = f64([[0.4, 0.3], [0.1, 0.2]])
    _, found = with_covariance(lambda x, t: x @ slope.T, points(2), at)
    expected = 9 / 0.5 * (slope + slope.T) / 2
    assert torch.allclose(found.matrix, expected.expand(5, 2, 2), rtol=1e-14)


def test_draws_have_their_covariance():
    """N(0, floor^2 I + scale^2 C) from the linear map itself, to rounding."""
    eye = torch.eye(6, dtype=torch.float64)
    shape = (3, 2, 3)
    variance = f64([[0.5, 1.0, 0.0], [2.0, 0.1, 3.0]])
    wanted = FLOOR**2 * eye + SCALE**2 * torch.diag(variance.flatten())
    found = floor_and_scale(Diagonal(variance), shape)
    assert torch.allclose(found, wanted.expand(3, 6, 6), rtol=0, atol=1e-14)

    root = points(6, rows=18).reshape(3, 6, 6)
    matrix = root @ root.mT
    found = floor_and_scale(Dense(matrix), shape)
    assert torch.allclose(found, FLOOR**2 * eye + SCALE**2 * matrix, rtol=0, atol=1e-13)

    basis = Basis((3,), (True,))
    waves = basis.forward(torch.eye(3, dtype=torch.float64))
    blocks = torch.block_diag(*(waves.T @ torch.diag(row) @ waves for row in variance))
    found = floor_and_scale(InWaves(basis, variance), shape)
    assert torch.allclose(found, FLOOR**2 * eye + SCALE**2 * blocks, rtol=0, atol=1e-14)


def test_a_negative_eigenvalue_counts_as_none():
    """As the rounding of a network's Jacobian makes them."""
    matrix = torch.diag(f64([1.0, -0.5])).expand(3, 2, 2)
    expected = FLOOR**2 + SCALE**2 * f64([1.0, 0.0])
    found = floor_and_scale(Dense(matrix), (3, 2))
    assert torch.allclose(found, torch.diag(expected).expand(3, 2, 2), atol=1e-14)


@pytest.mark.parametrize(
    "covariance",
    [
        Diagonal(f64(2.0)),
        Dense(2 * torch.eye(4, dtype=torch.float64).expand(5, 4, 4)),
        InWaves(Basis((4,), (False,)), f64(2.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_white_covariance_leaves_the_noise_as_it_is(covariance):
    """Symmetric roots: the same seed gives alike members, whatever the covariance is made of."""
    z = points(4)
    expected = torch.sqrt(FLOOR**2 + SCALE**2 * 2) * z
    assert torch.allclose(covariance.draw(z, FLOOR, SCALE), expected, rtol=0, atol=1e-14)


def test_draws_in_float32_stay_there():
    z = points(4).float()
    for covariance in (Diagonal(torch.tensor(2.0)), InWaves(Basis((4,), (True,)), f64([2.0] * 4))):
        assert covariance.draw(z, FLOOR, SCALE).dtype == torch.float32


def test_too_many_numbers_are_refused_with_the_fix():
    x_t = torch.zeros(1, LARGEST + 1, dtype=torch.float64)
    message = rf"has {LARGEST + 1} numbers.*variance.Calibrated\(denoise, table\)"
    with pytest.raises(ConfigError, match=message):
        Ancestral(steps=2, variance="exact")(lambda x, t: x / 2, EDM(), x_t, seeded(0))


def test_an_estimate_without_gradient_is_refused():
    with pytest.raises(ConfigError, match="carries no gradient to x_t.*without detach"):
        with_covariance(lambda x, t: (x / 2).detach(), points(3), level(EDM(), f64(0.4)))

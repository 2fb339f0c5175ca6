"""Laws of data that the tests of the core share, and a network that knows one of them."""

import torch
from torch import nn

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.exact import DiagonalGaussian, Gaussian, Mixture, StationaryField
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.parameterisation import convert


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


DIAGONAL = DiagonalGaussian(
    mean=f64([0.5, -1.0, 0.2, 0.1]), variance=f64([1.5, 1.0, 0.3, 0.1]) ** 2
)
"""Scales over a decade: a sampler must be right for large ones and small ones at once."""

_turn = torch.linalg.qr(f64([[1.0, 2.0, 0.5], [-1.0, 0.3, 1.0], [0.2, 1.0, -1.5]])).Q
GAUSSIAN = Gaussian(
    mean=f64([0.3, -0.5, 0.1]), covariance=_turn * f64([1.4, 0.5, 0.12]) ** 2 @ _turn.T
)
"""Anisotropic and turned against the axes."""

MIXTURE = Mixture(
    weights=f64([0.4, 0.3, 0.2, 0.1]),
    means=f64([[1.0, -0.5], [-1.0, 0.2], [0.3, 1.4], [0.0, -1.0]]),
    covariances=torch.stack(
        [
            f64([[0.25, 0.05], [0.05, 0.1]]),
            f64([[0.1, -0.1], [-0.1, 0.4]]),
            f64([[0.06, 0.0], [0.0, 0.16]]),
            f64([[0.2, 0.1], [0.1, 0.2]]),
        ]
    ),
)
"""Four components that overlap."""

_box = Basis((6, 5), (True, False))
FIELD = StationaryField.by_band(
    _box,
    f64([[2.0], [0.5]]) / (1 + torch.arange(_box.bands, dtype=torch.float64)) ** 2.5,
    mean=torch.linspace(-0.5, 0.5, 60, dtype=torch.float64).reshape(2, 6, 5),
)
"""Two channels of red noise on a box that is periodic along one dim, with a mean."""


def copies(law, schedule, t):
    """Some points x_t at a level, spread over what it holds."""
    at = level(schedule, f64(t))
    return at, at.norm * seeded(1)(torch.empty(6, *shape_of(law), dtype=torch.float64), 0)


def shape_of(law):
    return law.means.shape[1:] if isinstance(law, Mixture) else law.mean.shape


def units(law):
    """Each unit vector of the law's fields, one an example."""
    shape = shape_of(law)
    return torch.eye(shape.numel()).double().reshape(-1, *shape)


def dense(field):
    """A stationary field as a Gaussian of its flattened numbers."""
    white = units(field).flatten(1)
    waves = field.basis.forward(white.reshape(-1, *field.mean.shape)).flatten(1)
    covariance = waves @ torch.diag(field.variance.flatten()) @ waves.T
    return Gaussian(mean=field.mean.flatten(), covariance=(covariance + covariance.T) / 2)


class Knowing(nn.Module):
    """A network that predicts perfectly for one law; it undoes the normalisation of its input."""

    def __init__(self, law, schedule, predict):
        super().__init__()
        self.law, self.schedule, self.predict = law, schedule, predict
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x, told, condition, scalars):
        t = self.schedule.level_of(torch.exp(4 * told))
        at = level(self.schedule, t)
        x_t = x * at.over(x).norm
        x_0 = self.law.posterior_mean(x_t.flatten(1), at).reshape(x.shape)
        return self.weight * convert(x_0, x_t, at, given="x0", wanted=self.predict)

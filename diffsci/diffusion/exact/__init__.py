"""Exact denoisers: laws of data for which everything that a network estimates is known.

With x_t = c x_0 + d eps, x_0 ~ N(m, Sigma) and S = c^2 Sigma + d^2 I:

    E[x_0 | x_t]   = m + c Sigma S^-1 (x_t - c m)
    Cov[x_0 | x_t] = d^2 Sigma S^-1
    flow t -> s    = c_s m + S_s^(1/2) S_t^(-1/2) (x_t - c_t m)

and a mixture is the same per component, weighted by how likely each made x_t. Samplers are tested
against these, so that their error is theirs alone: `law.denoiser(schedule)` is a perfect model.
"""

from diffsci.diffusion.exact.diagonal import DiagonalGaussian
from diffsci.diffusion.exact.distance import spread_by_band, wasserstein2, wasserstein2_each
from diffsci.diffusion.exact.dynamics import LinearDynamics
from diffsci.diffusion.exact.field import StationaryField
from diffsci.diffusion.exact.gaussian import Gaussian
from diffsci.diffusion.exact.kalman import kalman, kalman_mixture
from diffsci.diffusion.exact.law import Law, Perfect
from diffsci.diffusion.exact.mixture import Mixture
from diffsci.diffusion.exact.output_law import (
    AnySampler,
    diagonal_output_law,
    linear_output_law,
    spectral_output_law,
    whole,
)

__all__ = [
    "AnySampler",
    "DiagonalGaussian",
    "Gaussian",
    "Law",
    "LinearDynamics",
    "Mixture",
    "Perfect",
    "StationaryField",
    "diagonal_output_law",
    "kalman",
    "kalman_mixture",
    "linear_output_law",
    "spectral_output_law",
    "spread_by_band",
    "wasserstein2",
    "wasserstein2_each",
    "whole",
]

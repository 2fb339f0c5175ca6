"""What observations y = H x + r, r ~ N(0, R), leave of a normal law: the Kalman analysis.

With P the covariance before and K = P H^T (H P H^T + R)^-1 the gain,

    mean after       = m + K (y - H m)
    covariance after = (I - K H) P (I - K H)^T + K R K^T

in Joseph's form, which stays symmetric and positive. A mixture is analysed per component, and the
components are weighed anew by how well each foretold y. This is what guided sampling must return.

Source: Kalman (1960), A new approach to linear filtering and prediction problems,
doi:10.1115/1.3662552.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.exact.gaussian import Gaussian, check_covariance
from diffsci.diffusion.exact.mixture import Mixture
from diffsci.errors import ConfigError, require


def kalman(
    prior: Gaussian,
    operator: Float[Tensor, "observation dim"],
    noise_covariance: Float[Tensor, "observation observation"],
    values: Float[Tensor, "*batch observation"],
) -> Gaussian:
    """The law of x given y; with `LinearDynamics.rollout` before it, a step of the Kalman filter.

    Args:
        prior: The law of x before, such as a forecast.
        operator: The H.
        noise_covariance: The R.
        values: The y: one set, or one for each example.

    Raises:
        ConfigError: When H P H^T + R is singular.
    """
    _check(noise_covariance, values)
    parts = prior.mean, prior.covariance
    mean, covariance, _ = _analysis(*parts, operator, noise_covariance, values)
    return Gaussian(mean=mean, covariance=covariance)


def kalman_mixture(
    prior: Mixture,
    operator: Float[Tensor, "observation dim"],
    noise_covariance: Float[Tensor, "observation observation"],
    values: Float[Tensor, " observation"],
) -> Mixture:
    """The law of x given y, a mixture again.

    Args:
        prior: The law of x before.
        operator: The H.
        noise_covariance: The R.
        values: The y.

    Raises:
        ConfigError: When H P H^T + R is singular for a component.
    """
    _check(noise_covariance, values)
    parts = prior.means, prior.covariances
    means, covariances, evidence = _analysis(*parts, operator, noise_covariance, values)
    weights = torch.softmax(torch.log(prior.weights) + evidence, dim=0)
    return Mixture(weights=weights, means=means, covariances=covariances)


def _check(noise_covariance: Tensor, values: Tensor) -> None:
    check_covariance("noise_covariance", noise_covariance)
    require(bool(torch.isfinite(values).all()), "values", "NaN or infinity", "finite numbers")


def _analysis(
    mean: Tensor, covariance: Tensor, operator: Tensor, noise_covariance: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    # Mean, covariance and log N(y; H m, H P H^T + R), for any leading dims.
    total = operator @ covariance @ operator.mT + noise_covariance
    root, failed = torch.linalg.cholesky_ex(total)
    # What is left of an observation's variance once those before it are known.
    left = root.diagonal(dim1=-2, dim2=-1) ** 2 / total.diagonal(dim1=-2, dim2=-1)
    rounding = 10 * len(operator) * torch.finfo(total.dtype).eps
    if bool(failed.any()) or not bool((left > rounding).all()):
        raise ConfigError(
            "noise_covariance: H P H^T + R is singular, so the observations contradict or repeat "
            "each other: give R a positive variance for each of them"
        )
    gain = torch.cholesky_solve(operator @ covariance, root).mT
    misfit = (values - mean @ operator.mT)[..., None]
    rest = torch.eye(covariance.shape[-1]).to(covariance) - gain @ operator
    after = rest @ covariance @ rest.mT + gain @ noise_covariance @ gain.mT
    white = torch.linalg.solve_triangular(root, misfit, upper=False).squeeze(-1)
    log_det = 2 * torch.log(root.diagonal(dim1=-2, dim2=-1)).sum(dim=-1)
    evidence = -((white**2).sum(dim=-1) + log_det + len(operator) * math.log(2 * math.pi)) / 2
    return mean + (gain @ misfit).squeeze(-1), (after + after.mT) / 2, evidence

"""The law of what a sampler returns, steps and all, without a single random draw.

With a perfect model of normal data the estimate is affine in x, and a sampler is an affine map of
its start and of its draws. We read that map off the sampler's own code, by sending in zeros and
unit vectors. What then differs from the law of the data is the error of the steps alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Jump, ends, level
from diffsci.diffusion.exact.diagonal import DiagonalGaussian
from diffsci.diffusion.exact.field import StationaryField
from diffsci.diffusion.samplers.base import Denoise, Noise
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import ConfigError

AnySampler = Callable[[Denoise, AnySchedule, Tensor, Noise], Tensor]
"""`sampler(denoise, schedule, x_1, noise) -> x_0`: a family member, or any function like it."""


def whole(schedule: AnySchedule) -> Jump:
    """The jump from the first level that samplers visit to the last, in float64."""
    t = ends(schedule)
    first, last = level(schedule, t[0]), level(schedule, t[1])
    return Jump(first, last)


def linear_output_law(
    sampler: AnySampler,
    denoise: Denoise,
    schedule: AnySchedule,
    mean_1: Float[Tensor, " dim"],
    covariance_1: Float[Tensor, "dim dim"],
) -> tuple[Float[Tensor, " dim"], Float[Tensor, "dim dim"]]:
    """Exact mean and covariance of a sampler's output, for an affine denoiser.

    Args:
        sampler: Affine where `denoise` is: every sampler whose steps do not depend on x.
        denoise: Affine in x_t, as `Gaussian.denoiser`.
        schedule: The noise at each level.
        mean_1: Mean of x_1.
        covariance_1: Covariance of x_1.

    Raises:
        ConfigError: When the output is not affine in x_1.
    """
    unit = torch.eye(len(mean_1)).to(mean_1)
    # As far out as x_1 goes, where a bend would show.
    far = mean_1 + torch.sqrt(covariance_1.diagonal())
    taken: list[int] = []
    probes = torch.cat([torch.zeros_like(unit[:1]), unit, far[None]])
    ends_at = sampler(denoise, schedule, probes, _Silent(taken))
    constant, start = ends_at[:1], ends_at[1:-1] - ends_at[:1]
    _check_affine(ends_at[-1], constant[0] + far @ start, far)
    covariance = start.T @ covariance_1 @ start
    if taken:
        zeros = torch.zeros_like(unit).repeat(len(taken), 1)
        response = sampler(denoise, schedule, zeros, _Impulses(taken, unit)) - constant
        covariance = covariance + response.T @ response
    return constant[0] + mean_1 @ start, covariance


def diagonal_output_law(
    sampler: AnySampler, denoise: Denoise, schedule: AnySchedule, law_1: DiagonalGaussian
) -> DiagonalGaussian:
    """Exact law of a sampler's output, for a denoiser that takes each element by itself.

    All elements are probed at once, so the cost does not grow with their number.

    Args:
        sampler: Affine where `denoise` is.
        denoise: Affine in x_t, element by element, as `DiagonalGaussian.denoiser`.
        schedule: The noise at each level.
        law_1: Law of x_1.

    Raises:
        ConfigError: When the output is not affine in x_1, or elements act on each other.
    """
    std = torch.sqrt(law_1.variance) + torch.zeros_like(law_1.mean)
    mean = law_1.mean + torch.zeros_like(std)
    unit = torch.ones_like(mean)[None]
    signs = 1 - 2 * (torch.arange(mean.numel()).to(mean) % 2).reshape(mean.shape)
    far = mean + signs * std
    taken: list[int] = []
    probes = torch.cat([torch.zeros_like(unit), unit, far[None]])
    constant, one, last = sampler(denoise, schedule, probes, _Silent(taken))
    gain = one - constant
    _check_affine(last, constant + gain * far, far)
    variance = (gain * std) ** 2
    if taken:
        zeros = torch.zeros_like(unit).repeat(len(taken), *[1] * mean.ndim)
        response = sampler(denoise, schedule, zeros, _Impulses(taken, unit)) - constant
        variance = variance + (response**2).sum(dim=0)
    return DiagonalGaussian(mean=constant + gain * mean, variance=variance)


def spectral_output_law(
    sampler: AnySampler, law: StationaryField, schedule: AnySchedule
) -> StationaryField:
    """Exact law of a sampler's output for a stationary field, started at noise alone.

    Waves of one variance fare alike, so each variance is probed once, as a number and not as a
    field: right for samplers that combine whole fields, which is all of ours.

    Args:
        sampler: Affine where the denoiser is.
        law: Of the data.
        schedule: The noise at each level.
    """
    values, wave = torch.unique(law.variance, return_inverse=True)
    probe = DiagonalGaussian(mean=torch.ones_like(values), variance=values)
    _, noise_std = schedule(torch.ones((), dtype=torch.float64))
    cold = DiagonalGaussian(
        mean=torch.zeros_like(values), variance=(noise_std**2).to(values).expand_as(values)
    )
    found = diagonal_output_law(sampler, probe.denoiser(schedule), schedule, cold)
    # The probe's mean is 1, so what comes out is the factor for any mean.
    mean = None if law.mean is None else law.inverse(found.mean[wave] * law.forward(law.mean))
    return StationaryField(basis=law.basis, variance=found.variance[wave], mean=mean)


class _Silent:
    """Noise of zeros that writes down which draws were taken."""

    def __init__(self, taken: list[int]) -> None:
        self._taken = taken

    def __call__(self, like: Tensor, index: int) -> Tensor:
        self._taken.append(index)
        return torch.zeros_like(like)


class _Impulses:
    """Noise in which each block of examples sees one of the draws, as unit vectors."""

    def __init__(self, taken: list[int], unit: Tensor) -> None:
        self._taken, self._unit = taken, unit

    def __call__(self, like: Tensor, index: int) -> Tensor:
        first = self._taken.index(index) * len(self._unit)
        noise = torch.zeros_like(like)
        noise[first : first + len(self._unit)] = self._unit
        return noise


def _check_affine(found: Tensor, expected: Tensor, far: Tensor) -> None:
    off, size = (float(x.abs().max()) for x in (found - expected, expected))
    # Rounding of what went in at the size of x_1, and what grew of it along the steps.
    eps = torch.finfo(found.dtype).eps
    if not off <= 10 * eps**0.5 * size + 100 * eps * float(far.abs().max()):
        raise ConfigError(
            f"sampler: its output is not affine in x_1, by {off:.2g} of {size:.2g}: give the "
            "denoiser of a Gaussian, and a sampler whose steps do not depend on x"
        )

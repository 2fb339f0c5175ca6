"""The objective: regression of the clean field on its noisy copies, one loss per example.

The target of a step is the conditional mean of x_s given x_t and x_0 instead of a drawn x_s: the
same optimum at lower gradient variance. It is linear in x_0, so each step's loss is a weight
times the squared error of x_0, and an objective is the pair (density of levels, weight).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.batch import Batch
from diffsci.diffusion.augmentation import ends, level, level_of
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives._learned import LearnedVariance
from diffsci.diffusion.objectives._slope import log_sigma_slope
from diffsci.diffusion.objectives.base import ByLevel, Direct, Objective
from diffsci.diffusion.parameterisation import quantity, squared_error_ratio
from diffsci.diffusion.schedules.base import Schedule

LEVELS = 33
"""Rows of the stored pair."""


class Losses(NamedTuple):
    """What came of each example.

    Args:
        loss: To be minimised.
        error: Weighted squared error, without gradient: the loss where no variance is learned.
        log_sigma: log(noise_std / signal_scale) of the level drawn; 0 where there are no levels.
    """

    loss: Float[Tensor, " batch"]
    error: Float[Tensor, " batch"]
    log_sigma: Float[Tensor, " batch"]


class PairRow(NamedTuple):
    """What an objective asks for at one level.

    Args:
        noise_to_signal: noise_std / signal_scale.
        weight: Multiplier of the squared error of x_0.
        density: Probability density of log(noise_to_signal).
        product: Of the two: all that matters in expectation.
    """

    noise_to_signal: float
    weight: float
    density: float
    product: float


def loss_per_example(
    denoiser: Denoiser,
    batch: Batch,
    objective: Objective,
    uniform: Float[Tensor, " batch"],
    noise: Float[Tensor, "batch ..."],
) -> Float[Tensor, " batch"]:
    """The loss alone of `losses`."""
    found = losses(denoiser, batch, objective, uniform, noise)
    return found.loss


def losses(
    denoiser: Denoiser,
    batch: Batch,
    objective: Objective,
    uniform: Float[Tensor, " batch"],
    noise: Float[Tensor, "batch ..."],
) -> Losses:
    """What the objective scores in each element, mean over the cells that count.

    Args:
        denoiser: The model; its network alone may be wrapped (DDP, compile).
        batch: Normalised examples; cells that do not count must still hold finite numbers.
        objective: What is trained for.
        uniform: Numbers in (0, 1) that choose the levels, where there are any.
        noise: Standard normal, of the shape of `objective.noise_like(batch.target)`; of noise on
            the target, the model makes its own shape.
    """
    if isinstance(objective, Direct):
        return _of_members(denoiser, batch, objective, noise)
    assert isinstance(objective, ByLevel)
    return _of_levels(denoiser, batch, objective, uniform, noise)


def _of_members(
    denoiser: Denoiser, batch: Batch, objective: Direct, noise: Float[Tensor, "batch member random"]
) -> Losses:
    """Members side by side in one call, and their score."""
    count = objective.count

    def each(given: Tensor | None) -> Tensor | None:
        return None if given is None else given.repeat_interleave(count, dim=0)

    like = batch.target.new_empty(count * len(batch), *batch.target.shape[1:])
    random = noise.flatten(0, 1) if objective.random else None
    found = denoiser.direct(like, each(batch.condition), each(batch.scalars), random)
    members = found.reshape(len(batch), count, *found.shape[1:]).transpose(0, 1)
    loss = mean_over_cells(objective.loss(members, batch.target), batch.mask)
    return Losses(loss, loss.detach(), torch.zeros_like(loss))


def _of_levels(
    denoiser: Denoiser,
    batch: Batch,
    objective: ByLevel,
    uniform: Float[Tensor, " batch"],
    noise: Float[Tensor, "batch channel *space"],
) -> Losses:
    """Weighted squared error of x_0."""
    x_0, noise = batch.target, denoiser.shaped(noise)
    at = level(denoiser.schedule, objective.levels(uniform, denoiser.schedule))
    shaped = at.over(x_0)
    x_t = shaped.signal_scale * x_0 + shaped.noise_std * noise
    predicted = denoiser.output(x_t, at, batch.condition, batch.scalars)
    residual = predicted - quantity(denoiser.predict, x_0, noise, at)
    weight = objective.weight(at.t, denoiser.schedule)
    weight = weight * squared_error_ratio(denoiser.predict, at)
    log_sigma = torch.log(at.noise_to_signal)
    loss = error = weight * mean_over_cells(residual**2, batch.mask)
    if denoiser.learned is not None:
        scale = torch.sqrt(weight).reshape(-1, *(1,) * (x_0.ndim - 1))
        with _full_precision(x_0.device):
            loss = _likelihood(denoiser.learned, log_sigma, scale * residual, batch.mask)
    return Losses(loss, error.detach(), log_sigma)


def pair(objective: ByLevel, schedule: Schedule) -> tuple[PairRow, ...]:
    """Weight and density at levels from the cleanest to the noisiest, evenly in log sigma.

    A probability that the objective clips to the schedule's ends is in no row.
    """
    low, high = level(schedule, ends(schedule).flip(0)).noise_to_signal.log().tolist()
    log_sigma = torch.linspace(low, high, LEVELS, dtype=torch.float64)
    t = level_of(schedule, log_sigma.exp())
    weight = objective.weight(t, schedule)
    density = objective.density(t, schedule) / log_sigma_slope(t, schedule)
    columns = (log_sigma.exp(), weight, density, weight * density)
    return tuple(PairRow(*row) for row in zip(*(c.tolist() for c in columns), strict=True))


def mean_over_cells(
    squared: Float[Tensor, "batch channel *space"], mask: Tensor | None
) -> Float[Tensor, " batch"]:
    """Mean of each example over the cells that count, each times how much where that is told."""
    if mask is None:
        return squared.flatten(1).mean(dim=1)
    counts = mask.to(squared.dtype).flatten(1)
    number = (counts > 0).sum(dim=1) if mask.is_floating_point() else counts.sum(dim=1)
    # An example without a single cell that counts has loss 0, and no gradient.
    return (squared.flatten(1) * counts).sum(dim=1) / number.clamp(min=1)


def _likelihood(
    learned: LearnedVariance,
    log_sigma: Float[Tensor, " batch"],
    residual: Float[Tensor, "batch channel *space"],
    mask: Tensor | None,
) -> Float[Tensor, " batch"]:
    """Mean of e^2 exp(-u) + u over the elements that count."""
    log_variance: Tensor = learned(log_sigma / 4).to(residual.dtype)
    if mask is None:
        squared = learned.turned(residual) ** 2
        return (squared * torch.exp(-log_variance) + log_variance).flatten(1).mean(dim=1)
    counts = mask.to(residual.dtype)
    squared = learned.turned(residual * counts) ** 2
    if learned.basis is not None:
        # Where a share of the cells is left, each wave has about that share of its variance.
        space = tuple(range(2, residual.ndim))
        counts = counts.mean(dim=space, keepdim=True).expand_as(residual)
    terms = squared * torch.exp(-log_variance) + counts * log_variance
    return terms.flatten(1).sum(dim=1) / counts.flatten(1).sum(dim=1).clamp(min=1)


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """No autocast: 8 bits would leak the large waves' energy into the small ones."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)

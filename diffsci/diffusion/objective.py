"""The objective: regression of the clean field on its noisy copies, one loss per example.

The target of a step is the conditional mean of x_s given x_t and x_0 instead of a drawn x_s: the
same optimum at lower gradient variance. It is linear in x_0, so each step's loss is a weight
times the squared error of x_0, and an objective is the pair (density of levels, weight).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from diffsci.batch import Batch
from diffsci.diffusion.augmentation import level
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.base import Objective
from diffsci.diffusion.parameterisation import quantity, squared_error_ratio


def loss_per_example(
    denoiser: Denoiser,
    batch: Batch,
    objective: Objective,
    uniform: Float[Tensor, " batch"],
    noise: Float[Tensor, "batch channel *space"],
) -> Float[Tensor, " batch"]:
    """Weighted squared error of x_0, mean over the cells that count.

    Args:
        denoiser: The model; its network alone may be wrapped (DDP, compile).
        batch: Normalised examples; cells that do not count must still hold finite numbers.
        objective: Which levels, and how to weigh them.
        uniform: Numbers in (0, 1) that choose the levels.
        noise: Standard normal, of the target's shape.
    """
    x_0 = batch.target
    at = level(denoiser.schedule, objective.levels(uniform, denoiser.schedule))
    shaped = at.over(x_0)
    x_t = shaped.signal_scale * x_0 + shaped.noise_std * noise
    predicted = denoiser.output(x_t, at, batch.condition, batch.scalars)
    squared = (predicted - quantity(denoiser.predict, x_0, noise, at)) ** 2
    weight = objective.weight(at.t, denoiser.schedule)
    return weight * squared_error_ratio(denoiser.predict, at) * _mean(squared, batch.mask)


def _mean(
    squared: Float[Tensor, "batch channel *space"], mask: Tensor | None
) -> Float[Tensor, " batch"]:
    if mask is None:
        return squared.flatten(1).mean(dim=1)
    counts = mask.to(squared.dtype).flatten(1)
    # An example without a single cell that counts has loss 0, and no gradient.
    return (squared.flatten(1) * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)

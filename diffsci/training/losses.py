"""The loss as one module, so that one wrapper (DDP) sees the whole forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import Losses, losses
from diffsci.diffusion.objectives.base import Direct, Objective
from diffsci.training.rollout import Stepper, rolled


class Loss(nn.Module):
    """Loss of each example.

    Args:
        denoiser: What is trained.
        objective: What for.
        stepper: Of the task, where steps are rolled out.
        backprop: Steps that the gradient goes back through; none for all.
        weights: How much each channel of the target counts; none for all alike.
    """

    weights: Tensor | None

    def __init__(
        self,
        denoiser: Denoiser,
        objective: Objective,
        stepper: Stepper | None = None,
        backprop: int | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.denoiser, self.objective = denoiser, objective
        self.stepper, self.backprop = stepper, backprop
        like = next(denoiser.parameters())
        own = None if weights is None else torch.tensor(weights, dtype=like.dtype)
        self.register_buffer("weights", None if own is None else own.to(like.device), False)

    def forward(
        self, batch: Batch, uniform: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."]
    ) -> Losses:
        """See `losses`; `rolled`, where there are random numbers of several steps."""
        if self.weights is not None:
            batch = weighted(batch, self.weights)
        if uniform.ndim == 1:
            return losses(self.denoiser, batch, self.objective, uniform, noise)
        assert self.stepper is not None and isinstance(self.objective, Direct)
        return rolled(self.denoiser, batch, self.objective, self.stepper, noise, self.backprop)


def weighted(batch: Batch, weights: Float[Tensor, " channel"]) -> Batch:
    """The same examples, whose channels count so much; with a mean of 1 the loss stays a mean."""
    shaped = weights.reshape(-1, *[1] * (batch.target.ndim - 2))
    counts = shaped.expand_as(batch.target) if batch.mask is None else batch.mask * shaped
    return replace(batch, mask=counts)

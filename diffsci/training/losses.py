"""The loss as one module, so that one wrapper (DDP) sees the whole forward pass."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import Losses, losses
from diffsci.diffusion.objectives.base import Objective


class Loss(nn.Module):
    """Loss of each example.

    Args:
        denoiser: What is trained.
        objective: What for.
    """

    def __init__(self, denoiser: Denoiser, objective: Objective) -> None:
        super().__init__()
        self.denoiser, self.objective = denoiser, objective

    def forward(
        self, batch: Batch, uniform: Float[Tensor, " batch"], noise: Float[Tensor, "batch ..."]
    ) -> Losses:
        """See `losses`."""
        return losses(self.denoiser, batch, self.objective, uniform, noise)

"""Block means: what a coarse instrument or model sees of a fine field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.operators._shape import PerDim, along, check_per_dim, per_dim
from diffsci.diffusion.operators.base import Operator


@dataclass(frozen=True, kw_only=True)
class BlockMean(Operator):
    """Means over blocks of cells, all of which count alike; at the end of a dim a smaller block.

    Observations are `[batch, channel, *coarse]`, each size divided by the factor and rounded up.

    Args:
        factor: Cells in a block along each dim, one number for all dims or one for each.
    """

    factor: PerDim = 4

    def __post_init__(self) -> None:
        check_per_dim("factor", self.factor)

    def apply(
        self, field: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch *observation"]:
        """The means."""
        return along(field, self._means(field))

    def adjoint(
        self, values: Float[Tensor, "batch *observation"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "batch channel *space"]:
        """Each value spread evenly over its block, which shares it."""
        means = self._means(like)
        return along(values, tuple(matrix.mT for matrix in means))

    def _means(self, like: Tensor) -> tuple[Tensor, ...]:
        space = tuple(like.shape[2:])
        factors = per_dim("factor", self.factor, space)
        return tuple(
            _means(size, factor, like.dtype, like.device)
            for size, factor in zip(space, factors, strict=True)
        )


@lru_cache(maxsize=32)
def _means(
    size: int, factor: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "block cell"]:
    with torch.inference_mode(False):
        block = torch.arange(size) // factor
        belongs = (block == torch.arange(int(block[-1]) + 1)[:, None]).double()
        return (belongs / belongs.sum(dim=1, keepdim=True)).to(device, dtype)

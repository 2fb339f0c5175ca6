"""Line means: what is seen by looking along one dim, as of a column or a zonal mean."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.operators.base import Operator
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class LineMean(Operator):
    """Means along all cells of one dim, all of which count alike.

    Observations are `[batch, channel, *rest]`, without that dim.

    Args:
        axis: Number of the space dim, from 0.
    """

    axis: int = 0

    def __post_init__(self) -> None:
        require(self.axis >= 0, "axis", self.axis, "the number of a space dim, from 0")

    def apply(
        self, field: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch *observation"]:
        """The means."""
        return field.mean(dim=self._dim(field))

    def adjoint(
        self, values: Float[Tensor, "batch *observation"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "batch channel *space"]:
        """Each value spread evenly over its line."""
        dim = self._dim(like)
        size = like.shape[dim]
        sizes = [len(values), *like.shape[1:]]
        return (values / size).unsqueeze(dim).expand(sizes).contiguous()

    def _dim(self, field: Tensor) -> int:
        dims = field.ndim - 2
        require(self.axis < dims, "axis", self.axis, f"below {dims}, the number of space dims")
        return self.axis + 2

"""Held cells: what is known of a state before it is drawn, and stays what it is known to be.

Cells that never count, such as land in an ocean model, hold the value that stood there in training,
0, the mean. The loss says nothing of what the network makes of them, so that left alone they would
drift from lead to lead and be read by the cells beside them. They are put back in the estimate at
every call of the network, which makes its input what it was trained on, and in the state. So is the
rim of a limited area, where the task is given it at each valid time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """Cells of the states of one draw that are known.

    Args:
        cells: Which, of every state.
        values: What they hold, normalised; elsewhere without meaning.
    """

    cells: Bool[Tensor, "channel *space"]
    values: Float[Tensor, "row step channel *space"]

    def kept(
        self, states: Float[Tensor, "row step channel *space"]
    ) -> Float[Tensor, "row step channel *space"]:
        """States that hold them."""
        return torch.where(self.cells, self.values.to(states), states)

    def over(
        self, denoise: Callable[[Tensor, Tensor], Tensor], known: Float[Tensor, "row target *space"]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The same estimates with what is known in place.

        Args:
            denoise: Estimates the scaled target.
            known: The scaled target of `values`.
        """
        cells = self.cells.repeat(self.values.shape[1], *[1] * (self.cells.ndim - 1))

        def held(x_t: Tensor, t: Tensor) -> Tensor:
            estimate = denoise(x_t, t)
            return torch.where(cells, known.to(estimate), estimate)

        return held

"""Bounds: the least and the largest value that a variable can have, kept in every state.

They are declared by the catalog entry (`minimum` and `maximum` of a variable), and stand in stores
as the CF attributes `valid_min` and `valid_max`. A state is brought within them before it is fed
back and before it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.data.fields import Channel
from diffsci.data.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Least and largest physical value of each channel; none where there is none.

    Args:
        pairs: One for each channel.
    """

    pairs: tuple[tuple[float | None, float | None], ...] = ()

    @classmethod
    def of(cls, channels: tuple[Channel, ...]) -> Bounds:
        """Those that the channels declare."""
        told = [channel.variable_attributes for channel in channels]
        return cls(pairs=tuple((_number(a, "valid_min"), _number(a, "valid_max")) for a in told))

    @property
    def any(self) -> bool:
        """Whether anything is bounded."""
        return any(low is not None or high is not None for low, high in self.pairs)

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        low = np.array([-np.inf if low is None else low for low, _ in self.pairs])
        high = np.array([np.inf if high is None else high for _, high in self.pairs])
        return low, high

    def keep(
        self, states: Float[Tensor, "row step channel *space"], statistics: Statistics
    ) -> Float[Tensor, "row step channel *space"]:
        """Normalised states within the bounds; NaN stays NaN."""
        if not self.any:
            return states
        shape = (-1, *[1] * (states.ndim - 3))
        low, high = (
            torch.as_tensor(statistics.normalised(each)).to(states).reshape(shape)
            for each in self._arrays()
        )
        return torch.clamp(states, low, high)

    def physical(
        self, states: Float[np.ndarray, "row lead channel *space"]
    ) -> Float[np.ndarray, "row lead channel *space"]:
        """Physical states within the bounds, which rounding may have left by the last bit."""
        if not self.any:
            return states
        shape = (-1, *[1] * (states.ndim - 3))
        low, high = (each.astype(np.float32).reshape(shape) for each in self._arrays())
        kept: np.ndarray = np.clip(states, low, high)
        return kept


def _number(attributes: dict[str, str], key: str) -> float | None:
    try:
        return float(attributes[key])
    except (KeyError, ValueError):
        return None

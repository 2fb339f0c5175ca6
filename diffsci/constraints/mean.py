"""The mean over the domain, as where mass is conserved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.constraints.base import (
    Equations,
    Names,
    Setting,
    Value,
    check_names,
    per_channel,
)


@dataclass(frozen=True, kw_only=True)
class Mean(Equations):
    """The mean over the domain, cells by their size: a number, or that of the last given frame.

    Args:
        value: `given` keeps the mean of the frame that a forecast starts from, so that mass is
            conserved; or one number, or one for each channel, in physical units.
        channels: Names of those that it holds for; empty for all.
    """

    value: Value = "given"
    channels: Names = ()

    def __post_init__(self) -> None:
        check_names(self.channels)
        if self.value != "given":
            count = len(self.channels) or (len(self.value) if isinstance(self.value, tuple) else 1)
            per_channel("value", self.value, count)

    @property
    def needs_given(self) -> bool:
        """Whether the mean is that of a frame."""
        return self.value == "given"

    def check(self, setting: Setting) -> None:
        """Needs channels of these names."""
        self.values(setting)

    def rows(self, setting: Setting) -> Float[np.ndarray, "row channel *space"]:
        """Cell weights, in each channel."""
        numbers = setting.numbers(self.channels)
        rows = np.zeros((len(numbers), *setting.shape))
        weights = setting.grid.cell_weights / setting.grid.cell_weights.size
        for row, number in enumerate(numbers):
            rows[row, number] = weights
        return rows

    def values(self, setting: Setting) -> Float[np.ndarray, " row"] | None:
        """The numbers."""
        count = len(setting.numbers(self.channels))
        return None if self.value == "given" else np.array(per_channel("value", self.value, count))

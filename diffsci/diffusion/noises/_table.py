"""A float64 table of numbers, in the dtype and on the device of whoever asks for it."""

from __future__ import annotations

import torch
from torch import Tensor


class Table:
    """Made once in float64, converted once for each dtype and device.

    Args:
        values: In float64, on the CPU.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._converted: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, field: Tensor) -> Tensor:
        """The values as `field` needs them."""
        key = field.dtype, field.device
        if key not in self._converted:
            # What is first made while sampling must still serve autograd.
            with torch.inference_mode(False):
                self._converted[key] = self._values.to(field)
        return self._converted[key]

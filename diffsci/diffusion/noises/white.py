"""White noise: independent in every cell."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffsci.diffusion.noises.base import NoiseShape, Shaping
from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class White(NoiseShape):
    """Independent in every cell, the plain choice."""

    is_white = True

    def check(self, grid: Grid) -> None:
        """Every grid will do."""

    def shaping(self, grid: Grid) -> Shaping:
        """The identity."""

        def same(white: Tensor) -> Tensor:
            return white

        return same

"""Fractions skill score: are events there, if not in the very cell.

In a neighbourhood of each cell, the share of cells above a threshold, averaged over members,
against that of the truth: 1 - sum (f - o)^2 / sum (f^2 + o^2). A displaced shower is wrong in each
cell, and right in a neighbourhood larger than the displacement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import uniform_filter1d  # type: ignore[import-untyped]

from diffsci.errors import require
from diffsci.evaluation.scores.base import OfEvents, Pairs


@dataclass(frozen=True, kw_only=True)
class Fractions(OfEvents):
    """Fractions skill score of exceeding a threshold, in neighbourhoods; 1 is perfect.

    Args:
        cells: Of a neighbourhood along each dim, an odd number; beyond a side there is no event.

    Source:
        Roberts, Lean (2008), Scale-selective verification of rainfall accumulations,
        doi:10.1175/2007MWR2123.1; members averaged as in Duc et al. (2013),
        doi:10.3402/tellusa.v65i0.18171.
    """

    cells: int = 5
    goal = "1"
    bounds = (0.0, 1.0)

    def __post_init__(self) -> None:
        fits = self.cells >= 1 and self.cells % 2 == 1
        require(fits, "cells", self.cells, "an odd number, 1 or more")
        super().__post_init__()

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """Area means of the squared difference of the shares, and of the sum of their squares."""
        limit = self.limit(pairs)
        forecast = self._shares((pairs.members > limit).mean(axis=1), pairs.periodic)
        truth = self._shares((pairs.truth > limit).astype(np.float64), pairs.periodic)
        means = (pairs.average((forecast - truth) ** 2), pairs.average(forecast**2 + truth**2))
        return np.stack(means, axis=1)

    def _shares(self, events: np.ndarray, periodic: tuple[bool, ...]) -> np.ndarray:
        for axis in range(1, events.ndim):
            around = bool(periodic) and periodic[axis - 1]
            mode = "wrap" if around else "constant"
            events = uniform_filter1d(events, self.cells, axis=axis, mode=mode)
        return events

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """1 minus the ratio; 1 where there is no event at all."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = means[..., 0] / means[..., 1]
        return np.asarray(1 - np.where(means[..., 1] > 0, ratio, 0.0))

    def unit(self, unit: str) -> str:
        """None."""
        return "1"

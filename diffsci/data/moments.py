"""Moments: mean and standard deviation of many arrays, summed block by block in float64."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

_FLOOR = 0.1
"""Least standard deviation of a cell, as a share of its channel's mean one."""


class Moments:
    """Sums of values and squares of normalised arrays, cell by cell, in float64.

    What is normalised is of order 1, so that the textbook variance is safe.

    Args:
        odd: Which channels are not centred.
    """

    def __init__(self, odd: Bool[np.ndarray, " channel"]) -> None:
        self.odd = odd
        self.total: np.ndarray = np.zeros(())
        self.square: np.ndarray = np.zeros(())
        self.count = 0
        self.counts: np.ndarray = np.zeros(())

    def add(
        self,
        values: Float[np.ndarray, "n channel *space"],
        counts: Bool[np.ndarray, "n channel *space"] | None = None,
    ) -> None:
        """Take in a block.

        Args:
            values: The arrays.
            counts: Which of their values do; none where all do.
        """
        if counts is not None:
            values = np.where(counts, values, 0.0)
            self.counts = self.counts + counts.sum(axis=0)
        self.total = self.total + values.sum(axis=0)
        self.square = self.square + (values**2).sum(axis=0)
        self.count += len(values)

    def scale(self, *, cell_by_cell: bool) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation: of each cell, or of each channel with space axes of 1."""
        if self.counts.ndim:
            return self._of_some(cell_by_cell=cell_by_cell)
        mean, square = self.total / self.count, self.square / self.count
        axes = tuple(range(1, mean.ndim))
        if cell_by_cell:
            std = np.sqrt(np.maximum(square - mean**2, 0.0))
            return mean, np.maximum(std, _FLOOR * std.mean(axis=axes, keepdims=True))
        mean = mean.mean(axis=axes, keepdims=True)
        mean[self.odd] = 0.0
        variance = square.mean(axis=axes, keepdims=True) - mean**2
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def _of_some(self, *, cell_by_cell: bool) -> tuple[np.ndarray, np.ndarray]:
        """The same where not all values count; a cell without any has mean 0 and the usual std."""
        axes = tuple(range(1, self.total.ndim))
        often = np.maximum(self.counts, 1)
        if cell_by_cell:
            mean = self.total / often
            std = np.sqrt(np.maximum(self.square / often - mean**2, 0.0))
            seen = self.counts > 0
            typical = std.sum(axis=axes, keepdims=True) / np.maximum(
                seen.sum(axis=axes, keepdims=True), 1
            )
            return mean, np.where(seen, np.maximum(std, _FLOOR * typical), typical)
        number = np.maximum(self.counts.sum(axis=axes, keepdims=True), 1)
        mean = self.total.sum(axis=axes, keepdims=True) / number
        mean[self.odd] = 0.0
        variance = self.square.sum(axis=axes, keepdims=True) / number - mean**2
        return mean, np.sqrt(np.maximum(variance, 0.0))

"""Sums: count, mean and squared deviations of blocks, put together in float64.

A block is summed about its own mean, and blocks are joined by the pairwise formula, so that a mean
of 1e5 beside a spread of 3 costs no digits. Source: Chan, Golub, LeVeque (1983), Algorithms for
computing the sample variance, doi:10.1080/00031305.1983.10483115.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

_PIECE = 2**15
"""Numbers that are summed at a time: 256 kB as float64."""


@dataclass(frozen=True)
class Sums:
    """Of the numbers of one variable; what is missing is not among them.

    Args:
        count: How many.
        mean: Of them.
        squares: Sum of squared deviations from that mean.
        low: The least; infinite where there are none.
        high: The greatest.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def of(cls, values: np.ndarray) -> Sums:
        """Those of one block."""
        if not values.size:
            return cls()
        # NaN and infinities come through to the extremes, so that these tell whether there are any.
        low, high = float(values.min()), float(values.max())
        if math.isfinite(low) and math.isfinite(high):
            return cls._of_finite(values.reshape(-1), low, high)
        known = values[np.isfinite(values)]
        return (
            cls._of_finite(known, float(known.min()), float(known.max())) if known.size else cls()
        )

    @classmethod
    def _of_finite(cls, known: np.ndarray, low: float, high: float) -> Sums:
        """In pieces that stay in the processor's cache, all of one length but the last."""
        counts, means, squares = [], [], []
        for first in range(0, len(known), _PIECE):
            wide = known[first : first + _PIECE].astype(np.float64)
            mean = float(wide.sum()) / len(wide)
            wide -= mean
            counts.append(len(wide))
            means.append(mean)
            squares.append(float(wide @ wide))
        count, weights = len(known), np.array(counts, dtype=np.float64)
        # Means about the first of them: what they have in common costs no digits.
        apart = np.array(means) - means[0]
        middle = float(weights @ apart) / count
        spread = float(weights @ (apart - middle) ** 2)
        return cls(count, means[0] + middle, math.fsum(squares) + spread, low, high)

    def with_(self, other: Sums) -> Sums:
        """Those of both."""
        if not self.count or not other.count:
            return self if self.count else other
        count, apart = self.count + other.count, other.mean - self.mean
        return Sums(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart**2 * self.count * other.count / count,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @classmethod
    def merged(cls, parts: list[Sums]) -> Sums:
        """Those of all, in their order."""
        total = cls()
        for part in parts:
            total = total.with_(part)
        return total

    def to_dict(self) -> dict[str, float | int]:
        """Plain values."""
        return asdict(self)

    def statistics(self) -> dict[str, float | int | None]:
        """Count, mean, standard deviation, least and greatest."""
        std = float(np.sqrt(self.squares / self.count)) if self.count else None
        mean = self.mean if self.count else None
        ends = {"min": self.low, "max": self.high} if self.count else {"min": None, "max": None}
        return {"count": self.count, "mean": mean, "std": std, **ends}

"""Sums: count, mean and squared deviations of fields, put together without rounding.

A field is summed about its own mean, so that a mean of 1e5 beside a spread of 3 costs no digits.
What is had of each is then added as integers in units of 2^-1074, of which every float64 is a whole
number: such a sum is exact, so that it does not depend on the order of the fields, nor on how they
were dealt out to blocks and processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction

import numpy as np

_PIECE = 2**15
"""Numbers that are summed at a time: 256 kB as float64."""

_DIGITS = 1074
"""Binary digits after the point of the smallest float64."""


@dataclass(frozen=True)
class Sums:
    """Of the numbers of one variable; what is missing is not among them.

    Args:
        count: How many.
        total: Their sum, in units of 2^-1074.
        squares: The sum of their squares, in units of 2^-2148.
        low: The least; infinite where there are none.
        high: The greatest.
    """

    count: int = 0
    total: int = 0
    squares: int = 0
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def of(cls, values: np.ndarray) -> Sums:
        """Those of one field."""
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
        parts = []
        for first in range(0, len(known), _PIECE):
            wide = known[first : first + _PIECE].astype(np.float64)
            mean = float(wide.sum()) / len(wide)
            wide -= mean
            about, off = _whole(mean), _whole(float(wide.sum()))
            square = (_whole(float(wide @ wide)) << _DIGITS) + 2 * about * off
            total = len(wide) * about + off
            parts.append(cls(len(wide), total, square + len(wide) * about**2, low, high))
        return cls.merged(parts)

    @classmethod
    def merged(cls, parts: Iterable[Sums]) -> Sums:
        """Those of all, in any order."""
        parts = list(parts)
        return cls(
            sum(part.count for part in parts),
            sum(part.total for part in parts),
            sum(part.squares for part in parts),
            min((part.low for part in parts), default=math.inf),
            max((part.high for part in parts), default=-math.inf),
        )

    @property
    def mean(self) -> float:
        """Of the numbers, of which there are some."""
        return float(Fraction(self.total, self.count << _DIGITS))

    @property
    def std(self) -> float:
        """Their standard deviation about the mean."""
        squared = self.squares * self.count - self.total**2
        return math.sqrt(Fraction(squared, self.count**2 << 2 * _DIGITS))

    def to_dict(self) -> dict[str, float | int]:
        """Plain values."""
        return asdict(self)

    def statistics(self) -> dict[str, float | int | None]:
        """Count, mean, standard deviation, least and greatest."""
        if not self.count:
            return {"count": 0, "mean": None, "std": None, "min": None, "max": None}
        ends = {"min": self.low, "max": self.high}
        return {"count": self.count, "mean": self.mean, "std": self.std, **ends}


def _whole(number: float) -> int:
    """A float64 in units of 2^-1074."""
    above, below = number.as_integer_ratio()
    return above * ((1 << _DIGITS) // below)

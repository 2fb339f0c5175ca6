"""Section `sample.store`: how the ensemble is stored."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from diffsci.errors import require

_PRECISION = re.compile(r"float32|float16|bits:([1-9]|1[0-9]|2[0-2])")


@dataclass(frozen=True, kw_only=True)
class Storing:
    """The forecast store's format, and what of the values it keeps.

    Args:
        format: Of Zarr; 2 is for readers that know no 3.
        precision: `float32` keeps all; `bits:N` rounds to N bits of the significand (7 keep two
            digits, 10 three), which compresses; `float16` is for values below 65504.
        accuracy: Variables that are packed to 16-bit integers instead, with the largest error that
            this may make, in the variable's unit.
    """

    format: Literal[2, 3] = 3
    precision: str = "float32"
    accuracy: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fits = _PRECISION.fullmatch(self.precision) is not None
        require(
            fits, "precision", self.precision, "float32, float16, or bits:N with N from 1 to 22"
        )
        for name, error in self.accuracy.items():
            require(error > 0, f"accuracy.{name}", error, "more than 0, in the variable's unit")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        accuracy = dict(sorted(self.accuracy.items()))
        return {"format": self.format, "precision": self.precision, "accuracy": accuracy}

"""Section `calibrate`: spread, mean and intervals of the ensemble, fitted on validation cases."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """What members are brought to, after they were drawn, by how validation cases came out.

    Args:
        members: Of each validation case; every ensemble is spread about the mean of so many.
        cases: Of the validation part, evenly spread, at most; null takes all.
        every: Take every n-th possible start of each validation trajectory, as `sample.every` does
            of the test part: where states change with the time since the start, give the same.
        bias: Whether the mean error of each field and lead is taken out, as far as it is no chance.
        bands: Of wavenumber, each with a spread factor of its own; 1 is one factor for the field.
        levels: Of the conformal intervals; empty makes none.
    """

    members: int = 16
    cases: int | None = 64
    every: int = 1
    bias: bool = True
    bands: int = 1
    levels: tuple[float, ...] = (0.9,)

    def __post_init__(self) -> None:
        require(self.members >= 2, "members", self.members, "2 or more: one has no spread")
        fits = self.cases is None or self.cases >= 2
        require(fits, "cases", self.cases, "2 or more, or null for all")
        require(self.every >= 1, "every", self.every, "1 or more")
        require(self.bands >= 1, "bands", self.bands, "1 or more")
        fits = all(0 < level < 1 for level in self.levels)
        fits = fits and list(self.levels) == sorted(set(self.levels))
        require(fits, "levels", self.levels, "shares between 0 and 1, rising, such as [0.5, 0.9]")
        for level in self.levels:
            needed = fewest_cases(level)
            fits = self.cases is None or self.cases >= needed
            require(fits, "cases", self.cases, f"{needed} or more, which levels: {level:g} takes")


def fewest_cases(level: float) -> int:
    """Validation cases without which a conformal interval of this level would be infinite."""
    return math.ceil(level / (1 - level) - 1e-9)

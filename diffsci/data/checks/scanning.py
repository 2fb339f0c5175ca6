"""Scanning: what is wrong with the values of a variable, block by block, in one pass over them.

A block may be all of it. What is told at the end is the same however the values were cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float32

from diffsci.data.canonical import times as stamps
from diffsci.data.checks.problems import Report
from diffsci.data.ranges import WITHIN

_FILLS = (-9999, -999, -99999, -32768, -32767, -999.9, -1000, 9999, 99999, 32766, 32767)
HUGE = 1e15
"""What no field comes up to, unless it is so throughout."""


@cache
def fills(conversion: tuple[float, float]) -> dict[float, float]:
    """Usual fill values of a file, by what they are in the units that its values come to."""
    scale, offset = conversion
    return {float(np.float32(np.float32(v) * scale + offset)): float(v) for v in _FILLS}


@dataclass
class Scan:
    """Counts and extremes of one variable.

    Args:
        name: Of the variable.
        missing: What a NaN of it means.
        unit: Of its values.
        valid: The range outside of which the file says that values are missing, in words.
        conversion: Factor and offset from the file's units to `unit`.
    """

    name: str
    missing: str = "forbidden"
    unit: str = "1"
    valid: str = ""
    conversion: tuple[float, float] = (1.0, 0.0)
    size: int = 0
    bad: int = 0
    endless: int = 0
    first: str = ""
    low: float = np.inf
    high: float = -np.inf
    suspects: dict[float, tuple[int, str]] = field(default_factory=dict)
    pattern: Bool[np.ndarray, "*space"] | None = None
    moved: str = ""
    empty: str = ""
    lost: int = 0
    whole: bool = False

    @classmethod
    def of(cls, name: str, attributes: Mapping[Any, Any]) -> Scan:
        """The scan of a canonical variable, which has seen nothing yet."""
        valid = attributes.get(WITHIN)
        return cls(
            name=name,
            missing=str(attributes.get("missing", "forbidden")),
            unit=str(attributes.get("units", "1")),
            conversion=tuple(attributes.get("conversion", (1.0, 0.0))),
            valid="" if valid is None else f"{valid[0]:g} to {valid[1]:g}",
        )

    def add(
        self, values: Float32[np.ndarray, "trajectory time stack *space"], labelled: xr.DataArray
    ) -> None:
        """Take in a block.

        Args:
            values: As they will be used.
            labelled: The same dims and coordinates, for places in words.
        """
        self.size += values.size
        if not values.size:
            return
        # NaN and infinities come through to the extremes, so that these tell whether there are any.
        low, high = float(values.min()), float(values.max())
        whole = math.isfinite(low) and math.isfinite(high)
        self.whole = self.whole or whole
        if not whole or self.missing == "static":
            fine = np.isfinite(values)
            if whole:
                self._pattern(fine, labelled)
            else:
                self._gaps(values, fine, labelled)
                values = values[fine]
                if not values.size:
                    return
                low, high = float(values.min()), float(values.max())
        usual = fills(self.conversion)
        odd = {value for value in (low, high) if value in usual or abs(value) >= HUGE}
        for value in odd:
            hits = values == value
            count, where = self.suspects.get(value, (0, ""))
            if not where and values.ndim == labelled.ndim:
                where = place(labelled, np.argwhere(hits)[0])
            self.suspects[value] = (count + int(hits.sum()), where)
        if odd:
            rest = values[~np.isin(values, list(odd))]
            low, high = (float(rest.min()), float(rest.max())) if rest.size else (np.inf, -np.inf)
        self.low, self.high = min(self.low, low), max(self.high, high)

    def _gaps(self, values: np.ndarray, fine: np.ndarray, labelled: xr.DataArray) -> None:
        allowed = np.isnan(values) if self.missing != "forbidden" else np.zeros_like(fine)
        bad = ~fine & ~allowed
        if bad.any():
            self.first = self.first or place(labelled, np.argwhere(bad)[0])
            self.bad += int(bad.sum())
            self.endless += int(np.isinf(values).sum())
        if self.missing != "moving":
            self._pattern(fine, labelled)
        if self.missing != "static":
            none = ~fine.any(axis=tuple(range(2, fine.ndim)))
            self.lost += int(none.sum()) * math.prod(fine.shape[2:])
            if none.any() and not self.empty:
                lead = labelled.isel({dim: 0 for dim in labelled.dims[2:]}, drop=True)
                self.empty = place(lead, np.argwhere(none)[0])

    def _pattern(self, fine: np.ndarray, labelled: xr.DataArray) -> None:
        """Whether the gaps are those of the first state."""
        self.pattern = fine[0, 0] if self.pattern is None else self.pattern
        differ = fine != self.pattern
        if differ.any() and not self.moved:
            self.moved = place(labelled, np.argwhere(differ)[0])

    def tell(self, report: Report) -> None:
        """Tell what was found."""
        if self.bad:
            report.add(
                "nan",
                f"{self.bad} of {self.size} values are {self._what()}, the first at {self.first}"
                + (", all of them in fields without any value" if self._lost else "")
                + self._by_range(),
                self._cure(),
                variable=self.name,
            )
        if self.moved and self.missing == "static":
            report.add(
                "mask-moves",
                f"`missing: static`, but the gaps are not those of the first state at {self.moved}"
                + self._by_range(),
                "write `missing: moving`, or mend the file" + self._better(),
                variable=self.name,
            )
        if self.empty and self.missing == "moving":
            report.add(
                "field-missing",
                f"no value at all at {self.empty}",
                "leave such times out of the file: no window crosses a gap",
                variable=self.name,
            )
        for value, (count, where) in self.suspects.items():
            if self._is_fill(value):
                scale, offset = self.conversion
                written = fills(self.conversion).get(value, (value - offset) / scale)
                report.add(
                    "sentinel",
                    f"{count} of {self.size} values are {written:g}, which looks like a fill value"
                    + (f", the first at {where}" if where else ""),
                    f"say `variables: {{{self.name}: {{fill: {written:g}, missing: static}}}}` in "
                    "the entry, or `missing: moving`, or declare it as `_FillValue` in the file",
                    variable=self.name,
                )
                return

    @property
    def _lost(self) -> bool:
        """Whether what is missing is so in whole fields."""
        return self.lost == self.bad and not self.endless

    def _what(self) -> str:
        """What values are that are no numbers."""
        beyond = f"infinite, or beyond {np.finfo(np.float32).max:.2g}, the most that float32 holds"
        if not self.endless:
            return "NaN"
        rest = self.bad - self.endless
        return f"no numbers ({rest} NaN, {self.endless} {beyond})" if rest else beyond

    def _by_range(self) -> str:
        """That gaps may come of the file's valid range."""
        told = f" (missing is also what lies outside the file's valid range, {self.valid})"
        return told if self.valid else ""

    def _better(self) -> str:
        """What to do about a valid range that is wrong."""
        return ", or say a better `valid_range: [LOW, HIGH]` in the entry" if self.valid else ""

    def _cure(self) -> str:
        """What to do about NaN that nothing declares, by where they are."""
        if self.endless == self.bad:
            return "correct them in the file, in units of another scale where they are meant"
        if self._lost:
            return "leave such times out of the file: no window crosses a gap"
        if self.moved or self.whole:
            kind = "`missing: moving`: they are not the same cells at all times"
        else:
            kind = "`missing: static` (land, say): they are the same cells at all times"
        declared = f"`variables: {{{self.name}: {{...}}}}` in the entry"
        return (
            f"fill or cut them out of the file, or declare them under {declared} as {kind}"
            f"{self._better()}; `diffsci data describe` writes a catalog entry for a bare path"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "pattern"}
        told["suspects"] = [[value, *found] for value, found in self.suspects.items()]
        told["pattern"] = None if self.pattern is None else self.pattern.tolist()
        return told

    @classmethod
    def merged(cls, name: str, parts: list[dict[str, Any]]) -> Scan:
        """The scan of blocks that `to_dict` told, in their order."""
        first = {key: parts[0][key] for key in ("missing", "unit", "valid")}
        whole = cls(name=name, conversion=tuple(parts[0]["conversion"]), **first)
        for part in parts:
            whole.size += part["size"]
            whole.bad += part["bad"]
            whole.endless += part.get("endless", 0)  # what an older version began has none
            whole.lost += part["lost"]
            whole.whole = whole.whole or part["whole"]
            whole.low, whole.high = min(whole.low, part["low"]), max(whole.high, part["high"])
            for key in ("first", "moved", "empty"):
                setattr(whole, key, getattr(whole, key) or part[key])
            for value, count, where in part["suspects"]:
                known = whole.suspects.get(value, (0, where))
                whole.suspects[value] = (known[0] + count, known[1])
            if part["pattern"] is not None:
                pattern = np.array(part["pattern"], dtype=bool)
                whole.pattern = pattern if whole.pattern is None else whole.pattern
                if not whole.moved and (pattern != whole.pattern).any():
                    whole.moved = "a later block"
        return whole

    @property
    def constant(self) -> float | None:
        """The one value it has; none where it varies."""
        values = [*self.suspects, *([self.low, self.high] if self.low <= self.high else [])]
        return values[0] if values and not self.bad and min(values) == max(values) else None

    def _is_fill(self, extreme: float) -> bool:
        """Whether an extreme value is none of the data: it must stand far apart from all others.

        A usual fill value does so by more than half the range of the others; any huge number by a
        factor of 1e4, since data may be huge throughout.
        """
        if self.low > self.high:
            return False
        if extreme in fills(self.conversion):
            apart = max(self.low - extreme, extreme - self.high)
            return apart > 0.5 * (self.high - self.low)
        return abs(extreme) >= HUGE and abs(extreme) >= 1e4 * max(abs(self.low), abs(self.high))


def place(variable: xr.DataArray, index: np.ndarray) -> str:
    """Coordinates of one value in words: `time=2001-06-01T00:00:00, latitude=15`."""
    words = []
    for dim, i in zip(variable.dims, index, strict=True):
        if variable.sizes[dim] == 1 and dim not in variable.coords:
            continue
        stamp = variable[dim].values[i] if dim in variable.coords else int(i)
        number = isinstance(stamp, int | float | np.integer | np.floating)
        date = not number and stamps.is_dates(np.asarray([stamp]))
        words.append(f"{dim}={stamps.name(stamp) if number or date else stamp}")
    return ", ".join(words)

"""Fill values that no file declares, such as -9999 and 1e20: seen in every field that is scored.

A fill value stands far apart from all other values of its variable, in the forecasts and in the
truth, so that the ranges of what was read before are kept beside the block at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from diffsci.data.checks.scanning import HUGE, fills
from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.evaluation.blocks import Through

_DEFAULTS = ("9.96921e+36", "3.40282e+38")
"""That of NetCDF, and the largest float32."""

Ranges = dict[int, tuple[float, float]]
"""Channel number -> least and largest value that was no fill value."""


@dataclass(frozen=True, kw_only=True)
class Watched(Through):
    """Values that are refused where a fill value is among them.

    Args:
        values: What is read.
        name: `truth`, or the forecast's file.
        channels: What each channel is.
        conversions: Channel number -> scale and offset from the file's units.
        ranges: Of what was read so far; one for forecasts and truth.
    """

    name: str
    channels: tuple[Channel, ...]
    conversions: dict[int, tuple[float, float]] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=dict, repr=False)

    def read(
        self, cases: slice, leads: slice, channel: int
    ) -> Float[np.ndarray, "case member lead *space"]:
        """Those values.

        Raises:
            DataError: For a fill value.
        """
        found = self.values.read(cases, leads, channel)
        if found.size:
            self._look(found, channel)
        return found

    def _look(self, found: np.ndarray, channel: int) -> None:
        # NaN is left out; infinities are told elsewhere.
        low, high = float(found.min()), float(found.max())
        if np.isnan(low):
            low, high = (float(each.reduce(found, axis=None)) for each in (np.fmin, np.fmax))
        if not (np.isfinite(low) and np.isfinite(high)):
            return
        usual = fills(self.conversions.get(channel, (1.0, 0.0)))
        odd = {value for value in (low, high) if value in usual or abs(value) >= HUGE}
        if odd:
            rest = found[~np.isin(found, list(odd)) & ~np.isnan(found)]
            low, high = (float(rest.min()), float(rest.max())) if rest.size else (np.inf, -np.inf)
        known = self.ranges.get(channel, (np.inf, -np.inf))
        low, high = min(low, known[0]), max(high, known[1])
        if low <= high:
            for value in sorted(odd):
                count = int((found == value).sum())
                if _is_apart(value, low, high, count):
                    self._refuse(value, usual, channel, count)
                low, high = min(low, value), max(high, value)
            self.ranges[channel] = (low, high)

    def _refuse(self, value: float, usual: dict[float, float], channel: int, count: int) -> None:
        scale, offset = self.conversions.get(channel, (1.0, 0.0))
        written = usual.get(value, (value - offset) / scale)
        variable = self.channels[channel].variable
        raise DataError(
            f"{self.name}: {self.channels[channel].name} is {written:g} in at least {count} "
            "values, which looks like a fill value that the file does not declare; nothing was "
            f"scored; mend the file by `ds['{variable}'] = ds['{variable}'].where(ds['{variable}'] "
            f"{'<' if value > 0 else '>'} {written / 2:g})`, and where gaps are meant, say so by "
            "`--missing static` or `moving`"
        )


def by_channel(
    channels: tuple[Channel, ...], conversions: Mapping[str, tuple[float, float]]
) -> dict[int, tuple[float, float]]:
    """How each channel came to its units, by the number of the channel."""
    return {
        number: conversions[channel.variable]
        for number, channel in enumerate(channels)
        if channel.variable in conversions
    }


def _is_apart(value: float, low: float, high: float, count: int) -> bool:
    """Whether a value is none of the data, which lies from `low` to `high` (`Scan`)."""
    if abs(value) >= HUGE:
        # A simulation that diverges comes to large numbers, too: odd ones, each once.
        written = f"{abs(value):.5e}"
        plain = count > 1 or "." not in f"{abs(value):.4g}" or written in _DEFAULTS
        return plain and abs(value) >= 1e4 * max(abs(low), abs(high))
    apart = max(low - value, value - high)
    return apart > 0.5 * (high - low) and apart > 0.1 * abs(value)

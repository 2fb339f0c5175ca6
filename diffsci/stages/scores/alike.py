"""Whether forecast and truth can be in one unit: nothing but the values tells where none is said.

The first field of the forecast is laid beside its truth. Means that are further apart than ten of
their spreads over space are those of other units: degrees Celsius beside kelvin lie 273 apart, and
a field of temperature spreads by 3 over the British Isles, 21 over the globe. Where zero is in both
units, as of rain in mm beside m, it is the spreads that lie apart, by more than thirty times, and a
unit is at fault where in it both mean and spread would be those of the truth. Values are never
changed by a guess: what has no units is refused, and where both say the same unit a warning is all.
"""

from __future__ import annotations

import logging

import numpy as np

from diffsci.data.canonical.units import conversion
from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.evaluation.blocks import Values

log = logging.getLogger(__name__)

_APART = 10.0
"""Spreads between the means."""

_LARGER = 30.0
"""Of two spreads; those of fields of one unit are rarely ten times as large."""

_NEAR = 3.0
"""Times the mean and spread of the truth, or its share, in a unit that fits."""

_UNITS = ("degC", "degF", "K", "hPa", "kPa", "Pa", "mm", "cm", "m", "km", "%", "g kg-1", "knot")
"""In which a forecast may be, where it is not in the truth's."""


def require_alike(
    forecast: Values,
    truth: Values,
    channels: tuple[Channel, ...],
    unstated: tuple[str, ...],
    source: str,
) -> None:
    """Refuse values that cannot be in the truth's unit, where one of the two says none.

    Args:
        forecast: Converted as far as its units say.
        truth: As a single member.
        channels: What each channel is.
        unstated: Variables without units in one of the two.
        source: Of the forecast, for messages.

    Raises:
        DataError: Naming both means, and the unit that would fit.
    """
    first = (slice(0, 1), slice(0, 1))
    for number, channel in enumerate(channels):
        made, true = (_moments(values.read(*first, number)) for values in (forecast, truth))
        apart = _are_apart(made, true)
        fitting = _fitting(made, true, channel.unit) if apart else _scaled(made, true, channel.unit)
        if not apart and not fitting:
            continue
        unit = "" if channel.unit == "1" else f" {channel.unit}"
        means = f"mean {made[0]:.4g} beside {true[0]:.4g}{unit} of the truth"
        hint = f"; as {fitting} they would fit" if fitting else ""
        if channel.variable not in unstated:
            log.warning("%s: %s is far from the truth, %s%s", source, channel.name, means, hint)
            continue
        # A field without units has the unit 1, which is no advice for a temperature.
        known = fitting or ("" if channel.unit == "1" else channel.unit)
        which = "say what they are" if known else "say of both, each in its file, what they are"
        raise DataError(
            f"{source}: {channel.name} and its truth do not both say their units, and their values "
            f"are not alike: {means}{hint}; {which}, as "
            f"`ds['{channel.variable}'].attrs['units'] = '{known or 'UNIT'}'`, and save the file "
            "again"
        )


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and spread of what is there."""
    there = values[np.isfinite(values)].astype(np.float64)
    return (float(there.mean()), float(there.std())) if there.size else (np.nan, np.nan)


def _are_apart(made: tuple[float, float], true: tuple[float, float]) -> bool:
    # A field that is the same everywhere has no spread to measure by.
    return abs(made[0] - true[0]) > _APART * max(made[1], true[1]) and min(made[1], true[1]) > 0


def _scaled(made: tuple[float, float], true: tuple[float, float], unit: str) -> str:
    """The unit, other by a factor alone, in which mean and spread are like the truth's."""
    if min(*made, *true) <= 0 or max(made[1], true[1]) < _LARGER * min(made[1], true[1]):
        return ""
    for other in _UNITS:
        factors = conversion(other, unit)
        if factors is None or factors[1] or not 0 < factors[0] != 1:
            continue
        ratios = [factors[0] * ours / theirs for ours, theirs in zip(made, true, strict=True)]
        if all(1 / _NEAR < ratio < _NEAR for ratio in ratios):
            return other
    return ""


def _fitting(made: tuple[float, float], true: tuple[float, float], unit: str) -> str:
    """The unit in which the forecast would lie next to the truth; empty where there is none."""
    best, word = np.inf, ""
    for other in _UNITS:
        factors = conversion(other, unit)
        if factors is None or factors == (1.0, 0.0):
            continue
        moved = (made[0] * factors[0] + factors[1], made[1] * abs(factors[0]))
        off = abs(moved[0] - true[0])
        if not _are_apart(moved, true) and off < best:
            best, word = off, other
    return word

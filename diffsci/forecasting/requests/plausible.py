"""Whether what a model is given can be what it was trained on: a field's mean against training.

A file may say K and hold degrees Celsius; nothing but the values can tell. The mean of a field lies
within some standard deviations of the training mean, where these are of all cells and times.
Measured with real temperatures, trained on a part and asked of all: one day of hourly fields over
the British Isles and the rest of the month 4.3, a quarter of them and another 3.0; the surface of
the tropics in one month and in all others 1.5; yearly means over North America of the first 40
years and the last 0.5, of its southern half and its northern 4.8. Celsius for kelvin is 26 in the
last of these, where temperature spreads most, 119 over the British Isles, and 13 for the whole
globe, which spreads by some 21 K. `WITHIN` lies between. Only two small corners, of yearly means
that spread by 1 K, were further apart (23): such cells are another grid, and refused as that.

It cannot see units that make values too small beside a spread that is wide, such as m for mm of
rain: their mean lies within one standard deviation of any other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from diffsci.data.canonical import times as stamps
from diffsci.data.canonical.units import conversion
from diffsci.data.fields import Channel, Fields
from diffsci.errors import DataError

if TYPE_CHECKING:
    from diffsci.forecasting.surrogate import Surrogate

WITHIN = 10.0
"""Standard deviations."""

_UNITS = ("degC", "degF", "hPa", "kPa", "mm", "cm", "km", "%", "g kg-1", "km h-1", "knot")
"""What values may be in, where they are not in what the file says."""


def require_plausible(
    model: Surrogate,
    fields: Fields,
    states: Float[np.ndarray, "trajectory time channel *space"],
    within: float,
) -> None:
    """Refuse fields whose mean the training part is far from.

    Args:
        model: With the statistics of training.
        fields: Physical values, which alone know their gaps.
        states: The same, normalised.
        within: Standard deviations; infinity refuses nothing.

    Raises:
        DataError: Naming variable, time, mean and distance, and the unit that would fit.
    """
    values = np.asarray(fields.values)
    space = tuple(range(3, values.ndim))
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=space), 1)
    off = np.where(there, states, 0.0).sum(axis=space, dtype=np.float64) / count
    worst = np.unravel_index(int(np.argmax(np.abs(off))), off.shape)
    row, time, number = (int(place) for place in worst)
    if abs(off[row, time, number]) <= within:
        return
    channel, found = model.channels[number], values[row, time, number]
    mean, centre = float(np.nanmean(found)), float(model.statistics.centre[number])
    unit = "" if channel.unit == "1" else f" {channel.unit}"
    raise DataError(
        f"{fields.source}: variable {channel.name} has the mean {mean:.5g}{unit} at "
        f"{_named(fields.times, time)}, {abs(off[row, time, number]):.3g} standard deviations "
        f"from that of training, {centre:.5g}{unit}{_other_unit(model, number, channel, found)}; "
        f"{within:g} is the limit: check the values and `.attrs['units']`, or take them as they "
        "are by --within inf (`within` in Python)"
    )


def _named(times: np.ndarray, number: int) -> str:
    return stamps.name(times[number]) if len(times) else f"number {number}"


def _other_unit(model: Surrogate, number: int, channel: Channel, found: np.ndarray) -> str:
    """Which unit would bring it near, in words."""
    best, word = math.inf, ""
    for unit in _UNITS:
        factors = conversion(unit, channel.unit)
        if factors is None or factors == (1.0, 0.0):
            continue
        values = np.broadcast_to(np.float32(0), (len(model.channels), *found.shape)).copy()
        values[number] = found * factors[0] + factors[1]
        with np.errstate(
            invalid="ignore", divide="ignore"
        ):  # negative, where logarithms are learnt
            off = abs(float(np.mean(model.statistics.encode(values)[number])))
        if off < best:
            best, word = off, unit
    return f"; in {word} it would be {best:.2g} from it" if best <= WITHIN else ""

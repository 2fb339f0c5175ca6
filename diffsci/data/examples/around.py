"""Forcings: what is known of a time and a place without any data.

Numbers of a time go to the network as scalars, fields as channels of the condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cftime
import numpy as np
from jaxtyping import Float

from diffsci.data.canonical import times as stamps
from diffsci.errors import DataError
from diffsci.grid import Grid

SCALARS: dict[str, int] = {"hour_of_day": 2, "day_of_year": 1}
"""Forcings that are numbers, with how many waves describe each."""

FIELDS = ("solar_zenith",)
"""Forcings that are fields of a time."""

STATICS: dict[str, int] = {"latitude": 1, "longitude": 2}
"""Forcings that are the same at all times, with how many channels each has; any other word is a
variable of a data set."""

_DAY = 86_400.0


def names() -> tuple[str, ...]:
    """All forcings that are computed."""
    return (*SCALARS, *FIELDS, *STATICS)


def layer_names(forcings: tuple[str, ...]) -> tuple[str, ...]:
    """Forcings that are variables of a data set."""
    return tuple(name for name in forcings if name not in names())


def scalar_names(forcings: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the numbers among forcings, such as `hour_of_day cos 1`."""
    return tuple(
        f"{name} {wave} {number}"
        for name in forcings
        for number in range(1, SCALARS.get(name, 0) + 1)
        for wave in ("cos", "sin")
    )


def field_names(forcings: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the fields among forcings."""
    return tuple(name for name in forcings if name in FIELDS)


@dataclass(frozen=True, kw_only=True)
class Around:
    """The forcings of a grid.

    Args:
        forcings: Which, of `names()`.
        grid: Where the fields sit.
    """

    forcings: tuple[str, ...] = ()
    grid: Grid

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """One for each column of `scalars`."""
        return scalar_names(self.forcings)

    @property
    def field_names(self) -> tuple[str, ...]:
        """One for each channel of `fields`."""
        return field_names(self.forcings)

    @property
    def static_count(self) -> int:
        """Channels of `statics`."""
        return sum(STATICS.get(name, 1) for name in self._static_words)

    @property
    def _static_words(self) -> tuple[str, ...]:
        return tuple(name for name in self.forcings if name not in (*SCALARS, *FIELDS))

    def statics(
        self, layers: dict[str, Float[np.ndarray, "*space"]]
    ) -> Float[np.ndarray, "static *space"]:
        """What is the same at all times, float64: sine of latitude, waves of longitude, layers.

        Args:
            layers: Those of a data set, by name.
        """
        found: list[np.ndarray] = []
        for name in self._static_words:
            if name in STATICS:
                latitude, longitude = _places(self.grid)
                waves = [np.sin(longitude), np.cos(longitude)]
                found += [np.sin(latitude)] if name == "latitude" else waves
            else:
                found.append(np.asarray(layers[name], dtype=np.float64))
        wide = [np.broadcast_to(each, self.grid.sizes) for each in found]
        return np.stack(wide) if wide else np.zeros((0, *self.grid.sizes))

    def scalars(self, times: np.ndarray) -> Float[np.ndarray, "time forcing"]:
        """Waves of the fraction of the day (UTC) and of the year that has passed, float32.

        Args:
            times: Dates.

        Raises:
            DataError: Where the times are no dates.
        """
        columns = [np.zeros((len(times), 0))]
        for name in self.forcings:
            if name in SCALARS:
                turn = 2 * np.pi * _FRACTION[name](times)
                for number in range(1, SCALARS[name] + 1):
                    columns.append(np.stack([np.cos(number * turn), np.sin(number * turn)], axis=1))
        return np.concatenate(columns, axis=1).astype(np.float32)

    def fields(self, times: np.ndarray) -> Float[np.ndarray, "time forcing *space"]:
        """Cosine of the solar zenith angle, 0 at night, float32.

        Args:
            times: Dates.

        Raises:
            DataError: Where the times are no dates.
        """
        if not self.field_names:
            return np.zeros((len(times), 0, *self.grid.sizes), dtype=np.float32)
        cosine = cosine_of_zenith(times, self.grid)
        day: np.ndarray = np.maximum(cosine, 0.0)[:, None].astype(np.float32)
        return day


def cosine_of_zenith(times: np.ndarray, grid: Grid) -> Float[np.ndarray, "time *space"]:
    """Cosine of the solar zenith angle at each cell's centre; below 0 at night.

    Args:
        times: Dates.
        grid: With `latitude` and `longitude` in degrees.

    Source:
        Spencer (1971), Fourier series representation of the position of the sun: declination to
        0.0006 rad, equation of time to 35 s.
    """
    latitude, longitude = _places(grid)
    shape = (-1, *[1] * len(grid.dims))
    turn = 2 * np.pi * _fraction_of_year(times)
    waves = np.stack(
        [np.ones_like(turn), *(f(k * turn) for k in (1, 2, 3) for f in (np.cos, np.sin))]
    )
    declination = np.dot(
        [0.006918, -0.399912, 0.070257, -0.006758, 0.000907, -0.002697, 0.00148], waves
    ).reshape(shape)
    equation = np.dot([0.000075, 0.001868, -0.032077, -0.014615, -0.040849, 0, 0], waves)
    hour_angle = (2 * np.pi * _fraction_of_day(times) - np.pi + equation).reshape(shape) + longitude
    cosine: np.ndarray = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(
        declination
    ) * np.cos(hour_angle)
    return cosine


def _places(grid: Grid) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Latitude and longitude of each cell in radians, as arrays that broadcast to the grid."""
    if grid.places is not None:
        return np.deg2rad(grid.places.latitude), np.deg2rad(grid.places.longitude)
    known = dict(zip(grid.dims, grid.coordinates, strict=True))
    latitude, longitude = (
        np.deg2rad(np.asarray(known[dim], dtype=np.float64)).reshape(
            [-1 if dim == each else 1 for each in grid.dims]
        )
        for dim in ("latitude", "longitude")
    )
    return latitude, longitude


def _require_dates(times: np.ndarray) -> None:
    if len(times) and not stamps.is_dates(times):
        raise DataError(
            f"forcings need dates, and the data's times are numbers such as {times[0]:g}; "
            "take out `data.domain.forcings`"
        )


def _fraction_of_day(times: np.ndarray) -> Float[np.ndarray, " time"]:
    """Since midnight UTC, as a share of the day."""
    _require_dates(times)
    if times.dtype.kind == "M":
        since = times - times.astype("datetime64[D]")
        return np.asarray(since / np.timedelta64(1, "s") / _DAY, dtype=np.float64)
    seconds = [
        3600 * t.hour + 60 * t.minute + t.second + t.microsecond / 1e6 for t in times.tolist()
    ]
    return np.array(seconds, dtype=np.float64) / _DAY


def _fraction_of_year(times: np.ndarray) -> Float[np.ndarray, " time"]:
    """Since the first of January, as a share of that year."""
    _require_dates(times)
    if times.dtype.kind == "M":
        year = times.astype("datetime64[Y]")
        first = year.astype("datetime64[s]")
        length = (year + 1).astype("datetime64[s]") - first
        return np.asarray((times - first) / length, dtype=np.float64)
    found = []
    for stamp in times.tolist():
        first = stamp.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
        after = _new_year(first)
        found.append((stamp - first).total_seconds() / (after - first).total_seconds())
    return np.array(found, dtype=np.float64)


def _new_year(first: cftime.datetime) -> cftime.datetime:
    return first.replace(year=first.year + 1)


_FRACTION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hour_of_day": _fraction_of_day,
    "day_of_year": _fraction_of_year,
}

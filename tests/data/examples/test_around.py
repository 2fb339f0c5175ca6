"""Forcings, against what astronomy and the calendar say."""

import cftime
import numpy as np
import pytest

from diffsci.data.domains.weather import Weather
from diffsci.data.examples.around import Around, cosine_of_zenith
from diffsci.errors import ConfigError, DataError
from diffsci.grid import Grid


def globe(rows=36, columns=24):
    step = 180 / rows
    latitude = tuple(-90 + step / 2 + step * i for i in range(rows))
    longitude = tuple(360 / columns * i for i in range(columns))
    return Grid(
        dims=("latitude", "longitude"),
        coordinates=(latitude, longitude),
        units=("degrees_north", "degrees_east"),
        boundary=(("pole", "pole"), ("periodic", "periodic")),
        geometry="sphere",
    )


def hours(start, count, step=1):
    return np.datetime64(start, "ns") + step * np.arange(count) * np.timedelta64(1, "h")


def test_hours_and_days_are_waves_of_the_share_that_has_passed():
    around = Around(forcings=("day_of_year", "hour_of_day"), grid=globe())
    found = around.scalars(hours("2019-01-01T06", 2, 24 * 365))
    assert around.scalar_names[:2] == ("day_of_year cos 1", "day_of_year sin 1")
    assert around.scalar_names[2:] == tuple(
        f"hour_of_day {wave} {k}" for k in (1, 2) for wave in ("cos", "sin")
    )
    # 6 h are a quarter of the day: cos 0, sin 1, and the second wave is at its half.
    assert np.allclose(found[:, 2:], [[0, 1, -1, 0]] * 2, atol=1e-6)
    turn = 2 * np.pi * np.array([0.25 / 365, 0.25 / 366])  # 2020 is a leap year
    assert np.allclose(found[:, :2], np.stack([np.cos(turn), np.sin(turn)], axis=1), atol=1e-6)


@pytest.mark.parametrize("calendar", ["360_day", "noleap", "proleptic_gregorian"])
def test_dates_of_any_calendar_have_a_share_of_their_year(calendar):
    dates = cftime.num2date([0, 90.25], "days since 1500-01-01", calendar=calendar)
    found = Around(forcings=("day_of_year", "hour_of_day"), grid=globe()).scalars(dates)
    length = {"360_day": 360, "noleap": 365, "proleptic_gregorian": 365}[calendar]
    assert np.isclose(found[1, 1], np.sin(2 * np.pi * 90.25 / length), atol=1e-6)
    assert np.allclose(found[:, 2:4], [[1, 0], [0, 1]], atol=1e-6)


def test_the_sun_stands_where_it_should():
    grid = globe(rows=360, columns=360)
    latitude, longitude = (np.array(at) for at in grid.coordinates)
    at_noon = {
        "2021-03-20T12": 0.0,
        "2021-06-21T12": 23.44,
        "2021-09-22T12": 0.2,
        "2021-12-21T12": -23.44,
    }
    for date, declination in at_noon.items():
        cosine = cosine_of_zenith(np.array([date], dtype="datetime64[ns]"), grid)[0]
        row, column = np.unravel_index(cosine.argmax(), cosine.shape)
        # Half a cell, and what a year's series leaves open: the Earth's year is no whole days.
        assert abs(latitude[row] - declination) < 0.75, date
        # The equation of time is within 16.5 minutes, which are 4.1 degrees.
        assert abs((longitude[column] + 180) % 360 - 180) < 4.6
        assert cosine.max() > 0.9999


def test_the_days_mean_is_the_insolation_formula():
    """Mean over a day of max(0, cos z) = (h sin a sin d + cos a cos d sin h) / pi."""
    grid = globe()
    times = hours("2021-05-01T00", 24 * 12, 1).astype("datetime64[m]")[:1]
    times = times + np.arange(24 * 12) * np.timedelta64(5, "m")
    fields = Around(forcings=("solar_zenith",), grid=grid).fields(times.astype("datetime64[ns]"))
    assert fields.shape == (288, 1, 36, 24) and fields.min() == 0
    mean = fields.mean(axis=(0, 1, 3))
    declination = np.deg2rad(15.1)  # first of May
    a = np.deg2rad(np.array(grid.coordinates[0]))
    h = np.arccos(np.clip(-np.tan(a) * np.tan(declination), -1, 1))
    wanted = h * np.sin(a) * np.sin(declination) + np.cos(a) * np.cos(declination) * np.sin(h)
    assert np.abs(mean - wanted / np.pi).max() < 3e-3  # the declination moves 0.3 degrees a day


def test_forcings_are_refused_by_name():
    with pytest.raises(ConfigError, match="got 'hour_of_dya'.*did you mean 'hour_of_day'"):
        Weather(forcings=("hour_of_dya",))
    with pytest.raises(ConfigError, match="each of them once"):
        Weather(forcings=("hour_of_day", "hour_of_day"))
    with pytest.raises(DataError, match="need dates, and the data's times are numbers such as 0.5"):
        Around(forcings=("hour_of_day",), grid=globe()).scalars(np.array([0.5, 1.0]))

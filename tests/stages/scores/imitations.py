"""Stores as other tools write them, whose right score is known in closed form.

A forecast is its truth at the valid time and a number added: a sixth of its lead in hours, and a
hundredth of its level. The RMSE at that lead and level is this number, and no other pairing of
fields, which are noise, comes near it.
"""

import numpy as np
import pytest
import xarray as xr

from diffsci.stages.scores.standalone import score

HOUR = np.timedelta64(1, "h").astype("m8[ns]")
LEADS, STARTS, LEVELS = np.array([6, 12, 24]), np.array([2, 5, 9, 16]), (500.0, 700.0, 850.0)
LEAD, FLAT, HIGH = "prediction_timedelta", "2m_temperature", "temperature"
_PLACES = {
    "latitude": ("latitude", [-45.0, -15.0, 15.0, 45.0], {"units": "degrees_north"}),
    "longitude": ("longitude", np.arange(0, 360, 60.0), {"units": "degrees_east"}),
}


def truth(high=False, count=40):
    """Every six hours, of one level or of three."""
    dims = ("time", *(["level"] if high else []), "latitude", "longitude")
    shape = (count, *([3] if high else []), 4, 6)
    values = np.random.default_rng(0).normal(280, 10, shape)
    times = np.datetime64("2020-01-01", "ns") + 6 * HOUR * np.arange(count)
    levels = {"level": ("level", list(LEVELS), {"units": "hPa"})} if high else {}
    name = HIGH if high else FLAT
    return xr.Dataset({name: (dims, values, {"units": "K"})}, {"time": times, **levels, **_PLACES})


def forecast(true, starts=STARTS, leads=LEADS):
    """Two members about the truth and its number, in our own layout."""
    (name,) = true.data_vars
    values = true[name].values[starts[:, None] + leads // 6]
    values = values + (leads / 6).reshape(1, -1, *[1] * (values.ndim - 2))
    levels = {}
    if "level" in true.dims:
        values = values + np.array(LEVELS).reshape(-1, 1, 1) / 100
        levels = {"level": true.level}
    dims = ("time", "number", LEAD, *levels, "latitude", "longitude")
    return xr.Dataset(
        {name: (dims, np.stack([values - 0.5, values + 0.5], axis=1), {"units": "K"})},
        {"time": true.time.values[starts], "number": [0, 1], LEAD: leads * HOUR, **levels,
         **_PLACES},
    )  # fmt: skip


def require_right(made, true, level=None, leads=LEADS, count=4, **options):
    """The scores are those of the closed form, of so many cases; whatever the names are."""
    table = score(made, true, scores=["rmse"], **options)
    high = [row for row in table.rows if row.variable.startswith(HIGH)]
    rows = [row for row in table.rows if row.forecast == "model" and row.lead is not None]
    assert {row.lead for row in rows} == set(map(float, leads)) and rows[0].count == count
    for row in rows:
        at = row.variable.partition("@")[2] or level
        added = float(at) / 100 if high else 0.0
        # Of float32, 280 to within 2e-5.
        assert row.value == pytest.approx(row.lead / 6 + added, abs=2e-4), row
    return table


def by_valid_time(made):
    """Dims time, which is valid, and lead; nothing where no start fits, which stands beside."""
    both = made.time.values[:, None] + made[LEAD].values
    valid, place = np.unique(both, return_inverse=True)
    values = np.full((len(valid), 2, len(LEADS), 4, 6), np.nan)
    starts = np.full((len(valid), len(LEADS)), np.datetime64("NaT"), "M8[ns]")
    for (row, lead), at in np.ndenumerate(place.reshape(both.shape)):
        values[at, :, lead] = made[FLAT].values[row, :, lead]
        starts[at, lead] = made.time.values[row]
    laid = xr.Dataset(
        {FLAT: (("time", "number", LEAD, "latitude", "longitude"), values, {"units": "K"})},
        {"time": valid, "number": made.number, LEAD: made[LEAD], **_PLACES},
    )
    return laid.assign_coords(forecast_reference_time=(("time", LEAD), starts))


def of_cf(made, start):
    """A single forecast as CF has it: `time` is valid, start and leads stand beside."""
    one = made.isel(time=start)
    begun = one.time.values
    return one.drop_vars(["time", LEAD]).rename({LEAD: "time"}).assign_coords(
        time=("time", begun + LEADS * HOUR, {"standard_name": "time"}),
        forecast_reference_time=begun,
        forecast_period=("time", LEADS.astype(float), {"units": "hours"}),
    )  # fmt: skip

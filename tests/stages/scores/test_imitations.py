"""Stores as other tools write them: every one is read right, as a closed form tells."""

import numpy as np
import pytest
import xarray as xr

from diffsci.errors import DataError
from diffsci.evaluation.blocks import whole
from diffsci.forecasting.store.exporting import export
from diffsci.stages.scores.aligning import align
from diffsci.stages.scores.standalone import score
from tests.stages.scores.imitations import (
    FLAT,
    HIGH,
    HOUR,
    LEAD,
    LEADS,
    by_valid_time,
    forecast,
    of_cf,
    require_right,
    truth,
)

TRUE, TRUE_HIGH = truth(), truth(high=True)
MADE, MADE_HIGH = forecast(TRUE), forecast(TRUE_HIGH)
VALID = MADE.time.values[:, None] + LEADS * HOUR


def west(ds, sort=True):
    """With longitudes from -180."""
    at = ("longitude", (ds.longitude.values + 180) % 360 - 180, {"units": "degrees_east"})
    ds = ds.assign_coords(longitude=at)
    return ds.sortby("longitude") if sort else ds


def with_leads(ds, values, **attributes):
    return ds.assign_coords({LEAD: (LEAD, values, attributes)})


def of(ds, unit):
    """With dates and leads in another unit of numpy."""
    leads = ds[LEAD].values.astype(f"m8[{unit}]")
    return ds.assign_coords(time=ds.time.values.astype(f"M8[{unit}]"), **{LEAD: leads})


def gencast(ds):
    ds = ds.isel(time=[0]).drop_vars("time").rename(time="batch", number="sample")
    ds = ds.rename({LEAD: "time", "latitude": "lat", "longitude": "lon"})
    return ds.assign_coords(datetime=(("batch", "time"), VALID[:1]))


def pascal(ds, kind="f8"):
    told = {"units": "Pa", "standard_name": "air_pressure"}
    at = (ds.level.values * 100).astype(kind)
    return ds.assign_coords(level=("level", at, told)).rename(level="plev")


CFGRIB = MADE.rename({LEAD: "step", FLAT: "t2m"}).assign_coords(
    valid_time=(("time", "step"), VALID),
    heightAboveGround=((), 2.0, {"units": "m"}),
    surface=0.0,
)
GRIB_HIGH = MADE_HIGH.rename({LEAD: "step", "level": "isobaricInhPa", HIGH: "t"})

SURFACE = {
    "wb2": lambda: MADE.rename(number="realization"),
    "longitude first": lambda: MADE.transpose("time", "number", LEAD, "longitude", "latitude"),
    "no members": lambda: MADE.mean("number", keep_attrs=True),
    "weatherbenchx": lambda: MADE.rename({"time": "init_time", LEAD: "lead_time"}),
    "earth2studio": lambda: MADE.rename(
        {"number": "ensemble", LEAD: "lead_time", "latitude": "lat", "longitude": "lon",
         FLAT: "t2m"}
    ).transpose("ensemble", "time", "lead_time", "lat", "lon"),
    "climpred": lambda: MADE.rename({"time": "init_time", LEAD: "lead", "number": "member"}),
    "cfgrib": lambda: CFGRIB,
    "two starts of one name": lambda: MADE.assign_coords(init_time=("time", MADE.time.values)),
    "int hours": lambda: with_leads(MADE, LEADS, units="hours"),
    "int seconds": lambda: with_leads(MADE, LEADS * 3600, units="seconds"),
    "float days": lambda: with_leads(MADE, LEADS / 24, units="days"),
    "float32 hours": lambda: with_leads(MADE, LEADS.astype("f4"), units="h"),
    "microseconds": lambda: of(MADE, "us"),
    "seconds": lambda: of(MADE, "s"),
    "south up": lambda: MADE.isel(latitude=slice(None, None, -1)),
    "west": lambda: west(MADE),
    "west unsorted": lambda: west(MADE, sort=False),
    "float32 places": lambda: MADE.assign_coords(
        latitude=MADE.latitude.values.astype("f4"),
        longitude=MADE.longitude.values.astype("f4") + np.float32(1e-5),
    ),
    "float32": lambda: MADE.astype("f4"),
    "dask": lambda: MADE.chunk(time=1, number=1, longitude=4),
    "members of words": lambda: MADE.assign_coords(number=["a", "b"]),
    "starts unsorted": lambda: MADE.isel(time=[2, 0, 3, 1]),
    "leads unsorted": lambda: MADE.isel({LEAD: [2, 0, 1]}),
    "an axis of one": lambda: MADE.expand_dims(model=["m"]),
    "celsius": lambda: MADE.assign({FLAT: (MADE[FLAT] - 273.15).assign_attrs(units="degC")}),
    "valid time": lambda: by_valid_time(MADE),
    "valid time in hours": lambda: with_leads(by_valid_time(MADE), LEADS, units="hours"),
    "two-dimensional time": lambda: MADE.rename(
        {"time": "forecast_reference_time", LEAD: "forecast_period"}
    ).assign_coords(time=(("forecast_reference_time", "forecast_period"), VALID)),
    "pairs in a row": lambda: xr.concat(
        [of_cf(MADE, n).drop_vars("forecast_period") for n in range(4)], "time",
        coords="all",
    ).assign_coords(forecast_reference_time=("time", np.repeat(MADE.time.values, 3))),
}  # fmt: skip


@pytest.mark.parametrize("layout", SURFACE)
def test_fields_at_the_surface(layout):
    require_right(SURFACE[layout](), TRUE)


ONE = {
    "gencast": lambda: gencast(MADE),
    "cfgrib": lambda: CFGRIB.isel(time=0),
    "cfgrib by valid time": lambda: CFGRIB.isel(time=0).swap_dims(step="valid_time"),
    "cf": lambda: of_cf(MADE, 1),
    "cf without period": lambda: of_cf(MADE, 1).drop_vars("forecast_period"),
    "cf without start": lambda: of_cf(MADE, 1).drop_vars("forecast_reference_time"),
}


@pytest.mark.parametrize("layout", ONE)
def test_forecasts_of_one_start(layout):
    require_right(ONE[layout](), TRUE, count=1)


SINGLE = {
    "cfgrib": lambda: CFGRIB.isel(step=1),
    "valid time beside": lambda: MADE.isel({LEAD: 1}, drop=True).assign_coords(
        valid_time=("time", VALID[:, 1])
    ),
    "valid time": lambda: by_valid_time(MADE).isel({LEAD: 1}).dropna("time"),
}


@pytest.mark.parametrize("layout", SINGLE)
def test_forecasts_of_one_lead(layout):
    require_right(SINGLE[layout](), TRUE, leads=[12])


LEVELS = {
    "wb2": lambda: MADE_HIGH,
    "cfgrib": lambda: GRIB_HIGH,
    "turned": lambda: MADE_HIGH.isel(level=slice(None, None, -1)),
    "integers": lambda: MADE_HIGH.assign_coords(level=[500, 700, 850]),
    "pascal": lambda: pascal(MADE_HIGH),
    "pascal in float32": lambda: pascal(MADE_HIGH, "f4"),
    "lev": lambda: MADE_HIGH.rename(level="lev"),
    "a name of CF": lambda: pascal(MADE_HIGH).rename(plev="p"),
}


@pytest.mark.parametrize("layout", LEVELS)
def test_fields_on_levels(layout):
    table = require_right(LEVELS[layout](), TRUE_HIGH)
    assert table.variables == (f"{HIGH}@500", f"{HIGH}@700", f"{HIGH}@850")


TRUTHS = {
    "microseconds": lambda: TRUE.assign_coords(time=TRUE.time.values.astype("M8[us]")),
    "north up": lambda: TRUE.isel(latitude=slice(None, None, -1)),
    "west": lambda: west(TRUE),
    "of one lead in hours": lambda: TRUE.assign_coords(
        time=TRUE.time.values - 6 * HOUR, step=((), 6, {"units": "hours"})
    ),
    "valid, with its lead": lambda: TRUE.assign_coords(
        forecast_reference_time=("time", TRUE.time.values - 6 * HOUR),
        forecast_period=((), 6, {"units": "hours"}),
    ),
    "chunked": lambda: TRUE.chunk(time=7),
}


@pytest.mark.parametrize("layout", TRUTHS)
def test_truths(layout):
    require_right(MADE, TRUTHS[layout]())


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_stores_and_files(tmp_path, zarr_format):
    TRUE.to_netcdf(tmp_path / "truth.nc")
    told = {"zarr_format": zarr_format, "consolidated": False}
    MADE.chunk({LEAD: 1, "latitude": 2}).to_zarr(tmp_path / "made.zarr", **told)
    by_valid_time(MADE).to_zarr(tmp_path / "valid.zarr", **told)
    of_cf(MADE, 2).to_netcdf(tmp_path / "cf.nc")
    for name, count in (("made.zarr", 4), ("valid.zarr", 4), ("cf.nc", 1)):
        require_right(tmp_path / name, tmp_path / "truth.nc", count=count)


PARTS = {
    "cf": lambda: [of_cf(MADE, start) for start in range(4)],
    "cf fields": lambda: [of_cf(MADE, start).isel(time=n) for start in range(4) for n in range(3)],
    "cf fields without period": lambda: [
        of_cf(MADE, start).isel(time=n).drop_vars("forecast_period")
        for start in range(4)
        for n in range(3)
    ],
    "members": lambda: [MADE.isel(number=n) for n in range(2)],
}


@pytest.mark.parametrize("parts", PARTS)
def test_folders(tmp_path, parts):
    for number, part in enumerate(PARTS[parts]()):
        part.to_netcdf(tmp_path / f"{number}.nc")
    require_right(tmp_path, TRUE)


def test_a_truth_in_files_that_name_their_start_is_by_valid_time(tmp_path):
    for number in range(0, 40, 10):
        part = TRUE.isel(time=slice(number, number + 10))
        part.assign_coords(forecast_reference_time=part.time.values[0] - 6 * HOUR).to_netcdf(
            tmp_path / f"{number:02}.nc"
        )
    require_right(MADE, tmp_path)


@pytest.mark.parametrize("layout", ["valid-time", "cf-netcdf", "wb2", "earth2studio"])
def test_what_is_exported_scores_as_before(tmp_path, layout):
    """The store is of another tool: it has no `valid_time`."""
    MADE.to_zarr(tmp_path / "made.zarr", zarr_format=2)
    require_right(export(tmp_path / "made.zarr", layout), TRUE)


def test_a_start_of_another_calendar_has_its_leads():
    made = of_cf(MADE, 1).convert_calendar("noleap", use_cftime=True)
    start = TRUE.convert_calendar("noleap", use_cftime=True)
    made = made.assign_coords(forecast_reference_time=start.time.values[5])
    require_right(made, start, count=1)
    require_right(made.drop_vars("forecast_reference_time"), start, count=1)


def test_starts_without_some_leads_are_left_out_and_told():
    starts = np.arange(20)
    dense = by_valid_time(forecast(TRUE, starts)).drop_vars("forecast_reference_time")
    twice = np.broadcast_to(dense.time.values[:, None], (dense.sizes["time"], 3))
    for made in (
        dense.rename(time="valid_time"),
        dense.assign_coords(valid_time=(("time", LEAD), twice)),
    ):
        require_right(made, TRUE, count=20)
        assert "6 of 26 starts are left out, which lack some leads" in align(made, TRUE).left_out


def test_dates_that_contradict_each_other_are_named():
    odd = by_valid_time(MADE)
    odd = odd.assign_coords(forecast_reference_time=odd.forecast_reference_time + HOUR)
    with pytest.raises(DataError, match=r"its forecast_reference_time is neither its time nor pre"):
        score(odd, TRUE)
    late = MADE.assign_coords(valid_time=(("time", LEAD), VALID + HOUR))
    with pytest.raises(DataError, match=r"its valid_time is neither its time nor prediction_timed"):
        score(late, TRUE)
    both = of_cf(MADE, 0).isel(time=[1]).drop_vars("forecast_period").assign_coords(step=HOUR)
    with pytest.raises(DataError, match=r"its lead is 1 h by step, and 12 h between start and tim"):
        score(both, TRUE)
    after = of_cf(MADE, 0).drop_vars("forecast_period")
    after = after.assign_coords(forecast_reference_time=after.time.values[1])
    with pytest.raises(DataError, match="a start is after the time that it is for"):
        score(after, TRUE)
    doubled = xr.concat([by_valid_time(MADE)] * 2, "time")
    with pytest.raises(DataError, match="one start is there more than once at one lead"):
        score(doubled, TRUE)
    other = by_valid_time(MADE).drop_vars("forecast_reference_time")
    other = other.convert_calendar("noleap", use_cftime=True)
    both = other.time.values[:, None] + np.zeros((1, 3), "m8[us]").astype(object)
    with pytest.raises(DataError, match="its dates are of another calendar"):
        score(other.assign_coords(forecast_reference_time=(("time", LEAD), both)), TRUE)


def test_times_that_are_called_valid_and_have_leads_are_warned_of(caplog):
    made = MADE.assign_coords(time=("time", MADE.time.values, {"standard_name": "time"}))
    require_right(made, TRUE)
    assert "its times are taken to be starts" in caplog.text


def test_a_lead_of_a_truth_says_its_unit_or_is_refused():
    with pytest.raises(DataError, match=r"its step is 6, and nothing says in what; .*drop_vars"):
        score(MADE, TRUE.assign_coords(step=6))
    require_right(MADE, TRUE.assign_coords(step=0))
    odd = TRUE.assign_coords(
        step=6 * HOUR, forecast_reference_time=("time", TRUE.time.values - HOUR)
    )
    with pytest.raises(DataError, match="`time` and forecast_reference_time do not lie its lead"):
        score(MADE, odd)
    fine = odd.assign_coords(valid_time=("time", TRUE.time.values)).drop_vars(
        "forecast_reference_time"
    )
    require_right(MADE, fine)


def test_an_entry_of_the_catalog_has_its_own_units(tmp_path, monkeypatch):
    """It was read in the units of its file, under the name of others: 273 off."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_catalog").mkdir()
    holed = TRUE.copy(deep=True)
    holed[FLAT].values[30:, 0, 0] = -9999.0
    holed.to_netcdf(tmp_path / "truth.nc")
    (tmp_path / "data_catalog" / "cold.yaml").write_text(
        "source: {path: ../truth.nc}\nlicense: none\n"
        f"variables: {{{FLAT}: {{units: degC, fill: -9999, missing: moving}}}}\n"
    )
    require_right(MADE, "cold")
    require_right(MADE, str(tmp_path / "data_catalog" / "cold.yaml"))
    assert np.isnan(whole(align(forecast(TRUE, np.array([28])), "cold").truth)).sum() == 2


def test_times_of_simulations_are_found_in_float32():
    dims, at = ("sample", "number", "time", "x"), {"sample": [0, 1], "x": np.arange(8.0)}
    values = np.random.default_rng(0).normal(size=(2, 2, 3, 8))
    made = xr.Dataset({"u": (dims, values)}, {**at, "time": np.array([0.1, 0.2, 0.3], "f4")})
    true = (made.isel(number=0, drop=True) - 1.0).assign_coords(time=[0.1, 0.2, 0.3])
    true = true.isel(time=[2, 0, 1])
    table = score(made.isel(number=[0]), true, scores=["rmse"])
    assert table.row("model", "u", "rmse").value == pytest.approx(1.0)
    with pytest.raises(DataError, match="1 of its samples are there more than once, first 0"):
        score(made.assign_coords(sample=[0, 0]), true)

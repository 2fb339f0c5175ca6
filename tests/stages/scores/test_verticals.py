"""A forecast and its truth are of one level, or are refused by name."""

import numpy as np
import pytest
import xarray as xr

from diffsci.errors import DataError
from diffsci.stages.scores.aligning import align
from diffsci.stages.scores.standalone import score
from tests.stages.scores.imitations import FLAT, HIGH, LEAD, forecast, require_right, truth

TRUE, TRUE_HIGH = truth(), truth(high=True)
MADE, MADE_HIGH = forecast(TRUE), forecast(TRUE_HIGH)
GRIB = MADE_HIGH.rename({LEAD: "step", "level": "isobaricInhPa", HIGH: "t"})


def at(ds, value, name="height", unit="m", **attributes):
    return ds.assign_coords({name: ((), value, {"units": unit, **attributes})})


UNLIKE = {
    "level": (MADE_HIGH.sel(level=850), TRUE_HIGH.sel(level=500), "level 850 hPa, .*level 500 hPa"),
    "cfgrib": (
        GRIB.sel(isobaricInhPa=850),
        TRUE_HIGH.sel(level=500),
        r"at isobaricInhPa 850 hPa, that of the truth at level 500 hPa.*ds.drop_vars\('isobaricI",
    ),
    "pressure": (
        at(MADE_HIGH.sel(level=850, drop=True), 85000.0, "pressure", "Pa"),
        TRUE_HIGH.sel(level=500),
        "at pressure 850 hPa, that of the truth at level 500 hPa",
    ),
    "height": (at(MADE, 10.0), at(TRUE, 2.0), "at height 10 m, that of the truth at height 2 m"),
    "height of cfgrib": (
        at(MADE, 1000.0, "heightAboveGround", "cm"),
        at(TRUE, 2.0),
        "at heightAboveGround 10 m, that of the truth at height 2 m",
    ),
    "depth": (
        at(MADE, 0.1, "depth", positive="down"),
        at(TRUE, 1.0, "depth"),
        "at depth 0.1 m, that of the truth at depth 1 m",
    ),
    "not there": (
        MADE_HIGH.assign_coords(level=("level", [500.0, 600.0, 850.0], {"units": "hPa"})).sel(
            level=600
        ),
        TRUE_HIGH,
        "the truth: temperature has the levels 500, 700, 850 hPa, and that of model lies at level "
        "600 hPa, which is none of them",
    ),
    "not there in the forecast": (
        MADE_HIGH.sel(level=[500, 850]),
        TRUE_HIGH.sel(level=700),
        "model: temperature has the levels 500, 850 hPa, and that of the truth lies at level 700",
    ),
    "height beside pressures": (
        MADE_HIGH,
        at(TRUE_HIGH.sel(level=700, drop=True), 2.0),
        "has the levels 500, 700, 850 hPa, and that of the truth lies at height 2 m",
    ),
    "other units": (
        MADE_HIGH.assign_coords(level=("level", [500.0, 700.0, 850.0], {"units": "m"})),
        TRUE_HIGH,
        "its levels are in m, those of the truth in hPa",
    ),
    "no levels at all": (
        MADE_HIGH,
        TRUE_HIGH.sel(level=700, drop=True),
        r"dim level of temperature has 3 items .*the truth has no levels: take the one",
    ),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_unlike_levels_are_refused_with_both(case):
    made, true, told = UNLIKE[case]
    with pytest.raises(DataError, match=told):
        score(made, true)


def test_a_baseline_is_held_to_the_level_of_the_truth():
    made, true = MADE_HIGH.sel(level=850), TRUE_HIGH.sel(level=850)
    other = GRIB.sel(isobaricInhPa=500)
    with pytest.raises(DataError, match="b: temperature lies at isobaricInhPa 500 hPa"):
        score(made, true, baselines={"b": other})
    table = require_right(made, true, 850, baselines={"b": MADE_HIGH})
    assert table.row("b", HIGH, "rmse", 6.0).value == pytest.approx(9.5)


ALIKE = {
    "a level of the truth": (GRIB.sel(isobaricInhPa=850), TRUE_HIGH, 850),
    "a level of the forecast": (GRIB, TRUE_HIGH.sel(level=700), 700),
    "hPa beside Pa": (
        GRIB.sel(isobaricInhPa=850),
        at(
            TRUE_HIGH.sel(level=850, drop=True), 85000.0, "plev", "Pa", standard_name="air_pressure"
        ),
        850,
    ),
    "an axis of one": (MADE_HIGH.sel(level=[500]), TRUE_HIGH.sel(level=500), 500),
}


@pytest.mark.parametrize("case", ALIKE)
def test_the_level_that_is_meant_is_taken(case, tmp_path):
    made, true, level = ALIKE[case]
    require_right(made, true, level)
    made.to_netcdf(tmp_path / "made.nc")
    true.to_netcdf(tmp_path / "truth.nc")
    require_right(tmp_path / "made.nc", tmp_path / "truth.nc", level)


def test_what_is_taken_and_what_is_not_said_is_told(caplog):
    found = align(GRIB.sel(isobaricInhPa=850), TRUE_HIGH)
    text = f"{HIGH} is scored at isobaricInhPa 850 hPa alone, of 3 levels of the truth"
    assert found.left_out == (text,)
    bare = TRUE_HIGH.sel(level=850, drop=True)
    for made in (MADE_HIGH.sel(level=850), MADE_HIGH.sel(level=[850])):
        assert align(made, bare).left_out == (
            f"{HIGH} of the forecast lies at level 850 hPa, the truth does not say where its own "
            "does",
        )
    assert "the truth does not say where its own does" in caplog.text
    assert align(at(MADE, 2.0), TRUE).left_out == ()


def test_heights_are_those_that_a_file_names_for_a_variable(tmp_path):
    """A file may have the height of one of its variables alone."""
    for name, ds, height in (("made", MADE, 10.0), ("truth", TRUE, 2.0)):
        both = ds.assign(wind=ds[FLAT], **{"height_2": 2.0 * (name == "made") + 8})
        both[FLAT].encoding["coordinates"] = "height"
        both["wind"].encoding["coordinates"] = "height_2"
        both.reset_coords("height_2", drop=True).assign(
            height=((), height, {"units": "m", "standard_name": "height"}),
            height_2=((), 10.0, {"units": "m", "standard_name": "height"}),
        ).to_netcdf(tmp_path / f"{name}.nc")
    with pytest.raises(DataError, match=f"{FLAT} lies at height 10 m, that of the truth at heig"):
        score(tmp_path / "made.nc", tmp_path / "truth.nc")
    for name in ("made", "truth"):
        with xr.open_dataset(tmp_path / f"{name}.nc") as ds:
            ds.load()[["wind"]].to_netcdf(tmp_path / f"{name}_wind.nc")
    table = score(tmp_path / "made_wind.nc", tmp_path / "truth_wind.nc", scores=["rmse"])
    assert table.row("model", "wind", "rmse", 6.0).value == pytest.approx(1.0)


def test_levels_without_units_say_what_would_fit():
    pascal = ("level", np.array([50000.0, 70000.0, 85000.0]))
    with pytest.raises(DataError, match=r"these are Pa: say so, as `ds\['level'\].attrs\['units"):
        score(MADE_HIGH.assign_coords(level=pascal), TRUE_HIGH)
    told = r"those of the truth are Pa: say so, as `truth\['level'\].attrs\['units'\] = 'Pa'`"
    with pytest.raises(DataError, match=told):
        score(MADE_HIGH, TRUE_HIGH.assign_coords(level=pascal))
    with pytest.raises(DataError, match=r"up to 85000 with units 'not said'.*ds\['plev'\].attrs"):
        score(MADE_HIGH.assign_coords(level=pascal).rename(level="plev"), TRUE_HIGH)

"""Names of earth2studio, such as `t850`, beside a truth with an axis of levels."""

import logging

import numpy as np
import pytest
import xarray as xr

from diffsci.errors import DataError
from diffsci.stages.scores.standalone import score
from tests.stages.scores.imitations import FLAT, HIGH, LEAD, LEVELS, forecast, require_right, truth

TRUE = truth(high=True)
MADE = forecast(TRUE)
OURS = {"number": "ensemble", LEAD: "lead_time", "latitude": "lat", "longitude": "lon"}


def in_unit(ds, unit, added=0.0):
    values = {name: (each + added).assign_attrs(units=unit) for name, each in ds.data_vars.items()}
    return xr.Dataset(values, ds.coords)


def bare(ds):
    """As earth2studio writes: its dims, and no units."""
    ds = ds.rename({old: new for old, new in OURS.items() if old in ds.dims})
    return xr.Dataset({n: v.drop_attrs() for n, v in ds.data_vars.items()}, ds.coords)


def by_name(ds, letter="t", levels=LEVELS):
    """An array for each level, named by it."""
    flat = {f"{letter}{p:g}": ds[HIGH].sel(level=p, drop=True) for p in levels}
    return xr.Dataset(flat, {n: v for n, v in ds.coords.items() if n != "level"})


def wind(ds):
    return in_unit(ds.rename({HIGH: "u_component_of_wind"}), "m s-1")


LAYOUTS = {
    "an array for each name": lambda: bare(by_name(MADE)),
    "a dim of names": lambda: bare(by_name(MADE)).to_dataarray("variable").to_dataset(name="x"),
    "an array without name": lambda: bare(by_name(MADE)).to_dataarray("variable"),
    "one level in Celsius": lambda: in_unit(by_name(MADE), "degC", -273.15),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_of_a_level_are_those_of_the_axis(layout, caplog):
    with caplog.at_level(logging.INFO):
        table = require_right(LAYOUTS[layout](), TRUE)
    assert table.variables == (f"{HIGH}@500", f"{HIGH}@700", f"{HIGH}@850")
    assert "t500 is temperature at 500 hPa, t700 is temperature at 700" in caplog.text


def test_the_truth_and_a_baseline_may_have_either_form(tmp_path):
    named = by_name(TRUE)
    stacked = named.to_dataarray("variable").assign_attrs(units="K").to_dataset(name="fields")
    stacked.to_zarr(tmp_path / "truth.zarr", zarr_format=2)
    for true in (named, stacked, tmp_path / "truth.zarr"):
        require_right(MADE, true, baselines={"named": bare(by_name(MADE))})
    table = require_right(bare(by_name(MADE, levels=(850.0,))), TRUE, baselines={"axis": MADE})
    assert table.variables == (f"{HIGH}@850",)
    assert {row.forecast for row in table.rows} == {"model", "axis"}


def test_what_only_one_has_is_told(caplog):
    require_right(bare(by_name(MADE)), TRUE.sel(level=[500, 850]))
    assert "the truth has no temperature@700: not scored" in caplog.text
    with pytest.raises(DataError, match="axis: lacks temperature@700; leave it out"):
        score(MADE, TRUE, baselines={"axis": by_name(MADE, levels=(500.0, 850.0))})


def test_names_of_two_meanings_are_refused():
    high = wind(TRUE).assign_coords(level=("level", [10.0, 500.0, 850.0], {"units": "hPa"}))
    made = bare(by_name(MADE, "u").rename(u500="u10", u700="u500"))
    said = "u10 may be 10m_u_component_of_wind, .* or u_component_of_wind at 10 hPa.*ds.rename"
    with pytest.raises(DataError, match=said):
        score(made, high, scores=["rmse"])
    # Beside the wind at 10 m it is the other.
    both = made.assign(u10m=made.u10)
    table = score(both, high, scores=["rmse"])
    assert table.variables == tuple(f"u_component_of_wind@{p}" for p in (10, 500, 850))
    # Without such a level, and without names of levels, it is the wind at 10 m.
    surface = wind(TRUE).sel(level=500, drop=True)
    surface = surface.rename(u_component_of_wind="10m_u_component_of_wind")
    assert score(made, surface, scores=["rmse"]).variables == ("10m_u_component_of_wind",)


def test_units_and_fields_that_contradict_a_name_are_refused():
    metres = in_unit(by_name(MADE), "m")
    with pytest.raises(DataError, match=r"t500 is in m, and temperature at 500 hPa.*in K; correct"):
        score(metres, TRUE)
    twice = MADE.assign(t850=MADE[HIGH].sel(level=850, drop=True))
    with pytest.raises(DataError, match=r"temperature at 850 hPa is there twice, as t850 and on"):
        score(twice, TRUE)
    stacked = bare(by_name(MADE)).to_dataarray("variable").to_dataset(name="x")
    stacked = stacked.assign_coords(variable=["t500", "t500", "t850"])
    with pytest.raises(DataError, match="t500 of its axis variable is there more than once"):
        score(stacked, TRUE)


@pytest.mark.parametrize("forecasts", [True, False])
def test_short_names_in_other_units_are_converted_or_refused(forecasts):
    """Either of the two has the short name: it is no variable that the other lacks."""
    true = truth()
    made = forecast(true)
    short, other = (made, true) if forecasts else (true, made)

    def scored(unit, added=0.0):
        one = in_unit(short.rename({FLAT: "t2m"}), unit, added)
        return (one, other) if forecasts else (other, one)

    require_right(*scored("degC", -273.15))
    said = f"{'t2m' if forecasts else FLAT} is in {'m' if forecasts else 'K'}, .*do not convert"
    with pytest.raises(DataError, match=said):
        score(*scored("m"))


def test_leads_before_the_start_are_refused():
    hours = MADE[LEAD].values - np.timedelta64(12, "h")
    past = MADE.assign_coords({LEAD: hours})
    with pytest.raises(
        DataError, match=r"model: 1 of its 3 leads lie before the start, first -6 h"
    ):
        score(past, TRUE)
    assert score(past, TRUE, scores=["rmse"], leads=[0.0, 12.0]).leads == (0.0, 12.0)
    nothing = MADE.assign_coords({LEAD: [hours[1], np.timedelta64("NaT"), hours[2]]})
    with pytest.raises(DataError, match="model: 1 of its 3 leads have no value"):
        score(nothing, TRUE)

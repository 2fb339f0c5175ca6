"""What is wrong with stores of other tools is named; what is left out is counted."""

import logging

import numpy as np
import pytest
import xarray as xr

from diffsci.errors import DataError
from diffsci.stages.scores.standalone import score
from tests.stages.scores.test_standalone import analysis, ensemble

NAME = "2m_temperature"
TRUTH = analysis()
MADE = ensemble(TRUTH)


def found(forecast, truth=TRUTH, **options):
    return score(forecast, truth, scores=["crps"], **options)


def nothing(ds, **where):
    """The data set with nothing at these places."""
    values = ds[NAME].copy(deep=True)
    values[where] = np.nan
    return ds.assign({NAME: values})


WRONG = {
    "start-twice": (
        lambda: xr.concat([MADE, MADE.isel(time=[1])], "time"),
        r"1 of its times of initialisation are there more than once, first 2021-03-01T10:00:00",
    ),
    "lead-twice": (
        lambda: xr.concat([MADE, MADE.isel(prediction_timedelta=[0])], "prediction_timedelta"),
        r"1 of its leads are there more than once, first 1 h, .*drop_duplicates\('prediction_time",
    ),
    "starts-as-text": (
        lambda: MADE.assign_coords(time=["a", "b", "c"]),
        "its times of initialisation are no dates, such as a",
    ),
    "starts-as-numbers": (lambda: MADE.assign_coords(time=[0.0, 1.0, 2.0]), "no dates, such as 0"),
    "leads-without-unit": (
        lambda: MADE.assign_coords(prediction_timedelta=[1, 6, 12]),
        "its leads are plain numbers; give them units",
    ),
    "no-longitude": (
        lambda: MADE.isel(longitude=0),
        r"the forecast has no dim longitude.*ds.isel\(longitude=\[0\]\)",
    ),
    "member-of-nothing": (lambda: nothing(MADE, number=2), "of member 2 there is none"),
    "case-of-nothing": (lambda: nothing(MADE, time=1), "of that case there is none"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_forecast_is_named(wrong):
    made, message = WRONG[wrong]
    with pytest.raises(DataError, match=message):
        found(made())
    # A baseline is held to the same.
    with pytest.raises(DataError, match=message):
        found(MADE, baselines={"other": made()})


def test_a_time_without_any_truth_is_to_be_taken_out():
    """It is row 11: case 10 at lead 1; as a gap that moves it is no less empty."""
    gone = nothing(TRUTH, time=11)
    with pytest.raises(DataError, match=r"nothing at all at that time.*truth.drop_sel"):
        found(MADE, gone)
    with pytest.raises(DataError, match="no value at all in case 2021-03-01T10.*out of the truth"):
        found(MADE, gone, missing="moving")
    table = found(MADE, TRUTH.drop_isel(time=11))
    assert {row.count for row in table.rows} == {2}


@pytest.mark.parametrize("unit", ["hours", "h"])
def test_leads_in_hours_are_read(unit):
    leads = ("prediction_timedelta", [1, 6, 12], {"units": unit})
    table = found(MADE.assign_coords(prediction_timedelta=leads))
    assert table.rows == found(MADE).rows


def test_starts_are_scored_in_their_order():
    """Intervals draw neighbouring cases together."""
    table = found(MADE.isel(time=[2, 0, 1]))
    assert table.rows == found(MADE).rows


def test_gaps_that_move_are_counted_and_are_not_static(caplog, tmp_path):
    """Three cells at row 9, which is case 3 at lead 6 alone."""
    truth = nothing(TRUTH, time=9, latitude=0, longitude=slice(0, 3))
    with caplog.at_level(logging.WARNING):
        found(MADE, truth, missing="moving", out=tmp_path / "out")
    text = f"{NAME} has no truth in 3 of 108 values"
    assert text in caplog.text and text in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(
        DataError,
        match=r"static, and they change: 3 of 12 cells .*case 2021-03-01T03:00:00, lead 6 h, "
        r"0 in the first, case 2021-03-01T03:00:00, lead 1 h.*--missing moving",
    ):
        found(MADE, truth, missing="static")


def test_gaps_are_those_of_what_is_scored(caplog):
    """Row 0 is scored nowhere: what it lacks is neither told nor left out."""
    with caplog.at_level(logging.WARNING):
        table = found(MADE, nothing(TRUTH, time=0, latitude=0), missing="static")
    assert table.rows == found(MADE).rows and "no truth in" not in caplog.text


def at_levels(ds, *levels):
    """Another field at each level."""
    made = xr.concat([ds.assign_coords(level=level) + level for level in levels], "level")
    return made.assign({NAME: made[NAME].assign_attrs(units="K")})


def test_levels_are_found_by_value_and_what_is_not_scored_is_told(caplog, tmp_path):
    truth = at_levels(TRUTH, 500, 700).transpose("time", "level", ...)
    alone = {level: found(MADE + level, TRUTH + level).rows[0].value for level in (500, 700)}
    with caplog.at_level(logging.WARNING):
        made = at_levels(MADE, 850, 700, 500)
        table = found(made.assign(wind=made[NAME]), truth, out=tmp_path / "out")
    report = (tmp_path / "out" / "report.html").read_text()
    for what in ("wind", "level 850"):
        assert f"the truth has no {what}: not scored" in caplog.text
        assert f"the truth has no {what}: not scored" in report
    assert "5 members of 3 cases, 2021-03-01T03:00:00 to 2021-03-01T17:00:00, against" in report
    for level, wanted in alone.items():
        value = table.row("model", f"{NAME}@{level}", "crps").value
        assert value == pytest.approx(wanted, rel=1e-4)  # float32 of some 1000
    with pytest.raises(DataError, match=r"has no level 500.*truth.sel\(level=\[700\]\)"):
        found(at_levels(MADE, 700), truth)
    pascal = at_levels(MADE, 500, 700).assign_coords(level=[50000.0, 70000.0])
    with pytest.raises(DataError, match="these are Pa"):
        found(pascal, truth)

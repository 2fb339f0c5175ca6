"""Fill values that no file declares, members and dims that variables do not share, areas."""

import logging

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

from diffsci.cli import main
from diffsci.errors import DataError
from diffsci.stages.scores.aligning import align
from diffsci.stages.scores.fills import Watched
from diffsci.stages.scores.standalone import score
from tests.stages.scores.imitations import FLAT, LEAD, forecast, require_right, truth

TRUE = truth()
MADE = forecast(TRUE)
FILLS = (1e20, -9999.0, 9.96921e36, -999.0, 1e30)


def with_value(ds, value, *place):
    made = ds.copy(deep=True)
    made[FLAT].values[place] = value
    return made


@pytest.mark.parametrize("fill", FILLS)
def test_a_fill_value_is_seen_in_any_field(fill):
    """Row 22 is case 3 at lead 1, and case 9 at no lead: not the first field that is read."""
    told = rf"{FLAT} is {fill:g} in at least 1 values.*fill value that the file does not declare"
    told = told.replace("+", r"\+")
    with pytest.raises(DataError, match="model: " + told):
        score(with_value(MADE, fill, 3, 1, 2, 0, 0), TRUE, scores=["rmse"])
    with pytest.raises(DataError, match="b: " + told):
        score(MADE, TRUE, baselines={"b": with_value(MADE, fill, 3, 1, 2, 0, 0)}, scores=["rmse"])
    with pytest.raises(DataError, match="the truth: " + told):
        score(MADE, with_value(TRUE, fill, 17, 0, 0), scores=["rmse"])


def test_what_the_message_says_works_and_a_field_of_fill_values_is_seen():
    made = with_value(MADE, -9999.0, slice(None), slice(None), 2)
    with pytest.raises(DataError, match="is -9999 in at least 192 values"):
        score(made, TRUE, scores=["rmse"])
    holed = with_value(TRUE, -9999.0, 17, 0, 0)
    holed[FLAT] = holed[FLAT].where(holed[FLAT] > -4999.5)
    require_right(MADE, holed, missing="moving")


def test_a_fill_value_is_known_in_the_units_that_it_comes_to():
    cold = with_value(MADE.assign({FLAT: MADE[FLAT] - 273.15}), -9999.0, 2, 0, 1, 0, 0)
    cold[FLAT].attrs["units"] = "degC"
    with pytest.raises(DataError, match="is -9999 in at least 1 values"):
        score(cold.astype("f4"), TRUE, scores=["rmse"])


def test_odd_values_of_the_data_are_no_fill_values():
    """Huge throughout, an extreme that happens to be 9999, and a simulation that diverges."""
    for true, made in (
        (TRUE * 1e20, MADE * 1e20),
        (with_value(TRUE * 30, 9999.0, 17, 0, 0), MADE * 30),
        (TRUE, with_value(MADE, 3.1415926e18, 3, 1, 2, 0, 0)),
    ):
        true, made = (ds.assign({FLAT: ds[FLAT].assign_attrs(units="K")}) for ds in (true, made))
        assert score(made, true, scores=["rmse"]).rows
    assert isinstance(align(MADE, TRUE).truth, Watched)


def test_the_same_member_twice_is_refused():
    twice = xr.concat([MADE, MADE.isel(number=[0])], "number")
    told = r"1 of its members are there more than once, first 0, .*drop_vars\('number'\)"
    with pytest.raises(DataError, match=told):
        score(twice, TRUE)
    with pytest.raises(DataError, match="b: " + told):
        score(MADE, TRUE, baselines={"b": twice})
    require_right(twice.drop_vars("number").isel(number=slice(2)), TRUE)


@pytest.mark.parametrize("first", ["wind", FLAT])
def test_members_are_counted_for_each_variable(first, caplog, tmp_path):
    made = MADE.assign(wind=MADE[FLAT].mean("number", keep_attrs=True))
    made = made[[first, *({"wind", FLAT} - {first})]]
    true = TRUE.assign(wind=TRUE[FLAT])
    table = score(made, true, tmp_path / "out", scores=["rmse", "spread_skill"])
    assert {row.members for row in table.rows if row.variable == "wind"} == {1}
    assert {row.members for row in table.rows if row.variable == FLAT} == {2}
    for name in ("wind", FLAT):
        assert table.row("model", name, "rmse", 24.0).value == pytest.approx(4.0)
    assert "1 or 2 members of 4 cases" in (tmp_path / "out" / "report.html").read_text()
    assert "model has one member of wind, which has no spread" in caplog.text


@pytest.mark.parametrize(
    ("dim", "told"),
    [
        (LEAD, r"wind has no dim prediction_timedelta, which 2m_temp.*ds.drop_vars\('wind'\)"),
        ("time", "wind has no dim time, which 2m_temperature has"),
        ("longitude", "wind has no dim longitude, which 2m_temperature has"),
    ],
)
def test_variables_of_unlike_dims_are_named(dim, told):
    made = MADE.assign(wind=MADE[FLAT].isel({dim: 0}, drop=True))
    with pytest.raises(DataError, match=told):
        score(made, TRUE.assign(wind=TRUE[FLAT]))


def test_what_never_changes_is_no_forecast(caplog):
    made = MADE.assign(wind=MADE[FLAT].isel({"time": 0, "number": 0, LEAD: 0}, drop=True))
    require_right(made, TRUE.assign(wind=TRUE[FLAT]))
    assert "wind: the same at each start and lead: not scored" in caplog.text


def test_areas_of_a_file_that_are_others_are_told(caplog):
    """Weights are exact: differences of sines of the edges at -60, -30, 0, 30, 60 degrees."""
    exact = np.diff(np.sin(np.deg2rad([-60.0, -30.0, 0.0, 30.0, 60.0])))
    dims = ("latitude", "longitude")
    even, right = (xr.DataArray(np.tile(each[:, None], 6), dims=dims)
                   for each in (np.ones(4), exact * 6.371e6**2))  # fmt: skip
    told = "cells weigh by their exact areas on the sphere; {} of {} differs from them by up to 18%"
    named = MADE.assign_coords(size=even.transpose())
    named[FLAT].attrs["cell_measures"] = "area: size"
    for made, true, name, whose in (
        (MADE, TRUE.assign(cell_area=even), "cell_area", "truth"),
        (named, TRUE, "size", "model"),
    ):
        require_right(made, true)
        (text,) = align(made, true).left_out
        assert text.startswith(told.format(name, whose)) and "and is not used" in text
    with caplog.at_level(logging.INFO):
        assert align(MADE, TRUE.assign_coords(areacella=right)).left_out == ()
    assert "exact areas, with which areacella agrees" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that is not there")
def test_the_device_is_named_as_it_was_asked_for(tmp_path):
    MADE.to_netcdf(tmp_path / "made.nc")
    words = ["score", str(tmp_path / "made.nc"), "--truth", str(tmp_path / "made.nc")]
    for word, told in (
        ("cuda", "--device: got 'cuda', expected cpu"),
        ("gpu", "--device: got 'gpu', expected auto, cpu"),
    ):
        done = CliRunner().invoke(main, [*words, "--device", word])
        assert done.exit_code == 2 and told in done.stderr and "runtime" not in done.stderr

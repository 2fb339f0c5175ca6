"""Forecasts and truths that lie in folders of NetCDF files, as many tools write them."""

import numpy as np
import pytest
from click.testing import CliRunner

from diffsci.cli import main
from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.stages.scores import forecast_files
from diffsci.stages.scores.standalone import named, score
from tests.stages.scores.test_standalone import analysis, ensemble


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A forecast of a file for each start, a truth of a file for each day, and what they are of."""
    folder, truth = tmp_path_factory.mktemp("folders"), analysis()
    made = ensemble(truth)
    for name in ("forecast", "truth"):
        (folder / name).mkdir()
    for number in range(made.sizes["time"]):
        # One with its start as a dim, the others as a number beside.
        part = made.isel(time=[0] if number == 0 else number)
        part.to_netcdf(folder / "forecast" / f"{number}.nc")
    for number in range(0, 40, 24):
        truth.isel(time=slice(number, number + 24)).to_netcdf(folder / "truth" / f"{number}.nc")
    return folder, made, truth


def test_folders_and_globs_score_as_what_they_hold(folders):
    folder, made, truth = folders
    wanted = score(made, truth, scores=["crps", "rmse"]).overall()
    for forecast in (folder / "forecast", folder / "forecast" / "*.nc"):
        for known in (folder / "truth", folder / "truth" / "*.nc"):
            found = score(forecast, str(known), scores=["crps", "rmse"]).overall()
            assert found == wanted


def test_what_does_not_fit_together_is_named(folders, tmp_path):
    _, made, _ = folders
    for number in range(3):
        made.isel(time=[number]).to_netcdf(tmp_path / f"{number}.nc")
    (tmp_path / "1.nc").write_bytes(b"<html>")
    with pytest.raises(StorageError, match=r"1 of 3 files cannot be opened: 1.nc; fetch"):
        forecast_files.opened(tmp_path)
    made.isel(time=[1], latitude=slice(2)).to_netcdf(tmp_path / "1.nc")
    with pytest.raises(StorageError, match="3 files do not fit together"):
        forecast_files.opened(tmp_path)
    with pytest.raises(ConfigError, match="no such file or store"):
        forecast_files.opened(tmp_path / "*.nc4")


def test_joined_files_are_the_whole(folders):
    folder, made, _ = folders
    found = forecast_files.opened(folder / "forecast")
    for name in made.variables:
        np.testing.assert_array_equal(found[name].values, made[name].values)


AXES = {
    "starts and leads": ("time", "prediction_timedelta"),
    "starts and members": ("time", "number"),
    "leads": ("prediction_timedelta",),
    "all three": ("time", "number", "prediction_timedelta"),
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("dated", [False, True])
def test_files_of_a_single_start_lead_or_member_are_all_scored(folders, tmp_path, axes, dated):
    """As GRIB is written: a field a file, and what it is of as numbers beside."""
    _, made, truth = folders
    made = made.isel(number=slice(2), time=slice(2))
    for number, at in enumerate(np.ndindex(*(made.sizes[dim] for dim in AXES[axes]))):
        part = made.isel(dict(zip(AXES[axes], at, strict=True)))
        if dated:
            part = part.assign_coords(valid_time=part.time + part.prediction_timedelta)
        part.to_netcdf(tmp_path / f"{number}.nc")
    found = score(tmp_path, truth, scores=["crps", "rmse"])
    assert found.rows == score(made, truth, scores=["crps", "rmse"]).rows


def test_single_leads_of_one_time_each_have_their_valid_time(folders, tmp_path):
    """Of CF: `time` is the one that values are for, and the start stands beside it by name."""
    _, made, truth = folders
    late = made.isel(prediction_timedelta=[1])
    for number in range(3):
        part = late.isel(time=number, prediction_timedelta=0, drop=True)
        start = late.time.values[number]
        part = part.assign_coords(
            forecast_reference_time=start, time=start + np.timedelta64(6, "h")
        )
        part.to_netcdf(tmp_path / f"{number}.nc")
    assert score(tmp_path, truth, scores=["crps"]).rows == score(late, truth, scores=["crps"]).rows


def test_files_that_hide_each_other_or_differ_in_units_are_refused(folders, tmp_path):
    _, made, _ = folders
    for number in range(3):
        made.isel(time=[number]).to_netcdf(tmp_path / f"{number}.nc")
    (made.isel(time=[1]) + 1).to_netcdf(tmp_path / "3.nc")
    with pytest.raises(StorageError, match="2m_temperature several times at the same coordinates"):
        forecast_files.opened(tmp_path)
    other = made.isel(time=[1]) - 273.15
    other["2m_temperature"].attrs["units"] = "degC"
    other.to_netcdf(tmp_path / "3.nc")
    told = r"2m_temperature is in K in 0\.nc and in degC in 3\.nc: convert one"
    with pytest.raises(DataError, match=told):
        forecast_files.opened(tmp_path)


def test_a_score_that_is_none_is_named_with_its_option():
    with pytest.raises(ConfigError, match=r"--scores crp: no 'crp' .* are .*did you mean 'crps'"):
        named("crp")


def test_the_command_names_its_folder(folders, tmp_path, monkeypatch):
    folder, _, _ = folders
    monkeypatch.chdir(tmp_path)
    words = ["score", str(folder / "forecast" / "*.nc"), "--truth", str(folder / "truth")]
    done = CliRunner().invoke(main, [*words, "--scores", "crps"])
    assert done.exit_code == 0 and (tmp_path / "forecast-scores" / "scores.csv").exists()

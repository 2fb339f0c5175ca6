"""Forecasts and truths that lie in folders of NetCDF files, as many tools write them."""

import numpy as np
import pytest
from click.testing import CliRunner

from diffsci.cli import main
from diffsci.errors import ConfigError, StorageError
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


def test_a_score_that_is_none_is_named_with_its_option():
    with pytest.raises(ConfigError, match=r"--scores crp: no 'crp' .* are .*did you mean 'crps'"):
        named("crp")


def test_the_command_names_its_folder(folders, tmp_path, monkeypatch):
    folder, _, _ = folders
    monkeypatch.chdir(tmp_path)
    words = ["score", str(folder / "forecast" / "*.nc"), "--truth", str(folder / "truth")]
    done = CliRunner().invoke(main, [*words, "--scores", "crps"])
    assert done.exit_code == 0 and (tmp_path / "forecast-scores" / "scores.csv").exists()

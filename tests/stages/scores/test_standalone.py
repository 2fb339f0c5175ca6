"""Forecasts of any tool, scored against a truth: the same numbers under every tool's names."""

import csv

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

from diffsci.cli import main
from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.evaluation.blocks import whole
from diffsci.evaluation.scores.crps import crps
from diffsci.stages.scores.aligning import align
from diffsci.stages.scores.standalone import rows_of, score

HOUR = np.timedelta64(1, "h")
LATITUDE, LONGITUDE = np.array([50.0, 51.0, 52.0]), np.array([-2.0, -1.0, 0.0, 1.0])


def analysis(count=40, celsius=False, seed=0):
    """Hourly temperatures by valid time."""
    values = np.random.default_rng(seed).normal(280, 5, (count, 3, 4)).astype("f4")
    times = np.datetime64("2021-03-01", "ns") + HOUR * np.arange(count)
    ds = xr.Dataset(
        {"2m_temperature": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {
            "time": times,
            "latitude": ("latitude", LATITUDE, {"units": "degrees_north"}),
            "longitude": ("longitude", LONGITUDE, {"units": "degrees_east"}),
        },
    )
    return ds


def ensemble(truth, starts=(3, 10, 17), leads=(1, 6, 12), members=5, seed=1):
    """In our own layout: truth and noise."""
    noise = np.random.default_rng(seed).normal(size=(len(starts), members, len(leads), 3, 4))
    rows = np.array(starts)[:, None] + np.array(leads)
    true = truth["2m_temperature"].values[rows]
    dims = ("time", "number", "prediction_timedelta", "latitude", "longitude")
    return xr.Dataset(
        {"2m_temperature": (dims, (true[:, None] + noise).astype("f4"), {"units": "K"})},
        {
            "time": truth.time.values[list(starts)],
            "number": np.arange(members),
            "prediction_timedelta": (HOUR * np.array(leads)).astype("timedelta64[ns]"),
            "latitude": truth.latitude,
            "longitude": truth.longitude,
        },
    )


LAYOUTS = {
    "own": lambda ds: ds,
    "wb2": lambda ds: ds.rename(number="realization"),
    "weatherbenchx": lambda ds: ds.rename(time="init_time", prediction_timedelta="lead_time"),
    "earth2studio": lambda ds: ds.rename(
        number="ensemble", prediction_timedelta="lead_time", latitude="lat", longitude="lon",
        **{"2m_temperature": "t2m"},
    ).transpose("lead_time", "lat", "ensemble", "time", "lon"),
    "cfgrib": lambda ds: ds.rename(
        prediction_timedelta="step", **{"2m_temperature": "2t"}
    ).assign_coords(valid_time=ds.time + np.timedelta64(1, "h")),
    "gencast": lambda ds: ds.isel(time=[0]).rename(number="sample", time="init")
    .rename(prediction_timedelta="time", latitude="lat", longitude="lon")
    .isel(init=0, drop=True).assign_coords(datetime=ds.time.values[0]),
    "gencast_batches": lambda ds: ds.assign_coords(
        datetime=ds.time + ds.prediction_timedelta
    ).drop_vars("time").rename(time="batch", number="sample")
    .rename(prediction_timedelta="time", latitude="lat", longitude="lon"),
    "without_units": lambda ds: ds.rename({"2m_temperature": "t2m"}).map(
        lambda variable: variable.drop_attrs()
    ),
    "upside_down": lambda ds: ds.isel(latitude=slice(None, None, -1)),
    "circle": lambda ds: ds.assign_coords(longitude=ds.longitude % 360).sortby("longitude"),
    "celsius": lambda ds: (ds - 273.15).assign(
        {"2m_temperature": (ds["2m_temperature"] - 273.15).assign_attrs(units="degC")}
    ),
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    truth = analysis()
    truth.to_netcdf(tmp_path / "truth.nc")
    return tmp_path, truth


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_arrays(files, layout):
    folder, truth = files
    wanted = ensemble(truth)
    LAYOUTS[layout](wanted).to_netcdf(folder / "made.nc")
    found = align(folder / "made.nc", folder / "truth.nc")
    cases = 1 if layout == "gencast" else 3
    values = wanted["2m_temperature"].values[:cases, :, :, None]
    # Celsius is stored in float32: 2e-5 K.
    assert np.abs(whole(found.forecasts["model"]) - values).max() <= (
        1e-4 if layout == "celsius" else 0
    )
    rows = np.array([[3], [10], [17]])[:cases] + [1, 6, 12]
    assert np.array_equal(whole(found.truth)[:, 0, :, 0], truth["2m_temperature"].values[rows])
    assert found.leads == (1.0, 6.0, 12.0) and found.lead_unit == "h"
    assert found.keys[0] == "2021-03-01T03:00:00"


def test_the_command_writes_table_figures_and_page(files):
    folder, truth = files
    made, other = ensemble(truth), ensemble(truth, seed=2)
    made.to_zarr(folder / "made.zarr", consolidated=False)
    other.isel(time=slice(1, 3)).to_netcdf(folder / "other.nc")
    out = folder / "scores"
    done = CliRunner().invoke(
        main,
        ["score", str(folder / "made.zarr"), "--truth", str(folder / "truth.nc"), "--baseline",
         str(folder / "other.nc"), "--out", str(out), "--scores", "crps,rmse"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "other: 1 of 3 cases are not there" in done.stderr
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert {row["forecast"] for row in rows} == {"model", "other"}
    (first,) = [r for r in rows if r["forecast"] == "model" and r["score"] == "crps"
                and r["lead"] == "6"]  # fmt: skip
    found = align(folder / "made.zarr", folder / "truth.nc", {"other": folder / "other.nc"})
    # The weights of three rows of latitude: differences of sines.
    edges = np.sin(np.deg2rad([49.5, 50.5, 51.5, 52.5]))
    weights = np.diff(edges)[:, None] / np.diff(edges).mean()
    model, true = whole(found.forecasts["model"]), whole(found.truth)
    each = crps(model[:, :, 1, 0].astype(float), true[:, 0, 1, 0])
    assert float(first["value"]) == pytest.approx((each * weights).mean(), rel=1e-6)
    assert first["count"] == "2" and (out / "report.html").stat().st_size > 10_000
    assert (out / "figures" / "scores_by_lead.png").exists()


def test_batches_of_no_known_start_are_refused(files):
    folder, truth = files
    LAYOUTS["gencast_batches"](ensemble(truth)).drop_vars("datetime").to_netcdf(folder / "made.nc")
    with pytest.raises(DataError, match="nothing says when its 3 batches start.*`datetime`"):
        align(folder / "made.nc", folder / "truth.nc")


def test_cells_that_are_not_scored_are_counted(files, caplog):
    _, truth = files
    inner = ensemble(truth).isel(latitude=slice(0, 2))
    land = xr.zeros_like(truth["2m_temperature"][0], dtype=bool)
    land[0, 1] = True
    found = align(inner, truth.where(~land), missing="static")
    assert found.left_out == (
        "the forecast covers 8 of the truth's 12 cells",
        "2m_temperature has no truth in 1 of 8 cells",
    )
    assert all(f"{each}: scored without the others" in caplog.text for each in found.left_out)


def test_the_folder_of_a_run_keeps_its_own_scores(files):
    folder, truth = files
    (folder / "run.json").write_text("{}")
    with pytest.raises(StorageError, match="folder of a run.*--out"):
        score(ensemble(truth), truth, folder)
    assert not (folder / "scores.csv").exists()


def test_a_run_is_scored_against_its_own_truth(files):
    folder, truth = files
    run = folder / "run"
    made = ensemble(truth)
    made.to_zarr(run / "forecast.zarr", consolidated=False)
    rows = np.array([[3], [10], [17]]) + [1, 6, 12]
    dims = ("time", "prediction_timedelta", "latitude", "longitude")
    values = truth["2m_temperature"].values[rows]
    made.isel(number=0, drop=True).assign(
        {"2m_temperature": (dims, values, {"units": "K"})}
    ).to_zarr(run / "truth.zarr", consolidated=False)
    found = align(run, run / "truth.zarr")
    assert np.array_equal(whole(found.truth)[:, 0, :, 0], values)


def test_simulations_are_scored_by_sample(tmp_path):
    random = np.random.default_rng(0)
    dims, x = ("sample", "number", "time", "x"), 0.5 * np.arange(8)
    coordinates = {"sample": [4, 7], "number": [0, 1], "time": ("time", [0.2, 0.4], {"units": "s"}),
                   "x": ("x", x, {"units": "m"})}  # fmt: skip
    values = random.normal(size=(2, 2, 2, 8)).astype("f4")
    made = xr.Dataset({"u": (dims, values, {"units": "1"})}, coordinates)
    made.to_zarr(tmp_path / "made.zarr", consolidated=False)
    true = made.isel(number=0, drop=True) * 2
    true["u"].attrs["units"] = "1"
    true.isel(sample=slice(None, None, -1)).to_zarr(tmp_path / "truth.zarr", consolidated=False)
    found = align(tmp_path / "made.zarr", tmp_path / "truth.zarr")
    assert np.array_equal(whole(found.forecasts["model"])[:, :, :, 0], values)
    assert np.array_equal(whole(found.truth)[:, 0, :, 0], values[:, 0] * 2)
    assert found.leads == (0.2, 0.4) and found.lead_unit == "s"


@pytest.mark.parametrize("calendar", ["360_day", "noleap"])
def test_dates_of_other_calendars_are_matched_with_leads_and_without(tmp_path, calendar):
    truth = analysis()
    days = xr.date_range("2001-02-28", periods=40, freq="h", calendar=calendar, use_cftime=True)
    dated = truth.assign_coords(time=days)
    made = ensemble(truth).assign_coords(time=days[[3, 10, 17]])
    made.to_netcdf(tmp_path / "made.nc")
    dated.to_netcdf(tmp_path / "truth.nc")
    wanted = score(ensemble(truth), truth, scores=["crps"]).overall()
    assert score(tmp_path / "made.nc", tmp_path / "truth.nc", scores=["crps"]).overall() == wanted
    flat = made.isel(prediction_timedelta=0, drop=True)
    found = align(flat, dated)
    assert np.array_equal(
        whole(found.truth)[:, 0, 0, 0], dated["2m_temperature"].values[[3, 10, 17]]
    )
    assert found.leads is None and found.keys[0].startswith("2001-02-28T03:00:00")


def test_cases_without_their_whole_truth_are_left_out_and_counted(files, caplog):
    folder, truth = files
    made = ensemble(truth)
    made.to_netcdf(folder / "made.nc")
    truth.isel(time=slice(0, 25)).to_netcdf(folder / "short.nc")
    found = align(folder / "made.nc", folder / "short.nc")
    assert len(found.keys) == 2
    assert "1 of 3 cases are left out, whose truth is not all there" in caplog.text
    truth.isel(time=slice(0, 3)).to_netcdf(folder / "past.nc")
    with pytest.raises(DataError, match="none of the valid times.*reaches to 2021-03-01T02"):
        align(folder / "made.nc", folder / "past.nc")


BROKEN = {
    "grid": (lambda ds: ds.assign_coords(latitude=ds.latitude + 0.3), "latitude has 3 .*regrid"),
    "units": (
        lambda ds: ds.assign({"2m_temperature": ds["2m_temperature"].assign_attrs(units="m")}),
        "2m_temperature is in m, the truth in K, which do not convert",
    ),
    "variable": (lambda ds: ds.rename({"2m_temperature": "rain"}), "none is in both"),
    "leads": (
        lambda ds: ds.assign_coords(prediction_timedelta=[1, 6, 12]),
        "leads are plain numbers; give them units",
    ),
    "init": (lambda ds: ds.isel(time=0, drop=True), "no time of initialisation"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_is_named(files, case):
    folder, truth = files
    change, told = BROKEN[case]
    change(ensemble(truth)).to_netcdf(folder / "made.nc")
    with pytest.raises(DataError, match=told):
        score(folder / "made.nc", folder / "truth.nc", folder / "out")
    assert not (folder / "out").exists()


def test_what_is_not_there_is_named(files):
    folder, _ = files
    with pytest.raises(ConfigError, match="none.zarr: no such file or store"):
        align(folder / "none.zarr", folder / "truth.nc")
    with pytest.raises(ConfigError, match="none.zarr: no such truth"):
        align(ensemble(analysis()), folder / "none.zarr")


def asked(folder, *options):
    """`diffsci score` of the files of a test, without its log."""
    words = ["score", str(folder / "made.nc"), "--truth", str(folder / "truth.nc"),
             "--out", str(folder / "out"), "--scores", "crps,rmse", *options]  # fmt: skip
    return CliRunner().invoke(main, words)


def spoiled(ds, where):
    """The same with NaN where a mask says."""
    return ds.assign({"2m_temperature": ds["2m_temperature"].where(~where)})


def test_a_lead_without_values_is_named_and_can_be_left_out(files):
    folder, truth = files
    made = ensemble(truth)
    spoiled(made, made.prediction_timedelta == HOUR).to_netcdf(folder / "made.nc")
    done = asked(folder)
    assert done.exit_code == 3
    assert f"model ({folder / 'made.nc'}): 2m_temperature has 180 values that are" in done.stderr
    assert "of lead 1 there is none: leave it out with `--leads`" in done.stderr
    assert not (folder / "out").exists()
    found = score(folder / "made.nc", folder / "truth.nc", leads=[6.0, 12.0], scores=["crps"])
    assert found.leads == (6.0, 12.0)
    again = asked(folder, "--leads", "5,6")
    assert again.exit_code == 3 and "has no lead 5; it has 1, 6, 12 h" in again.stderr
    assert "expected numbers such as 6,12" in asked(folder, "--leads", "six").stderr


def test_gaps_of_the_truth_are_refused_unless_they_are_declared(files):
    folder, truth = files
    made = ensemble(truth)
    sea = (truth.latitude > 50.5) & (truth.longitude < 0)
    made.to_netcdf(folder / "made.nc")
    (folder / "truth.nc").unlink()
    spoiled(truth, sea).to_netcdf(folder / "truth.nc")
    done = asked(folder)
    assert done.exit_code == 3
    assert f"truth ({folder / 'truth.nc'}): 2m_temperature has 36 values that are" in done.stderr
    assert "declare them: `--missing`" in done.stderr
    # The forecast has values there, or has none: they count alike, which is not at all.
    one = score(folder / "made.nc", folder / "truth.nc", scores=["crps"], missing="static")
    two = score(spoiled(made, sea), spoiled(truth, sea), scores=["crps"], missing="moving")
    assert one.overall() == two.overall()
    there = whole(align(made, truth).truth)[:, 0, :, 0][..., ~sea.values]
    members = whole(align(made, truth).forecasts["model"])[:, :, :, 0][..., ~sea.values]
    edges = np.sin(np.deg2rad([49.5, 50.5, 51.5, 52.5]))
    share = np.repeat(np.diff(edges), 4).reshape(3, 4)[~sea.values]
    each = np.stack([crps(members[:, :, n].astype(float), there[:, n]) for n in range(3)])
    found = one.row("model", "2m_temperature", "crps").value
    assert found == pytest.approx(np.average(each, weights=np.broadcast_to(share, each.shape)))


def test_a_forecast_with_gaps_that_the_truth_has_not_is_refused_with_their_number(files):
    folder, truth = files
    spoiled(ensemble(truth), truth.latitude > 51.5).to_netcdf(folder / "made.nc")
    done = asked(folder, "--missing", "static")
    assert done.exit_code == 3
    # 3 cases, 5 members, 3 leads, 4 cells.
    assert "made.nc): 2m_temperature has 180 values that are not finite" in done.stderr
    assert "make the forecast again, or, where the gaps are meant, leave these" in done.stderr


def test_one_member_has_no_spread_and_that_is_said(files, caplog):
    _, truth = files
    made = ensemble(truth, members=1)
    found = score(made, truth, scores=["crps", "spread_skill", "coverage"])
    assert "model has one member, which has no spread: its spread_skill, coverage" in caplog.text
    assert np.isnan(found.row("model", "2m_temperature", "spread_skill").value)
    error = np.abs(whole(align(made, truth).forecasts["model"]) - whole(align(made, truth).truth))
    edges = np.sin(np.deg2rad([49.5, 50.5, 51.5, 52.5]))
    share = (np.diff(edges) / np.diff(edges).mean())[:, None]
    assert found.row("model", "2m_temperature", "crps").value == pytest.approx(
        (error * share).mean(), rel=1e-6
    )


def test_what_is_left_out_is_told_in_the_report(files):
    folder, truth = files
    ensemble(truth).to_netcdf(folder / "made.nc")
    (folder / "truth.nc").unlink()
    truth.isel(time=slice(0, 25)).to_netcdf(folder / "truth.nc")
    done = asked(folder)
    assert done.exit_code == 0, done.output
    told = "1 of 3 cases are left out, whose truth is not all there"
    assert told in (folder / "out" / "report.html").read_text()


def test_a_truth_of_several_members_is_refused(files):
    _, truth = files
    with pytest.raises(DataError, match="the truth has 5 members .number.*select one"):
        align(ensemble(truth), ensemble(truth))


def test_levels_that_a_forecast_lacks_are_named(files):
    _, truth = files
    high = truth.expand_dims(level=[500.0, 850.0], axis=1)
    made = ensemble(truth).expand_dims(level=[500.0, 700.0], axis=3)
    with pytest.raises(DataError, match="has no level 850, which the truth has; it has 500, 700"):
        align(made, high)
    assert align(made, high.sel(level=[500.0])).channels[0].name == "2m_temperature@500"


def test_scores_have_options_on_the_command_line(files):
    folder, truth = files
    made = ensemble(truth)
    found = score(made, truth, scores=["brier:threshold=280", "crps:fair=false"])
    assert found.scores["brier"].threshold == 280 and not found.scores["crps"].fair
    made.to_netcdf(folder / "made.nc")
    for option, told in (
        ("brier:treshold=280", "did you mean 'threshold'?"),
        ("brier:quantile=2", "got 2.0, expected a share between 0 and 1"),
        ("brier", "brier: needs a training set for its quantile 0.9, and there is none"),
    ):
        done = CliRunner().invoke(main, ["score", str(folder / "made.nc"), "--truth",
                                         str(folder / "truth.nc"), "--scores", option])  # fmt: skip
        assert done.exit_code == 2 and told in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that is not there")
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(files):
    folder, _ = files
    for word, told in (
        ("cuda", "got 'cuda', expected cpu or auto: this torch sees no CUDA device"),
        ("gpu", "device: got 'gpu', expected auto, cpu, mps, cuda or cuda:N"),
    ):
        done = asked(folder, "--device", word)  # There is no forecast either.
        assert done.exit_code == 2 and told in done.stderr


def test_data_sets_are_scored_from_python_as_files_are(files):
    folder, truth = files
    made, other = ensemble(truth), ensemble(truth, seed=2)
    made.to_netcdf(folder / "made.nc")
    other.to_netcdf(folder / "other.nc")
    one = score(made, truth, baselines={"other": other}, scores=["crps", "spectrum"])
    paths = {"other": folder / "other.nc"}
    two = score(folder / "made.nc", folder / "truth.nc", baselines=paths,
                scores=["crps", "spectrum"])  # fmt: skip
    assert one.rows == two.rows and one.forecasts == ("model", "other")
    assert one.skill("other")[0].value == pytest.approx(0, abs=0.3)


def test_a_forecast_without_units_that_cannot_be_in_the_truths_is_refused(files, caplog):
    folder, truth = files
    made = ensemble(truth)
    cold = made.copy(deep=True)
    cold["2m_temperature"] = cold["2m_temperature"].drop_attrs() - 273.15
    cold.to_netcdf(folder / "made.nc")
    done = asked(folder)
    assert done.exit_code == 3 and not (folder / "out").exists()
    assert "do not both say their units" in done.stderr and "as degC they would fit" in done.stderr
    assert "ds['2m_temperature'].attrs['units'] = 'degC'" in done.stderr
    # Where both say one unit a warning is all; values are never changed by a guess.
    said = cold["2m_temperature"].assign_attrs(units="K")
    found = score(cold.assign({"2m_temperature": said}), truth, scores=["bias"])
    assert "2m_temperature is far from the truth" in caplog.text
    value = found.row("model", "2m_temperature", "bias").value
    usual = score(made, truth, scores=["bias"]).row("model", "2m_temperature", "bias").value
    assert value == pytest.approx(usual - 273.15, abs=1e-4)


def test_scores_that_are_there_are_not_written_over(files):
    folder, truth = files
    ensemble(truth).to_netcdf(folder / "made.nc")
    assert asked(folder).exit_code == 0
    before = (folder / "out" / "scores.csv").read_bytes()
    done = asked(folder, "--leads", "6")
    assert done.exit_code == 5 and "has scores already" in done.stderr and "--out" in done.stderr
    assert (folder / "out" / "scores.csv").read_bytes() == before


def test_baselines_of_one_name_and_one_named_model_have_rows_of_their_own(tmp_path):
    paths = [tmp_path / "a" / "forecast.nc", tmp_path / "b" / "forecast.nc", tmp_path / "model.nc"]
    named = rows_of(paths)
    assert list(named) == ["a/forecast", "b/forecast", f"{tmp_path.name}/model"]
    assert list(rows_of([tmp_path / "ifs.nc"])) == ["ifs"]
    with pytest.raises(ConfigError, match="is called a/forecast, too; rename one"):
        rows_of([paths[0], tmp_path / "c" / ".." / "a" / "forecast.zarr", paths[1]])
    with pytest.raises(ConfigError, match="model is the name of another row"):
        align(ensemble(analysis()), analysis(), {"model": ensemble(analysis())})


@pytest.mark.parametrize(
    ("asked_for", "told"),
    [
        ("brier", "--scores brier:threshold=280"),
        ("threshold_crps", "--scores threshold_crps:threshold=280"),
        ("brier:threshold=", "threshold= has no value; .*brier:threshold=280"),
        ("brier:280", "280 has no value; write KEY=VALUE"),
    ],
)
def test_a_threshold_that_is_lacking_is_told_with_how_to_write_it(files, asked_for, told):
    _, truth = files
    with pytest.raises(ConfigError, match=told):
        score(ensemble(truth), truth, scores=[asked_for])
    # What the message says works.
    made = score(ensemble(truth), truth, scores=["brier:threshold=280"])
    assert 0 <= made.row("model", "2m_temperature", "brier").value < 0.1

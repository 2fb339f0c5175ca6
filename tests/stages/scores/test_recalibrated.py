"""The calibrate stage on tiny runs: what is kept, what is applied, and what stays as it was."""

import csv
import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import diffsci
from diffsci import config, pipeline
from diffsci.cli import main
from diffsci.errors import ConfigError, StorageError
from diffsci.forecasting.calibration.recalibration import Recalibration
from tests import tiny_runs

ON = ("calibrate={members: 4, cases: null, levels: [0.5]}",)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A calibrated run, and its pipeline file."""
    folder = tmp_path_factory.mktemp("calibrated")
    file = tiny_runs.make(folder, "downscale")
    tiny_runs.run(file, *ON, out=folder / "run")
    return file, folder / "run"


def opened(path, group=None):
    return xr.open_zarr(path, group=group, consolidated=True).load()


def kept(run):
    file = run / "model" / "calibration.json"
    return Recalibration.from_json(file.read_text(), str(file))


def _mean(values, weights):
    return (values * weights).mean() / weights.mean()


def rows(run):
    with (run / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_store_is_the_raw_one_brought_to_what_was_fitted(here):
    _, run = here
    raw, made, by = opened(run / "forecast-raw.zarr"), opened(run / "forecast.zarr"), kept(run)
    # Three were asked for; the centre is the mean of four.
    assert (raw.sizes["number"], made.sizes["number"], by.centre) == (4, 3, 4)
    x = raw.t2m.values.astype(np.float64)
    centre = x.mean(axis=1, keepdims=True)
    exact = centre + by.shift.item() + by.spread.item() * (x - centre)
    assert np.allclose(made.t2m.values, exact[:, :3], rtol=2e-7)
    assert by.spread.item() != 1
    assert made.attrs["diffsci_calibration"].startswith(by.digest)


def test_the_fit_is_of_the_validation_cases(here):
    _, run = here
    drawn, by = opened(run / "validation.zarr"), kept(run)
    data = xr.open_dataset(run.parent / "weather.nc").t2m
    truth = data.sel(time=drawn.time.values).transpose("time", "latitude", "longitude").values
    x = drawn.t2m.values.astype(np.float64)
    weights = np.cos(np.deg2rad(drawn.latitude.values))[:, None] * np.ones(13)
    error = truth - x.mean(axis=1) - by.shift.item()
    wrong = _mean(error**2, weights)
    spread = np.average(
        np.average(x.var(axis=1, ddof=1), axis=(1, 2), weights=weights * np.ones(13))
    )
    # With a shift that is no more than chance there is nothing else in it; cosines are not areas.
    assert by.shift.item() == 0
    assert by.spread.item() == pytest.approx(np.sqrt(wrong / spread * 4 / 5), rel=1e-3)


def test_both_are_in_the_table_and_the_intervals_beside_them(here):
    _, run = here
    found = {(row["forecast"], row["score"]): row for row in rows(run)}
    assert {"model", "raw"} <= {name for name, _ in found}
    assert found["raw", "crps"]["members"] == found["model", "crps"]["members"] == "3"
    assert float(found["raw", "spread_skill"]["value"]) != float(
        found["model", "spread_skill"]["value"]
    )
    ends, truth = opened(run / "forecast.zarr", "intervals"), opened(run / "truth.zarr")
    low, high = ends.t2m.sel(confidence=0.5, bound="lower"), ends.t2m.sel(bound="upper")[:, 0]
    inside = ((low <= truth.t2m) & (truth.t2m <= high)).weighted(np.cos(np.deg2rad(truth.latitude)))
    covered = float(inside.mean(("time", "latitude", "longitude")))
    assert float(found["model", "conformal_50"]["value"]) == pytest.approx(covered, abs=2e-3)
    assert found["model", "conformal_50_width"]["unit"] == "K"
    assert (ends.time.values == truth.time.values).all()


def test_python_and_the_command_line_give_the_same_members(here, tmp_path):
    _, run = here
    made = opened(run / "forecast.zarr")
    coarse = opened(run / "truth.zarr")
    model = diffsci.load(run)
    assert model.calibration is not None
    by_hand = model.sample(coarse.isel(time=[1]), members=3)
    assert np.array_equal(by_hand.t2m.values[0], made.t2m.values[1])
    result = CliRunner().invoke(
        main,
        ["sample", str(run), "--from", str(run / "truth.zarr"), "--members", "3"]
        + ["--out", str(tmp_path / "mine.zarr")],
    )
    assert result.exit_code == 0, result.output
    mine = opened(tmp_path / "mine.zarr")
    assert np.array_equal(mine.t2m.values, made.t2m.values)
    assert (tmp_path / "mine-raw.zarr").is_dir()


def test_a_store_that_grows_comes_out_as_one_that_was_asked_for_at_once(here, tmp_path):
    _, run = here
    grown, once = tmp_path / "grown.zarr", tmp_path / "once.zarr"
    pipeline.sample(run, members=2, out=grown)
    before = opened(grown)
    pipeline.sample(run, members=6, out=grown)
    pipeline.sample(run, members=6, out=once)
    assert tiny_runs.tree(grown) == tiny_runs.tree(once)
    assert np.array_equal(opened(grown).t2m.values[:, :2], before.t2m.values)
    pipeline.sample(run, members=2, out=grown)  # a store keeps what it has
    assert opened(grown).sizes["number"] == 6


def test_left_alone_where_that_is_wanted(here, tmp_path):
    _, run = here
    out = tmp_path / "raw.zarr"
    pipeline.sample(run, members=4, out=out, overrides=("sample.calibrated=false",))
    raw = opened(run / "forecast-raw.zarr")
    assert np.array_equal(opened(out).t2m.values, raw.t2m.values)
    with pytest.raises(StorageError, match=r"holds members as they were drawn.*--out"):
        pipeline.sample(run, members=4, out=out)


def test_another_sampler_is_refused(here, tmp_path):
    _, run = here
    with pytest.raises(ConfigError, match=r"fitted with sample.sampler DDIM\(.*steps=2.*steps=3"):
        pipeline.sample(run, out=tmp_path / "x.zarr", overrides=("sample.sampler.steps=3",))


def test_the_section_comes_and_goes_and_members_are_drawn_once(here, tmp_path):
    file, _ = here
    text = file.read_text().replace("evaluate: {resamples: 20}\n", "")
    file = file.with_name("unscored.yaml")
    file.write_text(text)
    run = tiny_runs.run(file, out=tmp_path / "run")
    plain = tiny_runs.tree(run / "forecast.zarr")
    before = tiny_runs.record(run)["stages"]["sample"]["seconds"]
    tiny_runs.run(file, "calibrate={members: 3, cases: null, levels: []}", out=run)
    assert tiny_runs.record(run)["network_calls"] > 0
    # The raw members took what they took.
    took = tiny_runs.record(run)["stages"]["sample"]
    assert took["seconds"] == pytest.approx(before + took["seconds_of_call"], abs=2e-3)
    assert tiny_runs.record(run)["stages"]["calibrate"]["status"] == "done"
    assert not (run / "forecast.zarr" / "intervals").exists()
    # What was drawn has another name now, and not a byte of it is another.
    assert tiny_runs.tree(run / "forecast-raw.zarr") == plain
    assert tiny_runs.tree(run / "forecast.zarr") != plain
    tiny_runs.run(file, out=run)
    assert tiny_runs.tree(run / "forecast.zarr") == plain
    assert not (run / "model" / "calibration.json").exists()
    assert not (run / "forecast-raw.zarr").exists()


def test_other_validation_data_that_is_allowed_makes_another_calibration(here, tmp_path):
    """What was fitted to the old cases would correct errors that the new ones do not have."""
    file, _ = here
    place = tmp_path / "moved"
    place.mkdir()
    own = place / "unscored.yaml"
    own.write_text(file.read_text().replace("evaluate: {resamples: 20}\n", ""))
    tiny_runs.weather().to_netcdf(place / "weather.nc")
    run = tiny_runs.run(own, *ON, out=tmp_path / "run")
    before = kept(run)
    changed = tiny_runs.weather()
    changed.t2m[14:16] += 5.0  # the validation part: 2000-01-04T12 and 18
    changed.to_netcdf(place / "weather.nc")
    pipeline.run(config.load(own, ON), run, allow=("data",))
    assert kept(run).digest != before.digest
    made = opened(run / "forecast.zarr")
    assert made.attrs["diffsci_calibration"].startswith(kept(run).digest)


def test_what_has_no_meaning_is_refused_before_anything_is_read(here, tmp_path):
    file, _ = here
    text = file.read_text()
    cases = {
        "split": (text.replace('    valid: {time: ["2000-01-04T12", "2000-01-04T18"]}\n', ""), ""),
        "levels": (text, "calibrate.levels: 0.9 takes 9 validation cases or more, and there are 2"),
    }
    cases["split"] = (cases["split"][0], "data.split.valid: got null, expected a part")
    for name, (written, message) in cases.items():
        other = file.with_name(f"{name}.yaml")
        other.write_text(written)
        with pytest.raises(ConfigError, match=message):
            tiny_runs.run(other, "calibrate={}", out=tmp_path / name)
    image = tiny_runs.make(tmp_path, "image")
    with pytest.raises(ConfigError, match="calibrate: expected null: .* of the task generate"):
        tiny_runs.run(image, "calibrate={}", out=tmp_path / "image")


def test_verify_holds_both_stores_to_what_they_should_be(here):
    _, run = here
    said = pipeline.verify(run, members=(1,))
    assert "comes out the same, bit by bit" in said and "forecast-raw.zarr" in said
    record = json.loads((run / "run.json").read_text())
    assert list(record["stages"]) == ["train", "calibrate", "sample", "evaluate"]


def test_validation_cases_begin_where_test_cases_do(tmp_path):
    """With as many starts between as there are, one is left of each trajectory: the first."""
    file = tiny_runs.make(tmp_path, "pde")
    split = ("data.split.train={samples: [0, 4]}", "data.split.valid={samples: [4, 6]}")
    counts = {}
    for every in (1, 2, 1000):
        given = f"calibrate={{members: 2, cases: null, every: {every}, bias: false, levels: []}}"
        run = tiny_runs.run(file, *split, given, "evaluate=null", out=tmp_path / "run")
        counts[every] = kept(run).cases
    assert counts[1000] == 2 and counts[2] == 2 * -(-(counts[1] // 2) // 2)

"""A run from its file to its report: what it leaves, what it repeats, what it refuses."""

import csv
import json
import logging
import shutil
import sys

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import diffsci
from diffsci import checking, cli, config, pipeline
from diffsci.errors import ConfigError, DataError, NumericsError, StorageError
from diffsci.running.going_on import LATER
from diffsci.stages import owning
from diffsci.stages.status import status_of
from tests import tiny_runs
from tests.tiny_runs import HEAD, make, numbers, record, run, tree

STORES = {
    "downscale": ("time number latitude longitude", ("t2m",)),
    "weather": ("time number prediction_timedelta latitude longitude", ("t2m", "msl")),
    "pde": ("sample number time x", ("u",)),
    "image": ("sample number y x", ("ink",)),
}
DRAWN = ("analogues", "climatology", "damped_anomaly", "dressed_persistence")
BASELINES = {
    "downscale": {"interpolation"},
    "weather": {*DRAWN, "persistence"},
    "pde": {*DRAWN, "linear_extrapolation", "persistence"},
    "image": {"gaussian"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One finished run of each kind, with its figures drawn; who changes a run takes a copy."""
    folders = {}

    def of(kind):
        if kind not in folders:
            base = tmp_path_factory.mktemp(kind)
            file = make(base, kind)
            folders[kind] = file, run(file, out=base / "run", drawn=True)
        return folders[kind]

    return of


@pytest.fixture
def copied(made, tmp_path):
    """A finished run to spoil: its pipeline file and its folder."""

    def of(kind):
        file, folder = made(kind)
        shutil.copytree(file.parent, tmp_path / "copy")
        return tmp_path / "copy" / file.name, tmp_path / "copy" / folder.name

    return of


@pytest.mark.parametrize("kind", STORES)
def test_a_run_leaves_its_folder_complete(made, kind):
    _, folder = made(kind)
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {
        "config.yaml", "run.json", "metrics.jsonl", "objective.json", "checkpoints", "model",
        "forecast.zarr", "truth.zarr", "scores.csv", "scores.json", "cases.nc", "figures",
        "report.html", "chosen.json",
    }  # fmt: skip
    found = record(folder)
    assert found["status"] == "done"
    assert [found["stages"][name]["status"] for name in ("train", "sample", "evaluate")] == [
        "done"
    ] * 3
    assert all(stage["seconds"] > 0 and stage["digest"] for stage in found["stages"].values())
    assert {"diffsci", "python", "torch", "zarr"} <= found["versions"].keys()
    assert found["seed"] == 0
    assert found["lead_unit"] == {"weather": "h", "pde": "s"}.get(kind, "")
    assert len(found["data"]["train"]) == 64
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {"sample_maps.png", "rank_histogram.png", "spectra.png", "member_spread.png"} <= figures
    assert ("scores_by_lead.png" in figures) == (kind in ("weather", "pde"))
    page = (folder / "report.html").read_text()
    assert 'src="http' not in page and 'href="http' not in page
    assert "tiny" in page


@pytest.mark.parametrize("kind", STORES)
def test_stores_have_the_binding_layout_and_scores_their_columns(made, kind):
    _, folder = made(kind)
    dims, names = STORES[kind]
    with (
        xr.open_zarr(folder / "forecast.zarr", chunks=None) as forecast,
        xr.open_zarr(folder / "truth.zarr", chunks=None) as truth,
    ):
        assert set(forecast.data_vars) == set(truth.data_vars) == set(names)
        for name in names:
            assert " ".join(forecast[name].dims) == dims
            assert " ".join(truth[name].dims) == dims.replace(" number", "")
            assert np.isfinite(forecast[name].values).all()
            assert np.isfinite(truth[name].values).all()
            assert forecast[name].attrs["units"] == truth[name].attrs["units"]
        assert "number" not in truth.variables
        assert forecast.sizes["number"] == 3
        for dim in truth.dims:
            np.testing.assert_array_equal(forecast[dim].values, truth[dim].values)
        assert {"diffsci_run", "diffsci_data", "diffsci_seed", "diffsci_model"} <= set(
            forecast.attrs
        )
        assert "diffsci_seed" not in truth.attrs
    lines = (folder / "scores.csv").read_text().splitlines()
    assert lines[0] == HEAD
    rows = list(csv.DictReader(lines))
    assert {row["forecast"] for row in rows} == {"model"} | BASELINES[kind]
    assert {row["variable"] for row in rows} == set(names)
    leads = {"weather": {"", "6", "12"}, "pde": {"", "0.25", "0.5", "0.75"}}.get(kind, {""})
    assert {f"{float(r['lead']):g}" if r["lead"] else "" for r in rows} == leads
    table = json.loads((folder / "scores.json").read_text())
    for row in rows:
        if not row["lead"]:
            found = table[row["forecast"]][row["variable"]][row["score"]]
            assert found is None or f"{found:.4g}" == f"{float(row['value']):.4g}"


def test_truth_is_the_data(made):
    file, folder = made("weather")
    with (
        xr.open_dataset(file.parent / "weather.nc") as data,
        xr.open_zarr(folder / "truth.zarr", chunks=None) as truth,
    ):
        for case in truth.time.values:
            for lead in truth.prediction_timedelta.values:
                np.testing.assert_array_equal(
                    truth.t2m.sel(time=case, prediction_timedelta=lead).values,
                    data.t2m.sel(time=case + lead).values,
                )


def test_the_second_call_does_nothing_and_says_so(made, caplog):
    file, folder = made("downscale")
    before = tree(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with caplog.at_level(logging.INFO):
        assert run(file, out=folder) == folder
    assert "nothing to do" in caplog.text
    assert tree(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_the_resolved_config_repeats_the_run_to_the_bit(made, tmp_path, monkeypatch):
    """From another folder, too: the run remembers where its data was found."""
    _, folder = made("pde")
    monkeypatch.chdir(tmp_path)
    again = run(folder / "config.yaml", out=tmp_path / "again")
    assert numbers(again) == numbers(folder)
    assert (again / "config.yaml").read_text() == (folder / "config.yaml").read_text()


def test_another_seed_makes_other_weights(made, tmp_path):
    file, folder = made("pde")
    other = run(file, QUICK, "seed=1", out=tmp_path / "other")
    assert (
        numbers(other)["model"]["weights.safetensors"]
        != (numbers(folder)["model"]["weights.safetensors"])
    )


def test_a_dry_run_reads_no_data_and_writes_nothing(tmp_path, caplog):
    file = make(tmp_path, "weather")
    (tmp_path / "weather.nc").write_bytes(b"never opened")
    before = tree(tmp_path)
    with caplog.at_level(logging.INFO):
        run(file, out=tmp_path / "run", dry_run=True)
    assert "nothing was read or written" in caplog.text
    assert "train: 6 steps of 4" in caplog.text
    assert tree(tmp_path) == before
    assert not (tmp_path / "run").exists()


# Figures take most of a tiny run's time; tests of other things do without.
QUICK = "evaluate=null"


# Stages that are left out, and what may change afterwards


def test_an_absent_section_is_a_stage_not_run_and_may_come_later(tmp_path):
    file = make(tmp_path, "pde")
    text = file.read_text()
    lines = text.splitlines()
    file.write_text("\n".join(x for x in lines if not x.startswith(("sample:", "evaluate:"))))
    folder = run(file, out=tmp_path / "run")
    assert record(folder)["status"] == "done"
    assert not (folder / "forecast.zarr").exists()
    weights = tree(folder / "model")["weights.safetensors"]
    file.write_text("\n".join(x for x in lines if not x.startswith("evaluate:")))
    run(file, out=folder)
    assert not (folder / "report.html").exists()
    assert tree(folder / "model")["weights.safetensors"] == weights
    file.write_text(text)
    run(file, out=folder)
    whole = run(file, QUICK, out=tmp_path / "whole")
    # With the attributes of the sample section, which the model was not trained with.
    for store in ("forecast.zarr", "truth.zarr"):
        assert tree(folder / store) == tree(whole / store)


def test_a_model_that_was_never_to_be_sampled_can_be(tmp_path):
    file = make(tmp_path, "pde")
    folder = run(file, QUICK, "sample=null", out=tmp_path / "run")
    store = pipeline.sample(folder, members=2, overrides=("sample.cases=1",))
    assert store.name == "forecast-m2-s0.zarr"
    assert diffsci.load(folder).pipeline.sample.members == 16


def test_new_scores_need_no_new_samples(copied, caplog):
    file, folder = copied("downscale")
    before = numbers(folder)
    with caplog.at_level(logging.INFO):
        run(file, "evaluate.scores=[rmse]", out=folder)
    after = numbers(folder)
    assert "train: done before" in caplog.text
    assert "sample: done before" in caplog.text
    assert after.pop("scores") != before.pop("scores")
    assert after == before
    assert set(json.loads((folder / "scores.json").read_text())["model"]["t2m"]) == {"rmse"}


@pytest.mark.parametrize(
    "change", ["runtime.batch=3", "runtime.threads=2", "tracking.experiment=elsewhere"]
)
def test_where_it_computes_and_reports_makes_no_other_run(made, change, caplog):
    file, folder = made("downscale")
    before = tree(folder)
    with caplog.at_level(logging.INFO):
        run(file, change, out=folder)
    assert "nothing to do" in caplog.text
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("lost", "said"),
    [("report.html", "sample: done before"), ("forecast.zarr", "train: done before")],
)
def test_what_was_deleted_is_made_anew(copied, lost, said, caplog):
    file, folder = copied("downscale")
    before = numbers(folder)
    if (folder / lost).is_dir():
        shutil.rmtree(folder / lost)
    else:
        (folder / lost).unlink()
    with caplog.at_level(logging.INFO):
        run(file, out=folder)
    assert said in caplog.text
    assert numbers(folder) == before
    assert (folder / lost).exists()


def test_auto_keeps_the_precision_in_which_a_run_was_begun(copied, caplog):
    """Where it is asked for, another one is a warning; runtime may change, and never refuses."""
    file, folder = copied("pde")
    told = json.loads((folder / "run.json").read_text())
    told["device"] |= {"precision": "bf16", "memory_format": "contiguous"}
    (folder / "run.json").write_text(json.dumps(told))
    shutil.rmtree(folder / "forecast.zarr")
    run(file, QUICK, "runtime.precision=auto", out=folder)
    kept = record(folder)["device"]
    assert (kept["precision"], kept["memory_format"]) == ("bf16", "contiguous")
    assert kept.keys() == {"device", "precision", "threads", "compile", "memory_format"}
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    shutil.rmtree(folder / "forecast.zarr")
    run(file, QUICK, out=folder)
    assert "precision bf16 -> fp32: last bits of the numbers may differ" in caplog.text


def test_the_ensemble_does_not_depend_on_the_batch(made, tmp_path):
    file, folder = made("pde")
    other = run(file, QUICK, "runtime.batch=1000", out=tmp_path / "other")
    with (
        xr.open_zarr(folder / "forecast.zarr", chunks=None) as one,
        xr.open_zarr(other / "forecast.zarr", chunks=None) as two,
    ):
        np.testing.assert_array_equal(one.u.values, two.u.values)


# Refusals


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.lr=0.1", "train.lr: 0.001 -> 0.1"),
        ("model.network.channels=[16]", "model.network.channels"),
        ("seed=3", "seed: 0 -> 3"),
        ("data.task.factor=2", "data.task.factor: 4 -> 2"),
        ("sample.members=5", "`diffsci sample`"),
        ("name=other", "name: 'tiny' -> 'other'"),
    ],
)
def test_another_run_is_never_overwritten(made, change, told):
    file, folder = made("downscale")
    before = tree(folder)
    for dry_run in (True, False):
        with pytest.raises(StorageError, match="holds another run") as error:
            run(file, change, out=folder, dry_run=dry_run)
        assert told in str(error.value)
    assert tree(folder) == before


FREE = ("train.log_every=1", "train.checkpoint_every=3", "train.keep=1", "train.spike=null")


def test_what_is_kept_and_told_on_the_way_may_change(copied, caplog):
    file, folder = copied("pde")
    before, weights = tree(folder), tree(folder / "model")["weights.safetensors"]
    with caplog.at_level(logging.INFO):
        run(file, *FREE, out=folder)
    assert "nothing to do" in caplog.text and tree(folder) == before
    for key in ("train.validate_every=2", "train.on_bad=skip"):
        with pytest.raises(StorageError, match=f"holds another run .*--allow {key.split('=')[0]}"):
            run(file, key, out=folder)
    # A record of an older version, whose digests were of all keys.
    told = record(folder)
    old, new = (owning.digests_of(told["config"], free) for free in ((), owning.FREE))
    assert {name: entry["digest"] for name, entry in told["stages"].items()} == {
        name: new[name] for name in told["stages"]
    }
    for name, entry in told["stages"].items():
        entry["digest"] = old[name]
    (folder / "run.json").write_text(json.dumps(told))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run(file, out=folder)
    assert "nothing to do" in caplog.text
    # Half-way: the same model, from a change that is recorded.
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    told["status"] = told["stages"]["train"]["status"] = "stopped"
    told["stages"] = {"train": told["stages"]["train"]}
    (folder / "run.json").write_text(json.dumps(told))
    with caplog.at_level(logging.INFO):
        run(file, *FREE, QUICK, "sample=null", out=folder)
    assert "steps 5 to 6" in caplog.text
    assert tree(folder / "model")["weights.safetensors"] == weights
    changed = [entry["key"] for entry in record(folder)["allowed"]]
    assert changed == sorted(text.split("=")[0] for text in FREE)
    assert "that was allowed" not in caplog.text  # nobody had to


@pytest.mark.parametrize("lacking", ["all", "the newest"])
def test_a_run_of_before_there_were_some_keys_is_the_same_run(copied, caplog, lacking):
    """With its digests of then: nothing is made anew, and what asks for more is another run."""
    file, folder = copied("pde")
    told = record(folder)
    there = {section: keys for section, keys in LATER.items() if told["config"][section]}
    later = [(section, key) for section, keys in there.items() for key in keys]
    for section, key in later if lacking == "all" else [("train", "scalar_noise")]:
        del told["config"][section][key]
    for name, digest in owning.digests_of(told["config"]).items():
        if name in told["stages"]:
            assert told["stages"][name]["digest"] != digest
            told["stages"][name]["digest"] = digest
    (folder / "run.json").write_text(json.dumps(told))
    before = tree(folder)
    with caplog.at_level(logging.INFO):
        run(file, out=folder)
    assert "nothing to do" in caplog.text and tree(folder) == before
    with pytest.raises(StorageError, match=r"train.amplitude: 0.0 -> 0.5"):
        run(file, "train.amplitude=0.5", out=folder)
    # What goes on has them in its record, and its model is that of before.
    (folder / "scores.csv").unlink()
    told["stages"].pop("evaluate")
    (folder / "run.json").write_text(json.dumps(told | {"status": "stopped"}))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run(file, out=folder)
    assert "was allowed" not in caplog.text
    assert record(folder)["config"]["train"]["amplitude"] == 0.0
    assert record(folder)["stages"]["train"]["seconds"] == told["stages"]["train"]["seconds"]


def test_foreign_folders_and_files_are_left_alone(tmp_path):
    file = make(tmp_path, "pde")
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("years of work")
    before = tree(tmp_path)
    with pytest.raises(StorageError, match="'chapter.tex'.*--out"):
        run(file, out=foreign)
    with pytest.raises(StorageError, match="is a file"):
        run(file, out=foreign / "chapter.tex")
    with pytest.raises(StorageError, match="cannot write.*chapter.tex"):
        run(file, out=foreign / "chapter.tex" / "run")
    assert tree(tmp_path) == before


def test_an_empty_folder_and_the_debris_of_a_killed_start_are_no_obstacle(tmp_path):
    file = make(tmp_path, "pde")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".lock", ".config.yaml.tmp-1-ab", ".run.json.tmp-1-ab", "config.yaml"):
        (folder / name).write_text("")
    run(file, QUICK, "train.steps=1", out=folder)
    assert not [path.name for path in folder.iterdir() if ".tmp-" in path.name]


def test_a_run_that_failed_before_it_made_anything_can_be_mended(tmp_path):
    file = make(tmp_path, "pde")
    with pytest.raises(DataError, match="samples"):
        run(file, "data.split.test.samples=[6,99]", out=tmp_path / "run")
    assert record(tmp_path / "run")["status"] == "failed"
    found = status_of(tmp_path / "run")
    assert "samples" in found.cause and found.lines()[1] == f"  cause     {found.cause}"
    run(file, QUICK, "train.steps=1", out=tmp_path / "run")
    assert "error" not in record(tmp_path / "run") and status_of(tmp_path / "run").cause is None


def test_data_that_changed_stops_a_run_that_was_interrupted(copied):
    file, folder = copied("pde")
    shutil.rmtree(folder / "forecast.zarr")
    tiny_runs.waves(seed=1).to_zarr(
        file.parent / "waves.zarr", mode="w", zarr_format=2, consolidated=True
    )
    before = numbers_left(folder)
    with pytest.raises(DataError, match=r"data has changed.*content\.train: '\w+' -> '\w+'"):
        run(file, out=folder)
    assert numbers_left(folder) == before
    old = tree(folder / "truth.zarr")
    pipeline.run(config.load(file, [QUICK]), folder, allow=("data",))
    weights = "weights.safetensors"
    assert tree(folder / "model")[weights] == before[weights]  # trained already
    assert tree(folder / "truth.zarr") != old
    told = record(folder)["allowed"]
    assert [entry["key"] for entry in told] == ["data.content.test", "data.content.train"]


def numbers_left(folder):
    return tree(folder / "model") | tree(folder / "checkpoints")


def test_an_allowed_change_goes_on_and_is_recorded_once(tmp_path, caplog):
    """Twice as long, with another rate: the first half is not trained again."""
    file = make(tmp_path, "pde")
    folder = run(file, QUICK, "sample=null", out=tmp_path / "run")
    longer = config.load(file, [QUICK, "sample=null", "train.steps=12", "train.lr=0.01"])
    for allow in ((), ("train.lr",)):
        with pytest.raises(StorageError, match=r"train\.steps: 6 -> 12.*--allow train\.steps"):
            pipeline.run(longer, folder, allow=allow)
    with pytest.raises(ConfigError, match=r"--allow: got 'train\.step', which is no key; did"):
        pipeline.run(longer, folder, allow=("train.step",))
    with pytest.raises(ConfigError, match=r"got 'lr', .*did you mean 'train\.lr'\?"):
        pipeline.run(longer, folder, allow=("lr",))
    before = record(folder)
    wider = config.load(file, [QUICK, "sample=null", "model.network.channels=[12]"])
    told = r"^command line: model\.network\.channels: cannot be allowed: .* is saved as \["
    with pytest.raises(ConfigError, match=told) as caught:
        pipeline.run(wider, folder, allow=("model",))
    assert "None" not in str(caught.value)
    assert "going on with a change" not in caplog.text
    now = record(folder)
    assert now.pop("error").startswith("model.network.channels: cannot be allowed")
    assert now == before | {word: now[word] for word in ("tracked", "told")} | {"status": "failed"}
    with caplog.at_level(logging.INFO):
        pipeline.run(longer, folder, allow=("train.lr", "train.steps"))
    assert "steps 7 to 12" in caplog.text
    train = record(folder)["stages"]["train"]
    total = before["stages"]["train"]["seconds"] + train["seconds_of_call"]
    assert train["seconds"] == pytest.approx(total, abs=2e-3)  # both are kept in milliseconds
    told = f"done in {train['seconds_of_call']:.0f} s ({train['seconds']:.0f} s over all calls)"
    assert told in caplog.text
    assert "going on with a change that was allowed: train.lr: 0.001 -> 0.01" in caplog.text
    told = [(entry["key"], entry["old"], entry["new"]) for entry in record(folder)["allowed"]]
    assert told == [("train.lr", 0.001, 0.01), ("train.steps", 6, 12)]
    pipeline.run(longer, folder, allow=("train.lr", "train.steps"))
    pipeline.run(longer, folder)
    assert len(record(folder)["allowed"]) == 2
    # Steps are not taken back: the config would say 6, and the model be that of 12.
    shorter = config.load(file, [QUICK, "sample=null", "train.steps=6", "train.lr=0.01"])
    with pytest.raises(ConfigError, match="got 6, but this run has 12 steps already"):
        pipeline.run(shorter, folder, allow=("train.steps",))
    assert "train.steps: 12 -> 6" not in caplog.text
    assert record(folder)["config"]["train"]["steps"] == 12
    told = record(folder)
    told["stages"]["train"]["status"] = "stopped"
    (folder / "run.json").write_text(json.dumps(told))
    with pytest.raises(StorageError, match="training goes on with what was allowed and is not"):
        pipeline.sample(folder, members=1)


def test_other_code_is_refused_within_a_product_and_told_between_two(tmp_path, monkeypatch, caplog):
    file = make(tmp_path, "pde")
    folder = run(file, QUICK, "sample=null", out=tmp_path / "run")
    whole = record(folder)
    (folder / "run.json").write_text(json.dumps(whole | {"versions": {"diffsci": "0.0.9"}}))
    run(file, QUICK, "sample=null", "runtime.batch=7", out=folder)  # done: nothing to do
    run(file, QUICK, "sample.cases=1", out=folder)
    assert "going on with other code: code.diffsci: '0.0.9' -> " in caplog.text
    told = record(folder)
    told["versions"]["diffsci"], told["stages"]["train"]["status"] = "0.0.9", "stopped"
    (folder / "run.json").write_text(json.dumps(told))
    again = config.load(file, [QUICK, "sample.cases=1"])
    with pytest.raises(StorageError, match=r"code\.diffsci: '0\.0\.9' -> .* --allow code"):
        pipeline.run(again, folder)
    pipeline.run(again, folder, allow=("code",))
    assert [entry["key"] for entry in record(folder)["allowed"]] == ["code.diffsci"]


def test_a_test_part_that_holds_training_fields_is_refused(tmp_path):
    file = make(tmp_path, "downscale")
    with pytest.raises(DataError, match=r"2 of 10 test fields equal a training field"):
        run(file, 'data.split.test.time=["2000-01-04","2000-01-06T06"]', out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def other_variable(data):
    return data.rename(t2m="t850")


def other_units(data):
    data.msl.attrs["units"] = "m"
    return data


def shifted(data):
    return data.assign_coords(latitude=data.latitude + 1)


def smaller(data):
    return data.isel(longitude=slice(0, 12))


def slower(data):
    return data.isel(time=slice(None, None, 2))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (other_variable, "its variables are"),
        (other_units, "its units are"),
        (shifted, "latitude differs by up to 1"),
        (smaller, "its grid sizes are"),
        (slower, "12 h apart.*6 h"),
    ],
)
def test_parts_must_be_alike(tmp_path, change, told):
    file = make(tmp_path, "weather")
    change(tiny_runs.weather(seed=1)).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(DataError, match=told):
        run(file, "data.split.test={entry: other.nc}", out=tmp_path / "run")


def test_missing_data_is_told_before_anything_is_written(tmp_path):
    file = make(tmp_path, "weather")
    with pytest.raises(ConfigError, match="no catalog entry 'quickstrt'"):
        run(file, "data.source=null", "data.entry=quickstrt", out=tmp_path / "run")
    with pytest.raises(DataError, match=r"no\.nc: no such file"):
        run(file, "data.source=no.nc", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_refused(tmp_path):
    file = make(tmp_path, "pde")
    with pytest.raises(ConfigError, match=r"runtime\.device.*expected cpu or auto"):
        run(file, "runtime.device=mps", out=tmp_path / "run")


def test_nan_in_the_data_is_named(tmp_path):
    file = make(tmp_path, "weather")
    data = tiny_runs.weather()
    data.t2m[3, 2, 1] = np.nan
    data.to_netcdf(tmp_path / "weather.nc")
    with pytest.raises(DataError, match="t2m.*NaN"):
        run(file, out=tmp_path / "run")


def test_exploding_training_says_what_to_do_and_can_be_mended(tmp_path):
    file = make(tmp_path, "pde")
    overrides = ("train.lr=1e30", "train.clip=1e30", "train.checkpoint_every=1000")
    with pytest.raises(NumericsError, match=r"Lower train\.lr"):
        run(file, *overrides, out=tmp_path / "run")
    assert record(tmp_path / "run")["status"] == "failed"
    run(file, QUICK, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "code", "told"),
    [
        (("train.lr=1e30", "train.clip=1e30"), 4, "Lower train.lr"),
        (("data.split.test.samples=[6,99]",), 3, "samples [6, 99] are not all there"),
        (("runtime.device=mps",), 2, "expected cpu or auto"),
        (("train.shift=[y]",), 2, "train.shift"),
    ],
)
def test_the_command_line_ends_with_one_line_and_the_code(tmp_path, overrides, code, told):
    file = make(tmp_path, "pde")
    done = CliRunner().invoke(
        cli.main, ["run", str(file), *overrides, "--out", str(tmp_path / "run")]
    )
    last = done.stderr.splitlines()[-1]
    assert (done.exit_code, last.startswith("error: ")) == (code, True)
    assert told in last
    assert "Traceback" not in done.stderr


# Sampling again


def test_sample_makes_a_store_whose_members_are_those_of_the_run(copied):
    _, folder = copied("pde")
    store = pipeline.sample(folder, members=5)
    assert store == folder / "forecast-m5-s0.zarr"
    small = pipeline.sample(folder, 2, 0, folder / "b.zarr", ("runtime.batch=1",))
    other = pipeline.sample(folder, members=5, seed=3)
    with (
        xr.open_zarr(folder / "forecast.zarr", chunks=None) as run_s,
        xr.open_zarr(store, chunks=None) as five,
        xr.open_zarr(small, chunks=None) as two,
        xr.open_zarr(other, chunks=None) as reseeded,
    ):
        assert five.sizes["number"] == 5
        np.testing.assert_array_equal(five.u.values[:, :3], run_s.u.values)
        np.testing.assert_array_equal(five.u.values[:, :2], two.u.values)
        assert (reseeded.u.values != five.u.values).mean() > 0.9
        assert (five.attrs["diffsci_seed"], reseeded.attrs["diffsci_seed"]) == (0, 3)
        assert five.attrs["diffsci_model"] == run_s.attrs["diffsci_model"]
    assert not [path for path in folder.iterdir() if ".work" in path.name]


def test_sample_refuses_what_would_overwrite_or_be_another_model(copied, tmp_path):
    _, folder = copied("weather")
    before = tree(folder)
    with pytest.raises(StorageError, match="is the run's own"):
        pipeline.sample(folder, out=folder / "forecast.zarr")
    with pytest.raises(StorageError, match=r"must end in \.zarr"):
        pipeline.sample(folder, out=folder / "forecast")
    for bad in ("train.steps=3", "model.predict=x0", "data.variables=[t2m]", "seed=1"):
        with pytest.raises(ConfigError, match="a trained model is sampled"):
            pipeline.sample(folder, overrides=(bad,))
    with pytest.raises(ConfigError, match=r"sample\.mebmers: unknown key"):
        pipeline.sample(folder, overrides=("sample.mebmers=1",))
    with pytest.raises(StorageError, match="no trained model here"):
        pipeline.sample(tmp_path)
    slower(tiny_runs.weather(seed=1)).to_netcdf(folder.parent / "slow.nc")
    smaller(tiny_runs.weather(seed=1)).to_netcdf(folder.parent / "small.nc")
    for name, told in (("slow", "12 h apart"), ("small", "its grid sizes are")):
        with pytest.raises(DataError, match=told):
            pipeline.sample(folder, overrides=(f"data.split.test={{entry: {name}.nc}}",))
    (folder / "model" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(StorageError, match="damaged"):
        pipeline.sample(folder)
    shutil.copytree(folder / "checkpoints", folder / "elsewhere")
    assert {k: v for k, v in before.items() if "weights" not in k}.items() <= tree(folder).items()


def test_sample_refuses_data_that_changed_until_the_run_has_it(copied):
    file, folder = copied("pde")
    pipeline.sample(folder, 1, None, folder / "old.zarr")
    was = record(folder)["data"]
    tiny_runs.waves(seed=1).to_zarr(
        file.parent / "waves.zarr", mode="w", zarr_format=2, consolidated=True
    )
    told = rf"content\.test: '{was['test'][:12]}' -> '\w+'.*config\.yaml --out .*--allow data"
    with pytest.raises(DataError, match=told):
        pipeline.sample(folder, 4)
    assert not (folder / "forecast-m4-s0.zarr").exists()
    # Another part of it is other cases, not a change.
    pipeline.sample(folder, 1, None, folder / "part.zarr", ("data.split.test.samples=[8,10]",))
    pipeline.run(config.load(folder / "config.yaml"), folder, allow=("data",))
    now = record(folder)["data"]
    stores = [folder / "forecast.zarr", pipeline.sample(folder, 4)]
    learned = was["train"][:16]
    for store, digest in ((folder / "old.zarr", was["test"]), *((s, now["test"]) for s in stores)):
        with xr.open_zarr(store, chunks=None) as made:
            found = made.attrs
        assert (found["diffsci_data"], found["diffsci_test_data"]) == (learned, digest[:16])


def test_sample_takes_other_cases_and_samplers(copied):
    _, folder = copied("weather")
    store = pipeline.sample(
        folder, 1, None, folder / "x.zarr", ("sample.leads=4", "sample.sampler=heun")
    )
    with xr.open_zarr(store, chunks=None) as made:
        assert made.sizes["prediction_timedelta"] == 4
        assert made.attrs["diffsci_sampler"].startswith("use=heun")


def test_load_gives_the_model_of_a_run(made):
    _, folder = made("image")
    for place in (folder, folder / "model", str(folder)):
        model = diffsci.load(place)
    drawn = model.sample([0, 1], members=2, seed=0)
    assert drawn.ink.dims == ("sample", "number", "y", "x")
    with pytest.raises(StorageError, match="no such folder"):
        diffsci.load(folder / "no")


def test_a_forecast_starts_from_frames_at_the_step_of_training(made):
    _, folder = made("pde")
    model = diffsci.load(folder)
    frames = tiny_runs.waves(samples=2, seed=1)
    drawn = model.sample(frames.isel(time=slice(0, 4)), members=2, leads=3)
    assert drawn.u.sizes == {"sample": 2, "number": 2, "time": 3, "x": 16}
    np.testing.assert_allclose(drawn.time, [0.25, 0.5, 0.75])
    with pytest.raises(DataError, match="0.5 s apart, those of training 0.25"):
        model.sample(frames.isel(time=slice(0, 4, 2)), members=2)


# Checks


def test_check_finds_nothing_in_good_pipelines(made):
    for kind in STORES:
        file, _ = made(kind)
        assert checking.check((file,)) == []


def test_check_tells_faults_of_each_pipeline(tmp_path):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        folder.mkdir()
    leaky = make(one, "downscale")
    leaky.write_text(leaky.read_text().replace("2000-01-05", "2000-01-02"))
    gaps = make(two, "weather")
    tiny_runs.weather(times=26).isel(time=[*range(20), *range(22, 26)]).to_netcdf(
        two / "weather.nc"
    )
    spoiled = make(three, "weather")
    data = tiny_runs.weather()
    data.t2m[3, 2, 1] = np.nan
    data.to_netcdf(three / "weather.nc")
    assert [problem.code for problem in checking.check((spoiled,))] == ["nan"]
    found = checking.check((spoiled, leaky))
    assert len(found) == 2
    assert "equal a training field" in str(found[1])
    found = checking.check((gaps,))
    assert found
    assert all(problem.warning for problem in found)


def test_check_loses_nothing_that_was_found_to_a_faulty_file(tmp_path):
    """Every fault of every path: data, a key, a part that does not exist, settings, a lost file."""
    folders = [tmp_path / name for name in ("a", "b", "c", "d")]
    for folder in folders:
        folder.mkdir()
    spoiled, misspelt, unfit, lost = (make(folder, "weather") for folder in folders)
    data = tiny_runs.weather()
    data.t2m[3, 2, 1] = np.nan
    data.to_netcdf(folders[0] / "weather.nc")
    misspelt.write_text(misspelt.read_text().replace("warmup: 2", "warm: 2"))
    text = unfit.read_text().replace("warmup: 2", "warmup: 2, drop_scalars: 0.1, flip: [z]")
    unfit.write_text(text.replace("resamples: 20", "scores: [class_accuracy]"))
    (folders[3] / "weather.nc").unlink()
    missing = tmp_path / "no.yaml"
    found = checking.check((spoiled, misspelt, unfit, lost, missing))
    codes = [problem.code for problem in found]
    assert codes[:5] == ["nan", "config", "config", "config", "config"]
    assert "config" not in codes[5:-1] and codes[-1] == "config"
    told = [str(problem) for problem in found]
    assert told[1].startswith(f"{misspelt}: line ")
    assert "train.warm: unknown key; did you mean 'warmup'?" in told[1]
    # File, line, key.
    assert [text.split(": ")[2] for text in told[2:5]] == [
        "train.flip",
        "train.drop_scalars",
        "evaluate.scores[0]",
    ]
    assert all(text.startswith(f"{unfit}: ") for text in told[2:5])
    assert "no such file" in told[5] and str(missing) in told[-1]
    assert all(problem.fix for problem in found)
    # Twice the same path is once the same faults.
    assert checking.check((misspelt, misspelt)) == [found[1]]


def test_check_looks_at_the_parts_that_a_pipeline_reads(tmp_path):
    """Not at the rest of their files: a NaN between train and test stops no run."""
    file = make(tmp_path, "weather")
    text = file.read_text()
    file.write_text(text.replace('"2000-01-04T06"', '"2000-01-03"'))
    data = tiny_runs.weather()
    data.t2m[data.get_index("time").get_loc("2000-01-04T00:00"), 2, 1] = np.nan
    data.to_netcdf(tmp_path / "weather.nc")
    assert checking.check((file,)) == []
    file.write_text(text)
    assert [problem.code for problem in checking.check((file,))] == ["nan"]


def test_half_told_processes_are_refused_at_once(tmp_path, monkeypatch):
    file = make(tmp_path, "pde")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE.*is set and .*'RANK'.* is not"):
        run(file, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    run(file, out=tmp_path / "run", dry_run=True)


def test_check_of_data_and_entries_by_name(made, tmp_path):
    file, _ = made("pde")
    assert checking.check((file.parent / "waves.zarr",)) == []
    (found,) = checking.check((tmp_path / "no.nc",))
    assert "no such file" in str(found)


def test_check_does_not_make_generated_data(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSCI_CACHE", str(tmp_path / "cache"))
    assert checking.check((tiny_runs.REPOSITORY / "pipelines" / "ks.yaml",)) == []
    assert not (tmp_path / "cache").exists()


def test_compare_takes_two_runs(made, tmp_path):
    from diffsci.evaluation.compare import compare

    file, folder = made("pde")
    other = run(
        file, "name=longer", "train.steps=8", "evaluate.scores=[crps]", out=tmp_path / "longer"
    )
    page = compare((folder, other), tmp_path / "compare.html")
    assert "longer" in page.read_text()


# Odd shapes


@pytest.mark.parametrize("kind", ["downscale", "pde", "image"])
def test_one_member_of_one_case_is_enough(tmp_path, kind):
    file = make(tmp_path, kind)
    one = ("sample.members=1", "sample.cases=1")
    folder = run(file, *one, out=tmp_path / "run", drawn=kind == "pde")
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert {row["members"] for row in rows if row["forecast"] == "model"} == {"1"}
    assert "NaN" not in (folder / "scores.json").read_text()


def test_levels_and_data_without_parameters(tmp_path):
    file = make(tmp_path, "weather")
    data = tiny_runs.weather().rename(t2m="t")[["t", "msl"]]
    data["t"] = xr.concat([data.t, data.t + 7 * data.t.std()], dim="level").assign_coords(
        level=("level", [500, 850], {"units": "hPa"})
    )
    data.t.attrs["units"] = "K"
    data.to_netcdf(tmp_path / "weather.nc")
    folder = run(file, "sample.leads=1", out=tmp_path / "run")
    with xr.open_zarr(folder / "forecast.zarr", chunks=None) as made:
        assert made.t.dims == (
            "time", "number", "prediction_timedelta", "level", "latitude", "longitude",
        )  # fmt: skip
        assert "level" not in made.msl.dims
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert {row["variable"] for row in rows} == {"t@500", "t@850", "msl"}


@pytest.mark.parametrize(
    ("kind", "task"),
    [("weather", "generate"), ("pde", "{use: downscale, factor: 4}"), ("pde", "generate")],
)
def test_any_domain_takes_the_other_tasks(tmp_path, kind, task):
    file = make(tmp_path, kind)
    folder = run(file, f"data.task={task}", "sample.leads=1", out=tmp_path / "run")
    with (
        xr.open_zarr(folder / "forecast.zarr", chunks=None) as made,
        xr.open_zarr(folder / "truth.zarr", chunks=None) as truth,
    ):
        name = next(iter(truth.data_vars))
        assert truth[name].sizes == {
            dim: n for dim, n in made[name].sizes.items() if dim != "number"
        }


def test_variables_can_be_chosen(tmp_path):
    file = make(tmp_path, "downscale")
    folder = run(file, QUICK, "data.variables=[msl]", out=tmp_path / "run")
    with xr.open_zarr(folder / "forecast.zarr", chunks=None) as made:
        assert list(made.data_vars) == ["msl"]


# Tracking


def test_a_run_works_without_psutil(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    file = make(tmp_path, "pde")
    run(file, QUICK, "train.steps=1", out=tmp_path / "run")
    assert "mlflow" not in record(tmp_path / "run")


def test_a_tracked_run_can_be_compared_in_mlflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = make(tmp_path, "weather")
    folder = run(file, "data.variables=[t2m]", "tracking.enabled=true", f"tracking.uri=sqlite:///{tmp_path}/m.db",
                 out=tmp_path / "run")  # fmt: skip
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/m.db")
    told = record(folder)["mlflow"]
    tracked = client.get_run(told["run_id"])
    assert tracked.info.status == "FINISHED"
    assert tracked.info.run_name == "tiny-s0"
    assert tracked.data.params["train.steps"] == "6"
    assert tracked.data.tags["diffsci.lead_unit"] == "h"
    names = set(tracked.data.metrics)
    assert {"train/loss", "train/lr", "test/crps", "test/rmse", "test/spread_skill"} <= names
    assert {"test/crpss_vs_persistence", "test/crpss_vs_climatology", "test_by_lead/crps"} <= names
    history = client.get_metric_history(told["run_id"], "test_by_lead/crps")
    assert [point.step for point in history] == [6, 12]
    history = client.get_metric_history(told["run_id"], "train/loss")
    assert [point.step for point in history] == [2, 4, 6]
    files = {file.path for file in client.list_artifacts(told["run_id"])}
    assert {
        "config.yaml", "report.html", "sample_maps.png", "rank_histogram.png", "spectra.png",
        "scores_by_lead.png", "member_spread.png", "scores.csv", "scores.json",
    } <= files  # fmt: skip

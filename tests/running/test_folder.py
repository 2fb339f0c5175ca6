import json

import pytest

from diffsci.errors import StorageError
from diffsci.running import journal
from diffsci.running.changes import flatten
from diffsci.running.folder import PRODUCTS, STAGES, RunFolder, digest_of
from diffsci.running.journal import Line
from diffsci.running.versions import versions

PLAIN = {
    "name": "a",
    "seed": 0,
    "data": {"entry": "x", "task": {"use": "forecast"}},
    "train": {"lr": 1e-3},
    "sample": {"members": 2},
    "evaluate": None,
    "runtime": {"threads": 1},
    "tracking": {},
}


def changed(**sections):
    return PLAIN | sections


@pytest.fixture
def folder(tmp_path):
    return RunFolder.open(tmp_path / "run", PLAIN, "name: a\n")


def has_made(folder, *stages):
    for stage in stages:
        folder.begin(stage, "d")
        for name in PRODUCTS[stage]:
            (folder.path / name).mkdir()
        folder.end(stage, 1.5)


def test_a_digest_ignores_the_order_of_keys_and_nothing_else():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.5})
    assert digest_of({"b": [1, 2]}) != digest_of({"b": [2, 1]})
    assert len(digest_of(None)) == 16


def test_flatten_keeps_empty_mappings_as_values():
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}


def test_versions_are_those_that_are_installed():
    found = versions()
    assert {"diffsci", "python", "torch", "numpy", "xarray", "zarr"} <= found.keys()
    assert all(isinstance(text, str) for text in found.values())


def test_a_new_folder_has_its_record_and_reads_back(folder):
    assert RunFolder.read(folder.path).record == folder.record
    assert folder.record["status"] == "new"
    assert folder.record["config"] == PLAIN
    assert (folder.path / "config.yaml").read_text() == "name: a\n"
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "config.yaml"}


def test_a_stage_is_done_when_made_from_the_same_and_still_there(folder):
    assert not any(folder.done(stage, "d") for stage in STAGES)
    folder.begin("train", "d")
    (folder.path / "model").mkdir()
    assert not folder.done("train", "d")
    folder.end("train", 2.0)
    assert folder.done("train", "d")
    assert not folder.done("train", "e")
    (folder.path / "model").rmdir()
    assert not folder.done("train", "d")


def test_seconds_add_up_over_interruptions_of_the_same_work(folder):
    for status in ("stopped", "done"):
        folder.begin("train", "d")
        folder.end("train", 1.25, status)
    assert folder.record["stages"]["train"]["seconds"] == 2.5
    assert folder.record["stages"]["train"]["seconds_of_call"] == 1.25
    folder.begin("train", "e")
    folder.end("train", 1.0)
    assert RunFolder.read(folder.path).record["stages"]["train"]["seconds"] == 1.0
    # What was allowed to change goes on from the checkpoint: its steps were trained then.
    (folder.path / "checkpoints" / "step-00000002").mkdir(parents=True)
    folder.begin("train", "f")
    folder.end("train", 0.5)
    entry = folder.record["stages"]["train"]
    assert (entry["seconds"], entry["seconds_of_call"]) == (1.5, 0.5)


def test_seconds_of_a_call_that_was_killed_count_until_it_told_something_last(folder):
    folder.begin("sample", "d")
    begun = folder.record["stages"]["sample"]["begun"]
    line = Line(time=int(1000 * (begun + 40)), step=1, values={"system/x": 1.0})
    (folder.path / journal.NAME).write_bytes(line.to_json())
    again = RunFolder.read(folder.path)
    again.begin("sample", "d")
    again.end("sample", 2.0)
    entry = again.record["stages"]["sample"]
    assert entry["seconds"] == pytest.approx(42.0, abs=2e-3)  # times are kept in milliseconds
    assert entry["seconds_of_call"] == 2.0


def test_what_a_call_goes_on_with_is_recorded_when_it_does(folder):
    has_made(folder, "train")
    again = RunFolder.open(folder.path, changed(train={"lr": 1.0}), "name: b\n", ["train.lr"])
    assert [each["key"] for each in again.allowed] == ["train.lr"]
    again.save()
    told = RunFolder.read(folder.path).record
    assert told["config"] == PLAIN and "allowed" not in told
    assert (folder.path / "config.yaml").read_text() == "name: a\n"
    with pytest.raises(StorageError, match=r"train\.lr: 0\.001 -> 1\.0"):
        RunFolder.owner_check(folder.path, changed(train={"lr": 1.0}))
    again.go_on()
    told = RunFolder.read(folder.path).record
    assert told["config"]["train"] == {"lr": 1.0}
    assert [(each["old"], each["new"]) for each in told["allowed"]] == [(0.001, 1.0)]
    assert (folder.path / "config.yaml").read_text() == "name: b\n"


def test_a_change_is_told_of_when_the_run_goes_on_and_only_where_it_had_to_be_allowed(
    folder, caplog
):
    has_made(folder, "train")
    free = {"lr": 1e-3, "keep": 9}
    assert RunFolder.owner_check(folder.path, changed(train=free)) is not None
    again = RunFolder.open(folder.path, changed(train=free | {"lr": 1.0}), "", ["train.lr"])
    assert not caplog.records  # what comes next may refuse it
    again.go_on()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{folder.path}: going on with a change that was allowed: train.lr: 0.001 -> 1.0"
    told = RunFolder.read(folder.path).record["allowed"]
    assert [each["key"] for each in told] == ["train.keep", "train.lr"]
    again.go_on()
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("made", "free", "bound"),
    [
        ((), "name seed data train sample evaluate runtime tracking", ""),
        (("train",), "sample evaluate runtime tracking", "name seed data train"),
        (("train", "sample"), "evaluate runtime tracking", "name seed data train sample"),
        (("train", "sample", "evaluate"), "evaluate runtime", "name seed data train sample"),
    ],
)
def test_what_may_change_depends_on_what_was_made(folder, made, free, bound):
    has_made(folder, *made)
    for section in free.split():
        assert RunFolder.owner_check(folder.path, changed(**{section: {"x": 1}}))
    for section in bound.split():
        with pytest.raises(StorageError, match=f"holds another run.*{section}"):
            RunFolder.owner_check(folder.path, changed(**{section: {"x": 1}}))


def test_a_checkpoint_is_something_that_was_made(folder):
    folder.begin("train", "d")
    assert RunFolder.owner_check(folder.path, changed(train={"lr": 1.0}))
    (folder.path / "checkpoints" / "step-00000002").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"train\.lr: 0\.001 -> 1\.0"):
        RunFolder.owner_check(folder.path, changed(train={"lr": 1.0}))


def test_many_changes_are_counted(folder):
    has_made(folder, "train")
    with pytest.raises(StorageError, match="and 3 more"):
        RunFolder.owner_check(folder.path, changed(train={f"k{n}": n for n in range(5)}, seed=1))


def test_a_changed_ensemble_is_sent_to_the_command_for_it(folder):
    has_made(folder, "train", "sample")
    with pytest.raises(StorageError, match="`diffsci sample` draws another"):
        RunFolder.owner_check(folder.path, changed(sample={"members": 3}))
    with pytest.raises(StorageError, match="give this one another `name=`"):
        RunFolder.owner_check(folder.path, changed(sample={"members": 3}, seed=1))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "a"}', '{"stages": []}'])
def test_a_record_that_cannot_be_read_is_told_and_left(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(StorageError, match=r"run\.json: .* use another --out"):
        RunFolder.owner_check(tmp_path, PLAIN)
    assert (tmp_path / "run.json").read_text() == content


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(StorageError, match="no run here"):
        RunFolder.read(tmp_path)


def test_the_check_of_an_owner_writes_nothing(tmp_path):
    assert RunFolder.owner_check(tmp_path / "new", PLAIN) is None
    assert not (tmp_path / "new").exists()
    for name in (".lock", "config.yaml", ".run.json.tmp-1-ab", ".config.yaml.tmp-1-ab"):
        (tmp_path / name).write_text("")
    assert RunFolder.owner_check(tmp_path, PLAIN) is None
    (tmp_path / "forecast.zarr").mkdir()
    with pytest.raises(StorageError, match=r"not a run's folder.*'forecast\.zarr'"):
        RunFolder.owner_check(tmp_path, PLAIN)


def test_the_record_is_readable_json(folder):
    assert json.loads((folder.path / "run.json").read_text())["name"] == "a"


def test_a_mended_run_is_another_tracked_run(tmp_path):
    """MLflow keeps a param's first value: the failed run's would stand beside new results."""
    plain = {"name": "a", "data": {"entry": "x"}, "model": {}, "train": {"lr": 1.0}, "seed": 0}
    folder = RunFolder.open(tmp_path / "run", plain, "name: a\n")
    folder.record["mlflow"] = {"run_id": "1"}
    folder.save()
    assert RunFolder.open(tmp_path / "run", plain, "name: a\n").record["mlflow"] == {"run_id": "1"}
    mended = {**plain, "train": {"lr": 0.1}}
    assert "mlflow" not in RunFolder.open(tmp_path / "run", mended, "name: a\n").record


def test_keys_that_came_later_are_what_a_run_without_them_had(folder):
    has_made(folder, "train", "sample")
    now = changed(
        train={"lr": 1e-3, "amplitude": 0.0}, sample={"members": 2, "persistent_noise": 0.0}
    )
    assert RunFolder.owner_check(folder.path, now) is not None
    asked = changed(train={"lr": 1e-3, "amplitude": 0.5})
    with pytest.raises(StorageError, match=r"holds another run \(train.amplitude: 0.0 -> 0.5\)"):
        RunFolder.owner_check(folder.path, asked)

"""`diffsci status` and the journal of whole runs."""

import json
import os
import shutil

import pytest
from click.testing import CliRunner

from diffsci import cli, config, pipeline
from diffsci.files import sha256_of
from diffsci.running import journal
from diffsci.running.locking import TWICE, lock
from diffsci.stages.status import status_of
from diffsci.tracking import opening as tracking
from diffsci.training import damage
from tests import tiny_runs

QUICK = ("evaluate=null", "sample.cases=1")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    base = tmp_path_factory.mktemp("status")
    return tiny_runs.run(tiny_runs.make(base, "downscale"), *QUICK, out=base / "run")


@pytest.fixture
def folder(done, tmp_path):
    shutil.copytree(done, tmp_path / "run")
    return tmp_path / "run"


def changed(folder, **values):
    told = tiny_runs.record(folder) | values
    (folder / "run.json").write_text(json.dumps(told))


def test_of_a_finished_run(folder):
    before = tiny_runs.tree(folder)
    found = status_of(folder)
    assert (found.status, found.step, found.steps, found.checkpoint) == (
        "done", 6, 6, "step-00000006",
    )  # fmt: skip
    rows = json.loads((folder / "checkpoints" / "step-00000006" / "state.json").read_text())
    assert found.loss == rows["losses"][-1][1]
    assert found.validation == rows["validations"][-1][1]
    assert (found.loss_step, found.validation_step) == (6, 6)
    assert found.chosen.startswith("with decay 0.999 of step 6, validation ")
    assert {name: each["status"] for name, each in found.stages.items()} == {
        "train": "done", "sample": "done",
    }  # fmt: skip
    assert found.holder is None and found.damaged == ()
    assert "nothing; it is done" in found.lines()[-1]
    assert tiny_runs.tree(folder) == before


def test_what_was_told_last_is_of_the_run_and_not_of_a_copy(folder):
    recorded = tiny_runs.record(folder)["told"]
    for file in (folder / "run.json", folder / "checkpoints", folder / journal.NAME):
        os.utime(file, (recorded + 5000, recorded + 5000))
    last = status_of(folder).last
    assert last == pytest.approx(recorded, abs=0.1)
    assert " UTC, 60 s ago" in "".join(status_of(folder).lines(last + 60))


def test_of_one_that_goes_on_was_killed_stopped_or_failed(folder):
    changed(folder, status="running")
    with lock(folder, "tiny"):
        found = status_of(folder)
        assert found.status == "running" and found.holder.pid == os.getpid()
        assert "it is being written" in found.todo
    assert status_of(folder).status == "killed"
    told = tiny_runs.record(folder)
    begun = journal.read(folder / journal.NAME)[-1].time / 1000 - 7
    entry = {"status": "running", "seconds": 5.0, "seconds_of_call": 0.0, "begun": begun}
    changed(folder, stages=told["stages"] | {"sample": told["stages"]["sample"] | entry})
    stage = status_of(folder).stages["sample"]
    assert stage["status"] == "killed" and stage["seconds"] >= 12.0
    assert "s of them in the last call" in "".join(status_of(folder).lines())
    with lock(folder, "tiny"):
        stage = status_of(folder).stages["sample"]
        assert stage["status"] == "running" and stage["seconds"] >= 12.0
    changed(folder, stages=told["stages"])
    (folder / ".lock").write_text('{"run": "tiny", "pid": 1, "host": "there"}')
    lines = "\n".join(status_of(folder).lines())
    assert "the run 'tiny', process 1 on there has ended without a word" in lines
    assert f"`diffsci run {folder / 'config.yaml'} --out {folder}` goes on" in lines
    told = {"run": "tiny", "pid": 1, "host": "there", "ended": TWICE}
    (folder / ".lock").write_text(json.dumps(told))
    found = status_of(folder)
    assert found.status == "stopped"
    assert f"process 1 on there {TWICE}" in "\n".join(found.lines())
    changed(folder, status="failed")
    assert status_of(folder).todo.startswith("mend what failed, then `diffsci run")


def test_what_is_to_be_done_next_can_be_done(folder):
    """Without its config, and with as many processes as trained."""
    changed(folder, status="stopped", processes=2)
    lines = status_of(folder).lines()
    assert "  processes 2, which trained together" in lines
    config_ = folder / "config.yaml"
    goes_on = "under torchrun with 2 processes goes on"
    assert lines[-1].endswith(f"`diffsci run {config_} --out {folder}` {goes_on}")
    config_.unlink()
    changed(folder, processes=1)
    assert status_of(folder).todo == (
        f"`diffsci run PIPELINE --out {folder}`, with the pipeline file that it was begun with, "
        "goes on"
    )


def test_a_run_that_would_be_refused_is_not_told_to_go_on(folder):
    changed(folder, status="stopped")
    foreign = folder / "checkpoints" / "model.pt"
    foreign.write_bytes(b"PK\x03\x04")
    assert status_of(folder).todo.startswith(f"it would not go on: {foreign}: is a pickle")
    foreign.unlink()
    assert status_of(folder).todo.endswith(" goes on")
    newest = folder / "checkpoints" / "step-00000006"
    # The run looks at one that is not whole, too, and at what it reads at its end; not at older.
    best = folder / "checkpoints" / "best-00000003"
    best.mkdir()
    shutil.copytree(newest, later := newest.with_name("step-00000008"))
    (later / "state.json").unlink()
    assert status_of(folder).todo.endswith(" goes on")
    for place in (later, best):
        (place / "model.pt").touch()
        assert f"it would not go on: {place / 'model.pt'}: is a pickle" in status_of(folder).todo
        (place / "model.pt").unlink()
    (older := newest.with_name("step-00000004") / "model.pt").touch()
    assert status_of(folder).todo.endswith(" goes on")
    older.unlink()
    shutil.rmtree(later)
    numbers, manifest = newest / "state.json", newest / "manifest.json"
    numbers.write_bytes(damage.as_json(json.loads(numbers.read_bytes()) | {"format": 99}))
    listed = json.loads(manifest.read_bytes())
    entry = {"bytes": numbers.stat().st_size, "sha256": sha256_of(numbers)}
    manifest.write_bytes(damage.as_json(listed | {numbers.name: entry}))
    assert f"it would not go on: checkpoint {newest} has format 99" in status_of(folder).todo


def test_the_command_that_goes_on_has_the_plugins_of_the_run(folder):
    versions = tiny_runs.record(folder)["versions"] | {"plugin ours.toy": "0123"}
    changed(folder, status="stopped", versions=versions)
    assert status_of(folder).todo.startswith("`diffsci --plugin ours.toy run ")


def test_what_ended_training_early_is_told(folder):
    place = folder / "checkpoints" / "step-00000006"
    numbers, manifest = place / damage.NUMBERS, place / damage.MANIFEST
    assert status_of(folder).ended is None  # by its last step
    told = json.loads(numbers.read_bytes()) | {"ended": "patience"}
    numbers.write_bytes(damage.as_json(told))
    entry = {"bytes": numbers.stat().st_size, "sha256": sha256_of(numbers)}
    listed = json.loads(manifest.read_bytes()) | {numbers.name: entry}
    manifest.write_bytes(damage.as_json(listed))
    found = status_of(folder)
    assert found.ended == "patience"
    assert any("step 6 of 6, ended by train.patience, loss" in line for line in found.lines())
    lines = (folder / journal.NAME).read_text().splitlines()
    later = json.loads(lines[-1]) | {"step": 7, "values": {"train/loss": 1.0}}
    (folder / journal.NAME).write_text("\n".join([*lines, json.dumps(later)]) + "\n")
    assert status_of(folder).ended is None  # it went on


def test_the_journal_tells_of_steps_after_the_checkpoint(folder):
    file = folder / journal.NAME
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    found = status_of(folder)
    assert (found.step, found.checkpoint) == (6, "step-00000004")
    line = [each for each in journal.read(file) if "train/loss" in each.values][-1]
    assert found.loss == line.values["train/loss"]
    file.write_text(
        "".join(f"{row}\n" for row in file.read_text().splitlines() if '"step": 6' not in row)
    )
    later = journal.Line(time=line.time, step=5, values={"train/lr": 1.0})  # a batch left out
    with file.open("ab") as told:
        told.write(later.to_json())
    found = status_of(folder)
    assert (found.step, found.loss_step, found.validation_step) == (5, 4, 3)
    assert "step 5 of 6, loss" in "".join(found.lines()) and " at step 4, " in "".join(
        found.lines()
    )
    file.unlink()
    assert status_of(folder).step == 4
    changed(folder, status="stopped", stages={"train": {"status": "stopped", "seconds": 1.0}})
    assert status_of(folder).todo.endswith("goes on")
    (folder / "checkpoints" / "step-00000004" / "state.json").write_text("{}")
    assert status_of(folder).todo.startswith("no checkpoint is whole: restore one from a copy, or")
    shutil.rmtree(folder / "checkpoints")
    assert status_of(folder).todo.endswith("begins training anew: nothing was saved")


def test_of_a_damaged_folder_all_is_told_and_nothing_raised(folder):
    (folder / "checkpoints" / "step-00000006" / "state.json").write_text("{}")
    (folder / journal.NAME).write_bytes(b"\xff\n{}\n[1]\n")
    (folder / "run.json").write_text("{")
    found = status_of(folder)
    assert (found.status, found.checkpoint) == ("damaged", "step-00000004")
    assert len(found.damaged) == 2 and "step-00000006: state.json" in found.damaged[0]
    assert "restore run.json" in found.todo
    assert any(line.startswith("  training  step 4, loss ") for line in found.lines())
    shutil.rmtree(folder / "checkpoints")
    assert status_of(folder).checkpoint is None


def test_the_command_tells_lines_or_json_and_refuses_what_is_not_there(folder, tmp_path):
    told = CliRunner().invoke(cli.main, ["status", str(folder)])
    assert told.exit_code == 0
    assert told.stdout.splitlines()[0] == f"{folder}: done"
    told = CliRunner().invoke(cli.main, ["status", str(folder), str(tmp_path), "--json"])
    assert told.exit_code == 5 and f"{tmp_path}: is no run's folder" in told.stderr
    lost = tmp_path / "lost"
    (lost / "checkpoints").mkdir(parents=True)
    told = CliRunner().invoke(cli.main, ["status", str(folder), str(lost), "--json"])
    assert [each["status"] for each in json.loads(told.stdout)] == ["done", "damaged"]
    assert CliRunner().invoke(cli.main, ["status", str(tmp_path / "no")]).exit_code == 2


def test_a_resumed_run_has_no_gap_and_no_doubled_point_in_its_journal(tmp_path):
    file = tiny_runs.make(tmp_path, "downscale")
    text = ("train.log_every=1", "train.checkpoint_every=4", *QUICK)
    whole = tiny_runs.run(file, *text, out=tmp_path / "whole")
    tiny_runs.run(file, *text, out=tmp_path / "again")
    again = tmp_path / "again"
    shutil.rmtree(again / "checkpoints" / "step-00000006")
    shutil.rmtree(again / "model")
    with (again / journal.NAME).open("ab") as cut:
        cut.write(b'{"time": 17')
    tiny_runs.run(file, *text, out=again)
    points = [
        [
            (e.step, e.values["train/loss"])
            for e in journal.read(f / journal.NAME)
            if "train/loss" in e.values
        ]
        for f in (whole, again)
    ]
    assert points[0] == points[1]
    assert [step for step, _ in points[1]] == [1, 2, 3, 4, 5, 6]


def test_sync_sends_what_mlflow_lacks_once(tmp_path, monkeypatch):
    """The store is away at the start; then it is there, with a hole."""
    monkeypatch.chdir(tmp_path)
    file = tiny_runs.make(tmp_path, "downscale")
    # By its whole path: MLflow keeps open what it knows by its address, whatever folder it is in.
    store = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    loaded = config.load(file, [*QUICK, "train.log_every=1", "tracking.enabled=true", store])
    real = tracking.start
    monkeypatch.setattr(tracking, "start", lambda *_, **__: tracking.NullTracker())
    folder = pipeline.run(loaded, tmp_path / "run")
    monkeypatch.setattr(tracking, "start", real)
    told = CliRunner().invoke(cli.main, ["sync", str(folder)])
    assert told.exit_code == 0, told.stderr
    lines = journal.read(folder / journal.NAME)
    count = sum(len(line.values) for line in lines)
    assert told.stdout == f"{folder}: {count} points sent\n"
    run_id = tiny_runs.record(folder)["mlflow"]["run_id"]
    client = tracking.quiet_mlflow().MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.get_metric_history(run_id, "train/loss")
    expected = [(e.step, e.time, e.values["train/loss"]) for e in lines if "train/loss" in e.values]
    assert sorted((p.step, p.timestamp, p.value) for p in found) == expected
    told = CliRunner().invoke(cli.main, ["sync", str(folder)])
    assert told.stdout == f"{folder}: 0 points sent\n"
    elsewhere = f"sqlite:///{tmp_path}/other.db"
    for sent in (count, 0):
        told = CliRunner().invoke(cli.main, ["sync", str(folder), "--to", elsewhere])
        assert told.stdout == f"{folder}: {sent} points sent\n", told.stderr
    other = tracking.quiet_mlflow().MlflowClient(elsewhere)
    (run,) = other.search_runs(["1"])
    assert run.info.status == "FINISHED" and run.info.run_name == "tiny-s0"
    assert [item.path for item in other.list_artifacts(run.info.run_id)] == ["config.yaml"]
    assert tiny_runs.record(folder)["mlflow"]["run_id"] == run_id
    with lock(folder, "tiny"):
        told = CliRunner().invoke(cli.main, ["sync", str(folder)])
    assert told.exit_code == 5 and "is being written by the run 'tiny'" in told.stderr


def test_where_the_address_is_wrong_it_is_said_what_works(folder, tmp_path):
    """A run that is done takes no other `tracking.uri`: its command has nothing to do."""
    wrong = "http://127.0.0.1:9"
    config_ = config.load(folder / "config.yaml").plain | {"tracking": {"uri": wrong}}
    (folder / "config.yaml").write_text(json.dumps(config_))
    told = CliRunner().invoke(cli.main, ["sync", str(folder)])
    assert told.exit_code == 5 and told.stderr.endswith(
        f"start it and give the same command again; or send to the right address with `diffsci "
        f"sync {folder} --to URI`\n"
    )
    to = f"sqlite:///{tmp_path}/mlflow.db"
    assert CliRunner().invoke(cli.main, ["sync", str(folder), "--to", to]).exit_code == 0


def test_a_run_that_was_not_tracked_is_sent_to_an_address_that_is_given(folder, tmp_path):
    told = CliRunner().invoke(cli.main, ["sync", str(folder)])
    assert told.exit_code == 5 and "--to URI` sends it" in told.stderr
    told = CliRunner().invoke(cli.main, ["sync", str(folder), "--to", "foo://x"])
    assert told.exit_code == 2 and "--to: got 'foo://x', expected an address" in told.stderr
    told = CliRunner().invoke(cli.main, ["sync", str(folder), "--to", "http://127.0.0.1:9"])
    assert told.exit_code == 5 and told.stderr == (
        f"error: {folder}: nothing was sent. MLflow at http://127.0.0.1:9: does not answer "
        "(nothing listens there: is the server running, and the port right?); start it and give "
        "the same command again; or send to the right address with "
        f"`diffsci sync {folder} --to URI`\n"
    )
    to = f"sqlite:///{tmp_path}/mlflow.db"
    told = CliRunner().invoke(cli.main, ["sync", str(folder), "--to", to])
    lines = journal.read(folder / journal.NAME)
    assert told.stdout == f"{folder}: {sum(len(e.values) for e in lines)} points sent\n"
    assert "mlflow" not in tiny_runs.record(folder)

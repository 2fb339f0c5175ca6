"""A sweep: each point a run of its own, one table, and what fails does not stop the others."""

import csv
import json
import re
import shutil

import pytest
from click.testing import CliRunner

from diffsci import cli, config, pipeline
from diffsci.errors import ConfigError, DataError, DiffsciError, StorageError
from diffsci.running.locking import lock
from diffsci.stages.sweep_status import status_of_sweep
from diffsci.sweeps import sweeping
from diffsci.sweeps.table import SweepTable
from diffsci.tracking.tracker import NullTracker
from tests import tiny_runs
from tests.test_points import swept


@pytest.fixture(autouse=True, scope="module")
def _blank_figures():
    with tiny_runs.blank_figures():
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished sweep: its file and its folder."""
    place = tmp_path_factory.mktemp("sweep")
    file = swept(place, "sweep: {seed: [3, 4]}")
    return file, sweeping.run(config.load(file), place / "out")


def lines(folder):
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_point_is_the_run_that_it_would_be_alone(done, tmp_path):
    file, folder = done
    alone = tiny_runs.run(file, "sweep=null", "seed=4", "name=tiny-seed-4", out=tmp_path / "alone")
    assert tiny_runs.numbers(folder / "seed-4") == tiny_runs.numbers(alone)
    assert tiny_runs.numbers(folder / "seed-3") != tiny_runs.numbers(alone)


def test_the_table_has_a_line_for_each_point(done):
    _, folder = done
    rows = lines(folder)
    assert [row["point"] for row in rows] == ["seed-3", "seed-4"]
    assert [row["seed"] for row in rows] == ["3", "4"]
    assert all(value for row in rows for value in row.values())
    assert {row["status"] for row in rows} == {"done"}
    for row in rows:
        scores = (folder / row["point"] / "scores.csv").read_text().splitlines()
        (crps,) = (one for one in scores if one.startswith("model,u,crps,,"))
        assert float(row["u.crps"]) == pytest.approx(float(crps.split(",")[4]), rel=1e-5)
        assert float(row["train_seconds"]) >= 0
    page = (folder / "compare.html").read_text()
    assert "seed-3" in page and "seed-4" in page


def test_the_note_of_a_sweep_is_its_scores(done, monkeypatch):
    file, folder = done
    table = SweepTable(folder, config.load(file), {})
    head, rule, *rest = (line.strip("| ").split(" | ") for line in table.note().splitlines()[2:])
    assert head[:3] == ["point", "seed", "status"] and "u.crps" in head
    assert rule == ["---"] * 3 + ["---:"] * (len(head) - 3)
    assert [line[head.index("u.crps")] for line in rest] == [row["u.crps"] for row in lines(folder)]
    # What MLflow would cut off is told instead.
    monkeypatch.setattr("diffsci.sweeps.table._ROOM", len(table.note()) - 120)
    assert table.note().endswith("\n1 more point is in sweep.csv.")


def test_status_of_its_folder_has_a_line_for_each_point(done, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(done[1], folder)
    told = CliRunner().invoke(cli.main, ["status", str(folder)])
    assert told.exit_code == 0, told.stderr
    first, *points, last = told.stdout.splitlines()
    assert first == f"{folder}: done"
    assert [line for line in points if "last told" not in line] == [
        "  seed-3  done, step 6 of 6  (seed=3)",
        "  seed-4  done, step 6 of 6  (seed=4)",
    ]
    assert last == f"  next      read {folder / 'compare.html'}"
    record = tiny_runs.record(folder / "seed-4") | {"status": "failed"}
    (folder / "seed-4" / "run.json").write_text(json.dumps(record))
    shutil.rmtree(folder / "seed-3")
    found = status_of_sweep(folder)
    # What the sweep wrote down of the one that is gone is all that is known of it.
    assert found.status == "failed" and found.points["seed-3"]["status"] == "done"
    assert found.todo.startswith(f"see `diffsci status {folder / 'seed-4'}`, mend what failed")
    (folder / "sweep.json").write_text('{"name": "x"}')
    assert status_of_sweep(folder).status == "new"
    for text in ("{", "[]", '{"points": {"a": 1}}'):
        (folder / "sweep.json").write_text(text)
        found = status_of_sweep(folder)
        assert found.status == "damaged" and "sweep.json: cannot be read" in found.damaged[0]


def test_again_it_makes_nothing_anew(done):
    file, folder = done
    before = {name: tiny_runs.tree(folder / name) for name in ("seed-3", "seed-4")}
    sweeping.run(config.load(file), folder)
    assert {name: tiny_runs.tree(folder / name) for name in before} == before


def test_a_point_that_fails_is_told_and_the_others_are_run(tmp_path):
    points = "sweep: [{name: bad, data.split.test.samples: [6, 99]}, {name: good, seed: 1}]"
    file = swept(tmp_path, points)
    with pytest.raises(DataError) as caught:
        sweeping.run(config.load(file), tmp_path / "out")
    first, bad, last = str(caught.value).splitlines()
    assert first == "1 of 2 points of the sweep failed:"
    where = re.escape(str(tmp_path / "out" / "bad"))
    assert re.fullmatch(rf"  bad \(data.split.test.samples=\[6, 99\]\) in {where}: .*99.*", bad)
    assert last == "mend what failed; the same command tries these points again, and no others"
    with pytest.raises(DataError) as alone:
        sweeping.run(config.load(file), tmp_path / "out", only=("bad",))
    assert bad.endswith(f": {alone.value}")  # which is what a sweep with several jobs reads
    found = status_of_sweep(tmp_path / "out")
    assert "99" in found.points["bad"]["cause"] and found.points["good"]["cause"] is None
    assert any(line.strip().startswith("cause: ") for line in found.lines())
    assert [(row["point"], row["status"]) for row in lines(tmp_path / "out")] == [
        ("bad", "failed"),
        ("good", "done"),
    ]
    assert not (tmp_path / "out" / "compare.html").exists()


def test_an_error_that_nobody_expected_ends_its_point_alone(tmp_path, monkeypatch):
    """Such as memory that is gone: a smaller network may be next."""

    def run(child, folder, **_):
        if folder.name == "a":
            raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(pipeline, "run", run)
    loaded = config.load(swept(tmp_path, "sweep: [{name: a, train.hours: null}, {name: b}]"))
    with pytest.raises(DiffsciError) as caught:
        sweeping.run(loaded, tmp_path / "out")
    assert caught.value.exit_code == 1
    place = tmp_path / "out" / "a"
    told = f"  a (train.hours=null) in {place}: unexpected RuntimeError: out of memory"
    assert told in str(caught.value).splitlines()


def test_a_key_that_a_point_leaves_alone_has_the_value_of_the_file(tmp_path, caplog):
    """And what became of the points is told: line by line, and as a table at the end."""
    points = "sweep: [{name: a}, {name: b, sample.sampler: heun, sample.members: 2}]"
    loaded = config.load(swept(tmp_path, points))
    table = SweepTable(tmp_path, loaded, {})
    ends = iter([("b", None), ("a", DataError("no such file"))])
    with caplog.at_level("INFO"):
        sweeping._follow(ends, 2, table, NullTracker())
    rows = lines(tmp_path)
    assert [row["sample.sampler"] for row in rows] == ["ddim", "heun"]
    assert [row["sample.members"] for row in rows] == ["3", "2"]
    told = [each.getMessage() for each in caplog.records]
    assert told[:2] == [
        "sweep: b is done, 1 of 2 points have ended",
        "sweep: a failed: no such file",
    ]
    assert told[2:] == ["point  status", "a      failed", "b      waiting"]
    caplog.clear()
    with caplog.at_level("INFO"):  # of one point by its name: the other may be half-way
        sweeping._follow(iter([("b", None)]), 1, table, NullTracker())
    (only,) = [each.getMessage() for each in caplog.records]
    assert only == "sweep: b is done, 1 of 1 point has ended"


def test_a_faulty_point_stops_the_sweep_before_it_begins(tmp_path):
    file = swept(tmp_path, "sweep: {train.steps: [3, 0]}")
    with pytest.raises(ConfigError, match=rf"sweep point steps-0: {file}:\d+: train\.steps: got"):
        sweeping.run(config.load(file), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(tmp_path, caplog):
    file = swept(tmp_path, "sweep: {seed: [3, 4]}")
    with caplog.at_level("INFO"):
        sweeping.run(config.load(file), tmp_path / "out", dry_run=True)
    assert caplog.text.count("would be written by") == 2
    assert not (tmp_path / "out").exists()


def test_folders_of_something_else_are_refused(done, tmp_path):
    file, folder = done
    loaded = config.load(file)
    with pytest.raises(StorageError, match="holds a single run"):
        sweeping.run(loaded, folder / "seed-3")
    with pytest.raises(StorageError, match="holds the sweep 'tiny'"):
        sweeping.run(config.load(file, ["name=other"]), folder)
    with pytest.raises(StorageError, match=r"out: is the folder of a sweep .*`name=` or --out"):
        pipeline.run(config.load(file, ["sweep=null"]), folder)


def test_a_sweep_that_is_refused_leaves_the_finished_one_as_it_is(done):
    file, folder = done
    before = {name: (folder / name).read_bytes() for name in ("sweep.csv", "sweep.json")}
    changed = config.load(file, ["train.lr=0.01"])
    with pytest.raises(StorageError) as caught:
        sweeping.run(changed, folder)
    first, *points, last = str(caught.value).splitlines()
    assert first == "2 of 2 points of the sweep cannot go on:"
    assert last == "nothing was changed, and no point was begun"
    for line, seed in zip(points, (3, 4), strict=True):
        place = folder / f"seed-{seed}"  # named once
        assert line.startswith(f"  seed-{seed} (seed={seed}): {place}: holds another run (")
        assert line.count(str(place)) == 1 and "train.lr: 0.001 -> 0.01" in line
    with pytest.raises(StorageError, match=r"^\S*seed-4: holds another run"):
        sweeping.run(changed, folder, only=("seed-4",))
    with pytest.raises(ConfigError, match="^--allow: got 'train.lrr', which is no key"):
        sweeping.run(changed, folder, allow=("train.lrr",))
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_a_sweep_goes_on_while_none_of_its_points_does(done, tmp_path):
    """Between two points, each of them is done or waiting."""
    folder = tmp_path / "out"
    shutil.copytree(done[1], folder)
    shutil.rmtree(folder / "seed-4")
    record = json.loads((folder / "sweep.json").read_text())
    record["points"]["seed-4"]["status"] = "waiting"
    (folder / "sweep.json").write_text(json.dumps(record))
    assert status_of_sweep(folder).status == "stopped"
    with lock(folder, "tiny"):
        found = status_of_sweep(folder)
        assert found.status == "running" and found.todo == "nothing; it is being written"
        told = (folder / ".lock").read_text()
        with pytest.raises(StorageError, match="is being written by the run 'tiny'"):
            sweeping.run(config.load(done[0]), folder)
    (folder / ".lock").write_text(told)  # as a process leaves it that was killed
    assert status_of_sweep(folder).status == "killed"
    # Before any point had written its record, too; one that begins now holds its lock already.
    shutil.rmtree(folder / "seed-3")
    record["points"]["seed-3"]["status"] = "waiting"
    (folder / "sweep.json").write_text(json.dumps(record))
    assert status_of_sweep(folder).status == "killed"
    with lock(folder / "seed-4", "tiny-seed-4"):
        found = status_of_sweep(folder)
        assert [found.points[name]["status"] for name in record["points"]] == ["waiting", "running"]
        assert found.todo.startswith(
            "only seed-4 is being written, and not the sweep: `diffsci run"
        )


def test_of_several_processes_the_first_alone_writes_what_is_of_the_sweep(tmp_path, monkeypatch):
    begun = []

    def run(child, folder, **_):
        begun.append(folder.name)
        if folder.name == "a":
            raise DataError("not read")

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    loaded = config.load(swept(tmp_path, "sweep: [{name: a}, {name: b}]"))
    sweeping.run(loaded, tmp_path / "out")  # what failed is for the first to tell
    with pytest.raises(DataError, match="not read"):
        sweeping.run(loaded, tmp_path / "out", only=("a",))
    assert begun == ["a", "b", "a"] and not (tmp_path / "out").exists()


def test_runs_are_nested_in_mlflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = swept(tmp_path, "sweep: {seed: [3, 4]}")
    text = file.read_text().replace("evaluate: {resamples: 20}", "")
    file.write_text(text.replace("tracking: {enabled: false}", "tracking: {uri: sqlite:///t.db}"))
    folder = sweeping.run(config.load(file), tmp_path / "out")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/t.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = {run.info.run_name: run for run in client.search_runs(experiments)}
    assert sorted(runs) == ["tiny", "tiny-seed-3-s3", "tiny-seed-4-s4"]
    parent = runs["tiny"]
    for name in ("tiny-seed-3-s3", "tiny-seed-4-s4"):
        assert runs[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert runs[name].info.experiment_id == parent.info.experiment_id
        (place,) = folder.glob(name.removeprefix("tiny-").rpartition("-")[0])
        digests = tiny_runs.record(place)["data"]
        given = {each.tags[0].value: each.dataset for each in runs[name].inputs.dataset_inputs}
        assert {word: each.digest for word, each in given.items()} == {
            "training": digests["train"][:36],
            "testing": digests["test"][:36],
        }
    head, rule, *rest = parent.data.tags["mlflow.note.content"].splitlines()[2:]
    assert head.startswith("| point | seed | status |") and set(rule) <= set("|-: ")
    assert rest == ["| seed-3 | 3 | done |", "| seed-4 | 4 | done |"]
    # Again: the same three.
    sweeping.run(config.load(file), folder)
    assert len(client.search_runs(experiments)) == 3


def test_check_looks_at_every_point(tmp_path):
    from diffsci import checking

    file = swept(tmp_path, "sweep: {train.batch_size: [4, 100000, 0], seed: [0, 1]}")
    told = [problem for problem in checking.check((file,)) if not problem.warning]
    assert {problem.code for problem in told} == {"config"}
    texts = [str(problem) for problem in told]
    assert sum("train.batch_size: got 100000, expected at most" in text for text in texts) == 1
    assert sum("sweep point batch_size-0-seed-" in text for text in texts) == 2


def test_single_points_are_run_alone_and_found_done(tmp_path):
    file = swept(tmp_path, "sweep: {seed: [3, 4]}")
    loaded = config.load(file)
    folder = sweeping.run(loaded, tmp_path / "out", only=("seed-4",))
    assert [(row["point"], row["status"]) for row in lines(folder)] == [
        ("seed-3", "waiting"),
        ("seed-4", "done"),
    ]
    with pytest.raises(ConfigError, match="--point seed-5: no such point; did you mean 'seed-"):
        sweeping.run(loaded, folder, only=("seed-5",))


def test_a_point_alone_makes_no_page_of_all(done, tmp_path, caplog):
    folder = tmp_path / "out"
    shutil.copytree(done[1], folder)
    (folder / "compare.html").unlink()
    with caplog.at_level("INFO"):
        sweeping.run(config.load(done[0]), folder, only=("seed-4",))
    assert not (folder / "compare.html").exists() and "sweep.csv" not in caplog.text
    sweeping.run(config.load(done[0]), folder)
    assert (folder / "compare.html").exists()


def test_a_stop_ends_the_sweep_and_the_same_command_goes_on(done, tmp_path, monkeypatch):
    file, finished = done
    begun = []

    def stopped(child, place, **rest):
        begun.append(place.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sweeping.pipeline, "run", stopped)
        sweeping.run(config.load(file), tmp_path / "out")
    assert begun == ["seed-3"]
    folder = sweeping.run(config.load(file), tmp_path / "out")
    for name in ("seed-3", "seed-4"):
        assert tiny_runs.numbers(folder / name) == tiny_runs.numbers(finished / name)


def test_check_takes_overrides_for_pipelines(tmp_path):
    from click.testing import CliRunner

    from diffsci.cli import main

    file = swept(tmp_path, "sweep: null")
    done = CliRunner().invoke(main, ["check", str(file), "train.batch_size=100000"])
    assert done.exit_code == 2
    assert "train.batch_size: got 100000, expected at most" in done.output
    assert CliRunner().invoke(main, ["check", str(file), "train.batch_size=3"]).exit_code == 0
    alone = CliRunner().invoke(main, ["check", "train.batch_size=3"])
    assert alone.exit_code == 2
    assert "no PATH beside train.batch_size=3" in alone.output

"""`train.from: point:NAME`: a point begins from another one, and is the same run anywhere."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from diffsci import checking, cli, config, pipeline
from diffsci.errors import ConfigError, DataError, DiffsciError
from diffsci.stages.training.progress import Progress
from diffsci.stages.training.starting import find
from diffsci.sweeps import sweeping
from tests import tiny_runs
from tests.test_points import swept

FIRST = "{name: first, train.objective: deterministic, sample.members: 1, MORE}"
SECOND = "{name: second, train.from: point:first, train.steps: 4, MORE}"
QUICK = (
    "evaluate=null",
    "train.objective=crps",
    "sample.sampler=null",
    "model.schedule=edm",
    "train.steps=2",
)


def chained(folder, *points):
    """A tiny pipeline with a sweep of these points, a line each."""
    lines = [f"  - {point.replace(', MORE', '')}" for point in points or (FIRST, SECOND)]
    return swept(folder, "\n".join(["sweep:", *lines]))


def load(file, *more):
    return config.load(file, (*QUICK, *more))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished sweep, in turn: its file and its folder."""
    file = chained(tmp_path_factory.mktemp("chained"))
    return file, sweeping.run(load(file), file.parent / "out")


def refused(file, *more, only=()):
    with pytest.raises(ConfigError) as caught:
        sweeping.run(load(file, *more), file.parent / "new", only=only)
    return str(caught.value)


def test_a_point_begins_from_the_model_of_the_other(done):
    """As the single run with the path of that model does, to the bit."""
    file, out = done
    told = tiny_runs.record(out / "second")["from"]
    assert told["folder"] == str(out / "first" / "model") and not told["left"]
    keys = ("sweep=null", "train.steps=4", f"train.from={out / 'first'}")
    alone = pipeline.run(load(file, *keys), file.parent / "alone")
    assert tiny_runs.record(alone)["from"]["weights"] == told["weights"]
    new, old = (place / "model" / "weights.safetensors" for place in (out / "second", alone))
    assert new.read_bytes() == old.read_bytes()


def test_it_waits_for_the_other_where_several_go_at_once(tmp_path):
    """Whatever else goes on; that one which failed is told by its own process."""
    file = chained(tmp_path, FIRST, SECOND, "{name: third, seed: 3}")
    code = (
        "import pathlib, sys, time\n"
        "place, name = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "begun = place / f'{name}-begun'\n"
        "begun.touch()\n"
        "while name == 'first' and not (place / 'third-begun').exists():\n"
        "    time.sleep(0.01)\n"
        "assert not (place / 'second-begun').exists() or name == 'second'\n"
        "exit(name == 'first')\n"
    )
    with pytest.raises(DiffsciError, match="1 of 3 points of the sweep failed") as caught:
        sweeping.run(
            load(file),
            tmp_path / "out",
            jobs=2,
            command=lambda *given: ["-c", code, *map(str, given)],
        )
    assert "first (" in str(caught.value) and (tmp_path / "out" / "second-begun").exists()


@pytest.mark.slow
def test_several_at_once_make_the_bits_of_one_after_another(done, tmp_path):
    """Its fast twin is the one above."""
    file, out = done
    told = ["run", str(file), *QUICK, "--jobs", "2", "--out", str(tmp_path / "jobs")]
    ended = CliRunner().invoke(cli.main, told)
    assert ended.exit_code == 0, ended.output
    for name in ("first", "second"):
        assert tiny_runs.numbers(tmp_path / "jobs" / name) == tiny_runs.numbers(out / name)


def test_a_finished_sweep_that_was_moved_is_the_same(done, tmp_path):
    """Nothing is made anew, and no change is seen: the resolved pipeline names the point."""
    file, out = done
    shutil.copytree(out, tmp_path / "moved")
    before = {name: tiny_runs.tree(tmp_path / "moved" / name) for name in ("first", "second")}
    sweeping.run(load(file), tmp_path / "moved")
    assert before == {name: tiny_runs.tree(tmp_path / "moved" / name) for name in before}
    plain = config.load(tmp_path / "moved" / "second" / "config.yaml").plain
    assert plain["train"]["from"] == "point:first"


def test_a_sweep_that_was_stopped_and_moved_goes_on_to_the_same_bits(done, tmp_path, monkeypatch):
    file, out = done
    real = Progress.show

    def show(progress, step):
        if step.step == 3:  # which the first point does not have
            raise KeyboardInterrupt
        real(progress, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "show", show)
        sweeping.run(load(file), tmp_path / "begun")
    assert (tmp_path / "begun" / "second" / "checkpoints" / "step-00000002").exists()
    assert not (tmp_path / "begun" / "second" / "model").exists()
    (tmp_path / "begun").rename(tmp_path / "moved")
    sweeping.run(load(file), tmp_path / "moved")
    for name in ("first", "second"):
        assert tiny_runs.numbers(tmp_path / "moved" / name) == tiny_runs.numbers(out / name)


def test_by_its_name_it_needs_the_model_of_the_other(done, tmp_path):
    file, out = done
    told = refused(file, only=("second",))
    line = len(file.read_text().splitlines())
    assert told.startswith(f"{file}:{line}: train.from: got 'point:first', whose training is not ")
    assert "(not begun); let that point finish first, or mend what it failed by (`diffsci" in told
    shutil.copytree(out / "first", tmp_path / "out" / "first")
    sweeping.run(load(file), tmp_path / "out", only=("second",))
    found = tiny_runs.numbers(tmp_path / "out" / "second")
    assert found == tiny_runs.numbers(out / "second")


def test_it_is_run_again_by_its_own_config(done, tmp_path):
    _, out = done
    own = config.load(out / "second" / "config.yaml")
    again = pipeline.run(own, tmp_path / "again")
    assert tiny_runs.numbers(again) == tiny_runs.numbers(out / "second")


def test_where_the_other_failed_it_fails_by_name_and_is_tried_again(tmp_path):
    file = chained(tmp_path, FIRST.replace("MORE", "data.split.test.samples: [6, 99]"), SECOND)
    with pytest.raises(DataError) as caught:
        sweeping.run(load(file), tmp_path / "out")
    _, _, second, _ = str(caught.value).splitlines()
    assert second.startswith("  second (") and "got 'point:first', whose training is not" in second
    assert "(failed); let that point finish first, or mend what it failed by" in second
    file.write_text(file.read_text().replace("[6, 99]", "[6, 10]"))
    sweeping.run(load(file), tmp_path / "out")
    assert tiny_runs.record(tmp_path / "out" / "second")["status"] == "done"


@pytest.mark.parametrize(
    ("points", "wrong"),
    [
        (
            (FIRST, SECOND.replace(":first", ":frst")),
            "train.from: got 'point:frst', which is no point of this sweep; did you mean 'first'?; "
            "expected a point before it: first",
        ),
        (
            (FIRST, SECOND.replace(":first", ":second")),
            "train.from: got 'point:second', which is this point itself; "
            "expected a point before it: first",
        ),
        (
            (SECOND, FIRST),
            "train.from: got 'point:first', which is listed later: list it before second; "
            "expected null: no point is before it",
        ),
    ],
)
def test_a_source_that_cannot_be_is_refused_before_the_first_point(tmp_path, points, wrong):
    file = chained(tmp_path, *points)
    line = file.read_text().splitlines().index(next(p for p in chained_lines(points)))
    told = f"sweep point second: {file}:{line + 1}: {wrong}"
    assert refused(file) == told
    assert refused(file, only=("second",)) == told
    with pytest.raises(ConfigError, match="^sweep point second: "):
        sweeping.run(load(file), tmp_path / "new", dry_run=True)
    assert not (tmp_path / "new").exists()
    found = [str(each) for each in checking.check((file,), None, QUICK) if not each.warning]
    assert len(found) == 1 and wrong in found[0] and f"line {line + 1}" in found[0]


def chained_lines(points):
    return [f"  - {each.replace(', MORE', '')}" for each in points if "name: second" in each]


def test_without_a_sweep_there_is_no_point(tmp_path):
    file = tiny_runs.make(tmp_path, "pde")
    file.write_text(file.read_text().replace("\ntrain: {", "\ntrain: {from: point:first, "))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "point:" in text)
    wrong = (
        "train.from: got 'point:first', and this pipeline has no sweep; expected the folder of "
        "that run, such as runs/SWEEP/first, or null"
    )
    for dry in (True, False):
        with pytest.raises(ConfigError) as caught:
            pipeline.run(config.load(file), tmp_path / "out", dry_run=dry)
        assert str(caught.value) == f"{file}:{line}: {wrong}"
    (found,) = [str(each) for each in checking.check((file,)) if not each.warning]
    assert wrong in found and f"line {line}" in found


def test_check_and_a_dry_run_are_clean_before_there_is_a_model(tmp_path, caplog):
    file = chained(tmp_path)
    with caplog.at_level("INFO"):
        assert [each for each in checking.check((file,), None, QUICK) if not each.warning] == []
        assert "train: from tiny-first (to be trained): 24 weights taken, 0 in part" in caplog.text
        sweeping.run(load(file), tmp_path / "out", dry_run=True)
    assert caplog.text.count("would be written by") == 2 and not (tmp_path / "out").exists()


def test_check_tells_patterns_and_networks_that_do_not_fit(tmp_path):
    other = "model.network: {use: deep_ensemble, of: {use: unet, channels: [8]}, count: 2}"
    third = SECOND.replace("MORE", other).replace("name: second", "name: third")
    file = chained(tmp_path, FIRST, SECOND.replace("MORE", "train.freeze: [stem.*]"), third)
    found = [str(each) for each in checking.check((file,), None, QUICK) if not each.warning]
    assert len(found) == 2
    assert "train.freeze[0]: got 'stem.*'" in found[0] and "'network.stem.*'" in found[0]
    assert "train.from: none of its" in found[1] and "fits this network" in found[1]
    # Of other data nothing is said before there is a model.
    file.write_text(file.read_text().replace(other, f"{other}, data.task.history: 1"))
    assert len([e for e in checking.check((file,), None, QUICK) if not e.warning]) == 1


def test_all_processes_of_a_run_take_the_same_folder(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(
        pipeline, "run", lambda child, folder, **_: begun.append(child.pipeline.train.from_)
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.chdir(tmp_path)
    loaded = load(chained(tmp_path))
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        sweeping.run(loaded)
    assert begun == [None, str(tmp_path / "runs" / "tiny" / "first")] * 2


def test_another_sweep_near_the_file_is_not_taken(done, tmp_path, monkeypatch):
    """A relative folder would be looked for there, too."""
    file, _ = done
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="got 'point:first', whose training is not done"):
        sweeping.run(load(file), Path("out"), only=("second",))


def test_a_model_of_before_is_no_source(done, tmp_path):
    """That of a run whose training goes on with what was allowed."""
    file, out = done
    shutil.copytree(out / "first", tmp_path / "out" / "first")
    record = tiny_runs.record(tmp_path / "out" / "first")
    record["stages"]["train"]["status"] = "stopped"
    (tmp_path / "out" / "first" / "run.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="got 'point:first', whose training is not done"):
        sweeping.run(load(file), tmp_path / "out", only=("second",))
    with pytest.raises(ConfigError, match="so its model is that of before: finish it first"):
        find("out/first", (tmp_path,))

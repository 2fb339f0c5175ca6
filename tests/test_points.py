"""Points of a sweep: every combination, or one by one; each a pipeline that could stand alone."""

import pytest

from diffsci import config, yamltext
from diffsci.errors import ConfigError
from diffsci.points import taken_out
from diffsci.yamltext import Node
from tests import tiny_runs


def swept(folder, text):
    """A tiny pipeline with a sweep."""
    file = tiny_runs.make(folder, "pde")
    file.write_text(f"{file.read_text()}{text}\n")
    return file


def points(text):
    tree, found = taken_out(yamltext.read(text, "file.yaml"))
    assert "sweep" not in tree.value
    return found


def test_a_mapping_gives_every_combination_the_last_key_fastest():
    found = points("sweep: {train.lr: [1.0e-3, 3.0e-4], seed: [0, 1], name_of: [x]}")
    assert [point.overrides for point in found] == [
        (f"train.lr={lr}", f"seed={seed}", 'name_of="x"')
        for lr in (0.001, 0.0003)
        for seed in (0, 1)
    ]
    # What does not vary is not told.
    assert [point.name for point in found] == [
        "lr-0.001-seed-0",
        "lr-0.001-seed-1",
        "lr-0.0003-seed-0",
        "lr-0.0003-seed-1",
    ]


def test_a_list_gives_points_one_by_one():
    found = points(
        "sweep: [{name: plain, seed: 3}, {train.objective: {use: crps, members: 3}, "
        "sample.sampler: null}]"
    )
    assert found[0].name == "plain"
    assert found[0].overrides == ("seed=3",)
    assert found[1].name == "objective-crps-sampler-null"
    assert found[1].overrides == (
        'train.objective={"use": "crps", "members": 3}',
        "sample.sampler=null",
    )


def test_without_the_key_or_with_null_there_is_no_sweep():
    assert points("sweep: null") == ()
    tree = Node({"name": "x"}, {})
    assert taken_out(tree) == (tree, ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sweep: 3", "sweep: got 3, expected a mapping of keys to lists of values, or a list"),
        ("sweep: {}", "sweep: makes 0 points, expected 1 to 1000"),
        ("sweep: []", "sweep: got \\[\\], expected a mapping"),
        ("sweep: {seed: 3}", "sweep.seed: got 3, expected a list of values"),
        ("sweep: {seed: []}", "sweep.seed: got \\[\\], expected a list of values"),
        ("sweep: [3]", "sweep\\[0\\]: got 3, expected a mapping such as"),
        ("sweep: {name: [a, b]}", "'name' cannot be varied"),
        ("sweep: {extends: [a, b]}", "'extends' cannot be varied"),
        ("sweep: [{name: a/b, seed: 1}]", "got name 'a/b', expected a name of up to 60 letters"),
        ("sweep: [{name: a, seed: 1}, {name: a, seed: 2}]", "two points are named 'a'"),
        ("sweep: [{seed: 1}, {seed: 1}]", "two points are named 'seed-1'"),
        ("sweep: [{}]", "got name null, expected a name"),
    ],
)
def test_what_is_no_sweep_is_told_by_place(text, told):
    with pytest.raises(ConfigError, match=rf"^file.yaml:1: .*{told}"):
        points(text)


def test_a_thousand_points_are_enough():
    with pytest.raises(ConfigError, match="makes 1024 points, expected 1 to 1000"):
        points("sweep: {a: %s, b: %s}" % ((list(range(32)),) * 2))


def test_points_win_over_the_file_and_the_command_line(tmp_path):
    file = swept(tmp_path, "sweep: {seed: [5, 7]}")
    loaded = config.load(file, ["train.steps=4", "seed=1"])
    found = [loaded.at(point) for point in loaded.points]
    assert [one.pipeline.seed for one in found] == [5, 7]
    assert {one.pipeline.train.steps for one in found} == {4}
    assert [one.pipeline.name for one in found] == ["tiny-seed-5", "tiny-seed-7"]
    # What is recorded of a point is a pipeline without a sweep.
    assert all("sweep" not in one.plain and one.points == () for one in found)


def test_a_faulty_point_is_named(tmp_path):
    file = swept(tmp_path, "sweep: [{name: bad, train.stepps: 3}]")
    loaded = config.load(file)
    with pytest.raises(
        ConfigError, match=r"^sweep point bad: .*train\.stepps: unknown key; did you mean"
    ):
        loaded.at(loaded.points[0])


def test_what_a_point_has_wrong_is_told_with_its_line(tmp_path):
    file = swept(tmp_path, "sweep:\n  - {name: good}\n  - {name: bad,\n     train.lrr: 1}")
    line = len(file.read_text().splitlines())
    loaded = config.load(file)
    with pytest.raises(ConfigError) as error:
        loaded.at(loaded.points[1])
    told = f"sweep point bad: {file}:{line}: train.lrr: unknown key; did you mean 'lr'"
    assert str(error.value).startswith(told)
    loaded = config.load(file, ["sweep={sample.leads: [1], train.stepz.x: [2]}"])
    with pytest.raises(ConfigError, match=r"^sweep point .*: command line: train.stepz: unknown"):
        loaded.at(loaded.points[0])
    # What contradicts another section is placed, too, and so is what shows when data is read.
    file = swept(tmp_path, "sweep: {sample.sampler: [null], train.batch_size: [3]}")
    line, loaded = len(file.read_text().splitlines()), config.load(file)
    with pytest.raises(ConfigError, match=rf"{file}:{line}: sample.sampler: got null, expected"):
        loaded.at(loaded.points[0])
    loaded = config.load(swept(tmp_path, "sweep: {train.batch_size: [3]}"))
    found = loaded.at(loaded.points[0])
    fault = config.placed(found, ConfigError("train.batch_size: got 3, expected less"))
    assert str(fault) == f"{file}:{line}: train.batch_size: got 3, expected less"

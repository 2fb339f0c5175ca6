"""Pipeline files: how they compose, what is built of them, and that all else is refused by name."""

import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffsci import config, families, yamltext
from diffsci.errors import ConfigError

GOOD = """\
name: good
seed: 3
data:
  entry: a1b_north_america
  domain: weather
  task: {use: downscale, factor: 4}
  split:
    train: {time: [1860-06-01, 2099-06-01]}
    test: {entry: e1_north_america, time: [2000-06-01, 2099-06-01]}
model:
  network: {use: unet, channels: [8, 16]}
  schedule: edm
  predict: v
train:
  steps: 100
  lr: 1e-3
sample:
  members: 4
  sampler: {use: ddim, steps: 5}
evaluate:
  scores: [crps, {use: rmse}]
  baselines: [interpolation]
"""


@pytest.fixture
def write(tmp_path):
    """Writes a file below the test's folder and gives its path."""

    def file(text, name="pipelines/good.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return file


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(families, "_plugins", {})
    monkeypatch.setattr(families, "_words", {})
    families.plugin("tests.toy_member")


def refusal(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    return str(caught.value)


# What is built


def test_a_good_file_becomes_objects(write):
    path = write(GOOD)
    loaded = config.load(path)
    pipeline = loaded.pipeline
    assert pipeline.train.lr == 1e-3
    assert pipeline.model.network.channels == (8, 16)
    assert pipeline.sample.sampler.steps == 5
    assert families.name_of(pipeline.train.objective) == "edm"  # the default member
    assert pipeline.data.split.test.time == ("2000-06-01", "2099-06-01")  # dates stay text
    assert [families.name_of(score) for score in pipeline.evaluate.scores] == ["crps", "rmse"]
    assert pipeline.sample.guidance is None
    assert loaded.origin == path


def test_the_resolved_file_repeats_the_run(write):
    loaded = config.load(write(GOOD), ["train.steps=7", "sample.sampler=heun"])
    text = config.to_yaml(loaded.plain)
    again = config.load(write(text, "runs/good/config.yaml"))
    assert again.plain == loaded.plain
    assert again.pipeline == loaded.pipeline
    assert config.to_yaml(again.plain) == text
    assert loaded.plain["sample"]["sampler"]["use"] == "heun"
    assert "extends" not in loaded.plain
    folder = config.load(again.origin.parent)  # a run folder stands for its config.yaml
    assert folder.pipeline == loaded.pipeline


def test_roots_are_the_folder_three_above_here_and_the_shipped(write, tmp_path):
    path = write(GOOD, "a/b/c/d/good.yaml")
    roots = config.load(path, roots=[tmp_path / "mine"]).roots
    assert roots[0] == tmp_path / "mine"
    assert roots[1:5] == tuple(path.parents[:4])
    assert Path.cwd() in roots
    assert (config.shipped_root() / "configs").is_dir()
    assert config.shipped_root() in roots
    assert len(set(roots)) == len(roots)


def test_sections_that_are_absent_or_null_are_stages_not_run(write):
    loaded = config.load(write(GOOD), ["evaluate=null"])
    assert loaded.pipeline.evaluate is None
    assert loaded.plain["evaluate"] is None
    assert loaded.pipeline.runtime.device == "auto"


def test_every_kind_of_field(write, toy):
    text = """
    guidance:
      use: toy_member
      whole: -7
      number: 3
      switch: true
      text: '012'
      perhaps: 4
      either: six
      pair: [1, 2]
      many: [a, 'on', 'null']
      table: {a: 1, b: 2.5}
      choice: 2
      inner: {weight: 1}
      inners: [{weight: 0, word: far}]
      loose: {x: [1, null, {y: z}]}
      schedule: {beta_max: 10}
      schedules: [edm, {use: cosine}]
    """
    path = write(
        GOOD.replace("sample:\n", "sample:\n" + textwrap.indent(textwrap.dedent(text), "  "))
    )
    loaded = config.load(path)
    toy = loaded.pipeline.sample.guidance
    assert (toy.whole, toy.number, toy.switch, toy.text) == (-7, 3.0, True, "012")
    assert isinstance(toy.number, float)
    assert (toy.perhaps, toy.either, toy.pair, toy.many) == (
        4,
        "six",
        (1, 2.0),
        ("a", "on", "null"),
    )
    assert (toy.table, toy.choice) == ({"a": 1.0, "b": 2.5}, 2)
    assert (toy.inner.weight, toy.inners[0].word) == (1.0, "far")
    assert families.name_of(toy.schedule) == "linear"
    assert toy.schedule.beta_max == 10.0
    assert [families.name_of(each) for each in toy.schedules] == ["edm", "cosine"]
    assert toy.loose == {"x": [1, None, {"y": "z"}]}
    again = config.load(write(config.to_yaml(loaded.plain), "again.yaml"))
    assert again.pipeline == loaded.pipeline
    assert again.plain == loaded.plain


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("whole", "1.0", "expected a whole number"),
        ("whole", "true", "got true, expected a whole number"),
        ("whole", "'1'", "expected a whole number without quotes"),
        ("whole", "null", "expected a whole number"),
        ("number", "true", "expected a number"),
        ("number", "'1e-3'", "expected a number without quotes"),
        ("number", "1" + "0" * 99, None),
        ("switch", "1", "expected true or false"),
        ("switch", "yes", "got 'yes', expected true or false"),
        ("text", "7", "got 7, expected text (put it in quotes)"),
        ("perhaps", "x", "got 'x', expected a whole number"),
        ("either", "1.5", "expected a whole number or text"),
        ("pair", "[1]", "expected a list [a whole number, a number]"),
        ("pair", "[1, 2, 3]", "expected a list [a whole number, a number]"),
        ("pair", "[1.5, 2]", "pair[0]: got 1.5, expected a whole number"),
        ("many", "a", "got 'a', expected a list, each item text"),
        ("many", "[a, 3]", "many[1]: got 3, expected text"),
        ("table", "[1]", "expected a mapping"),
        ("table", "{a: x}", "table.a: got 'x', expected a number"),
        ("choice", "'2'", "expected one of 1, 2, auto"),
        ("choice", "autos", "did you mean 'auto'"),
        ("inner", "{}", "inner.weight: required key is missing, expected a number"),
        ("inner", "{weight: -1}", "inner.weight: got -1.0, expected 0 or more"),
        ("inner", "{weight: 1, wrd: far}", "inner.wrd: unknown key; did you mean 'word'?"),
        ("inner", "3", "expected a mapping with weight, word"),
        ("inners", "[{weight: 1}, {weight: x}]", "inners[1].weight: got 'x'"),
        ("schedule", "null", "schedule: got null, expected a name or a mapping with `use`"),
        ("schedule", "edn", "schedule: got 'edn', expected one of the schedules"),
        ("schedules", "edm", "expected a list of schedules"),
        ("schedules", "[edm, 3]", "schedules[1]: got 3"),
        ("schedules", "[{rho: 7}]", "schedules[0].use: required key is missing"),
    ],
)
def test_types_are_strict(write, toy, key, text, expected):
    override = f"sample.guidance={{use: toy_member, {key}: {text}}}"
    if expected is None:
        assert config.load(write(GOOD), [override]).pipeline.sample.guidance.number == 1e99
        return
    message = refusal(write(GOOD), override)
    assert message.startswith("command line: sample.guidance.")
    assert expected in message


# How files compose


def test_later_files_win_and_this_one_over_all(write):
    write("train: {steps: 1, lr: 0.5, clip: 2.0}", "base/one.yaml")
    write("train: {steps: 2, lr: 0.25}\nseed: 9", "base/two.yaml")
    path = write("extends: [../base/one.yaml, ../base/two.yaml]\n" + GOOD)
    pipeline = config.load(path).pipeline
    assert (pipeline.train.steps, pipeline.train.lr, pipeline.train.clip) == (100, 1e-3, 2.0)
    assert pipeline.seed == 3
    short = write("extends: good.yaml\nname: short\ntrain: {steps: 5}", "pipelines/short.yaml")
    assert config.load(short).pipeline.train.steps == 5
    assert config.load(short).pipeline.train.lr == 1e-3


def test_a_fragment_holds_the_keys_of_its_section(write):
    write("steps: 2\nclip: 3.0", "configs/train/tiny.yaml")
    write("extends: tiny.yaml\nwarmup: 5", "configs/train/tinier.yaml")
    path = write("extends: ../configs/train/tinier.yaml\n" + GOOD)
    train = config.load(path).pipeline.train
    assert (train.steps, train.clip, train.warmup) == (100, 3.0, 5)
    by_name = write(GOOD.replace("train:\n  steps: 100\n  lr: 1e-3", "train: tinier"), "b/n.yaml")
    train = config.load(by_name).pipeline.train
    assert (train.steps, train.clip, train.warmup) == (2, 3.0, 5)
    train = config.load(path, ["train=tiny", "train.clip=4"]).pipeline.train
    assert (train.steps, train.clip, train.lr) == (2, 4.0, 1e-3)


def test_the_shipped_fragments_fit(write):
    root = config.shipped_root() / "configs"
    for fragment in sorted(root.glob("*/*.yaml")):
        # What is scored is of the task, and a fragment of data brings a task of its own.
        told = [f"{fragment.parent.name}={fragment.stem}", "evaluate.baselines=[]"]
        loaded = config.load(write(GOOD), told)
        assert loaded.pipeline.name == "good"


def test_another_member_takes_nothing_from_the_old_one(write):
    path = write(GOOD)
    base = "extends: good.yaml\nname: other\n"

    def sampler(text):
        other = write(base + f"sample: {{sampler: {text}}}", "pipelines/other.yaml")
        return config.load(other).plain["sample"]["sampler"]

    assert sampler("{eta: 1.0}") == {**config.load(path).plain["sample"]["sampler"], "eta": 1.0}
    assert sampler("{use: ddim, eta: 1}")["steps"] == 5  # the same member: merged
    assert sampler("ddim")["steps"] == 50  # a bare name replaces the whole member
    assert sampler("{use: heun}")["steps"] == 32  # another member: its own defaults
    assert sampler("heun")["steps"] == 32
    # `steps` below meant the default member, dpmpp; ddim must not inherit it
    write("sample: {sampler: {steps: 3}}", "pipelines/implied.yaml")
    implied = write(
        "extends: implied.yaml\n" + GOOD.replace("ddim, steps: 5", "ddim"), "pipelines/x.yaml"
    )
    assert config.load(implied).plain["sample"]["sampler"]["steps"] == 50
    write("sample: {sampler: ddim}", "pipelines/named.yaml")
    named = write("extends: named.yaml\n" + GOOD.replace("use: ddim, ", ""), "pipelines/y.yaml")
    assert config.load(named).plain["sample"]["sampler"]["use"] == "ddim"


def test_a_list_and_a_mapping_replace_each_other(write):
    """OmegaConf alone refuses to merge the two."""
    write(GOOD)
    base = "extends: good.yaml\n"
    path = write(base + "evaluate:\n  scores: {a: 1}", "pipelines/list.yaml")
    assert refusal(path) == f"{path}:3: evaluate.scores: got {{a: 1}}, expected a list of " + (
        f"scores, such as [{families.names('scores')[0]}]"
    )
    path = write(base + "train: [1]", "pipelines/mapping.yaml")
    assert refusal(path).startswith(f"{path}:2: train: got [1], expected a mapping with steps")
    # What the list took away is missing again, told where the section was given last
    message = refusal(path, "train.lr=1e-3")
    assert message.startswith("command line: train.steps: required key is missing")


def test_overrides_win_and_read_yaml_values(write):
    overrides = [
        "train.lr=2e-4",
        "evaluate.scores=[crps, spread_skill]",
        "data.split.valid={time: [1990-01-01, 1999-12-30]}",
        "sample.cases=null",
        "tracking.enabled=false",
        "runtime.device=cuda:1",
        "tracking.uri=sqlite:///x=y.db",
        "sample.sampler.eta=1",
        "data.variables=[air_temperature]",
        "train.steps=1",
        "train.steps=2",
    ]
    pipeline = config.load(write(GOOD), overrides).pipeline
    assert pipeline.train.lr == 2e-4
    assert [families.name_of(s) for s in pipeline.evaluate.scores] == ["crps", "spread_skill"]
    assert pipeline.data.split.valid.time == ("1990-01-01", "1999-12-30")
    assert pipeline.sample.cases is None
    assert pipeline.tracking.enabled is False
    assert pipeline.runtime.device == "cuda:1"
    assert pipeline.tracking.uri == "sqlite:///x=y.db"
    assert (pipeline.sample.sampler.steps, pipeline.sample.sampler.eta) == (5, 1.0)
    assert pipeline.train.steps == 2


def test_overrides_together_are_one_layer(write):
    for order in (["sample.sampler.steps=9", "sample.sampler.use=heun"], None):
        order = order or ["sample.sampler=heun", "sample.sampler.steps=9"]
        assert config.load(write(GOOD), order).plain["sample"]["sampler"]["use"] == "heun"
        assert config.load(write(GOOD), order).plain["sample"]["sampler"]["steps"] == 9
    message = refusal(write(GOOD), "sample.sampler.steps=9", "sample.sampler=heun")
    assert "'sample.sampler=heun' would undo 'sample.sampler.steps=9'" in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.steps", "command line: got 'train.steps', expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("train..steps=3", "expected KEY=VALUE"),
        ("train.steps=", "command line: train.steps: has no value"),
        ("train.steps=1e3", "got 1000.0, expected a whole number: write 1000"),
        ("train.rollout={leads:2}", "space after the colon: `leads: 2`"),
        ("train.steps=#3", "command line: train.steps: is empty"),
        ("train.steps=[1", "command line: train.steps: not valid YAML"),
        ("train.lr=.inf", "command line: train.lr: .inf is not finite"),
        ("train.step=3", "command line: train.step: unknown key; did you mean 'steps'?"),
        ("steps=3", "command line: steps: unknown key; did you mean 'train.steps'?"),
        ("train.steps.x=3", "command line: train.steps: got {x: 3}, expected a whole number"),
        (
            "evaluate.scores.0=crps",
            "command line: evaluate.scores: got {0: crps}, expected a list",
        ),
        ("extends=[a.yaml]", "command line: extends: belongs in a file"),
        ("model=unet_smal", "command line: model: got 'unet_smal', expected one of configs/model/"),
        ("model=../model/unet_small", "command line: model: got '../model/unet_small'"),
        ("data=a1b", "command line: data: got 'a1b', expected one of configs/data/: gray_scott"),
        ("train.lr=${oc.env:HOME}", "interpolation `${...}` is not read"),
        ("train.lr=???", "command line: train.lr: got '???', expected a value"),
        ("evaluate.scores[0]=crps", "expected KEY=VALUE"),
    ],
)
def test_overrides_that_are_refused(write, override, expected):
    assert expected in refusal(write(GOOD), override)


def test_what_extends_refuses(write):
    write("extends: b.yaml", "a.yaml")
    write("extends: a.yaml", "b.yaml")
    path = write("extends: b.yaml", "a.yaml")
    assert "extends itself: a.yaml -> b.yaml -> a.yaml" in refusal(path)
    path = write("name: x\nextends: [gone.yaml]", "c.yaml")
    assert refusal(path) == f"{path}:2: extends: got 'gone.yaml', no such file"
    write("seed: 1", "bases.yaml")
    assert "did you mean" in refusal(write("extends: basis.yaml", "d.yaml"))
    assert "expected a file or a list of files" in refusal(write("extends: {a: b}", "e.yaml"))
    assert "expected a file or a list of files" in refusal(write("extends: [3]", "f.yaml"))
    write("- 1", "list.yaml")
    assert "list.yaml: holds [1], expected a mapping" in refusal(
        write("extends: list.yaml", "g.yaml")
    )


def test_a_doubling_chain_of_files_ends(write):
    for number in range(40):
        write(f"extends: [f{number + 1}.yaml, f{number + 1}.yaml]", f"f{number}.yaml")
    write("seed: 1", "f40.yaml")
    assert refusal(write("extends: f0.yaml", "start.yaml"))  # 2 ** 40 files, were each read anew


def test_the_place_in_a_message_is_the_file_that_gave_the_key(write):
    write("\n\ntrain:\n  lr: -1.0", "base.yaml")
    path = write("extends: ../base.yaml\n" + GOOD.replace("  lr: 1e-3\n", ""))
    message = refusal(path)
    assert (
        message == f"{path.parent.parent / 'base.yaml'}:4: train.lr: got -1.0, expected more than 0"
    )


def test_missing_files_are_answered_with_near_ones(write, tmp_path):
    write(GOOD)
    near = tmp_path / "pipelines" / "god.yaml"
    assert (
        refusal(near) == f"{near}: no such file; did you mean '{tmp_path / 'pipelines/good.yaml'}'?"
    )
    assert "no such file" in refusal(tmp_path / "nowhere" / "x.yaml")
    assert "is a folder" in refusal(tmp_path)


# Mutations of a good file: (old text, new text, what the message must hold)

MUTATIONS = {
    "syntax": ("seed: 3", "seed: [3", "not valid YAML"),
    "tab": ("  steps: 100", "\tsteps: 100", "not valid YAML"),
    "indent": ("  lr: 1e-3", "   lr: 1e-3", "good.yaml:16, column"),
    "duplicate key": (
        "  lr: 1e-3",
        "  lr: 1e-3\n  lr: 2e-3",
        ":17: duplicate key train.lr, already",
    ),
    "duplicate section": ("seed: 3", "train: {steps: 1}", "duplicate key train, already given at"),
    "unknown top key": ("seed: 3", "sead: 3", ":2: sead: unknown key; did you mean 'seed'?"),
    "unknown key": ("  lr: 1e-3", "  lrr: 1e-3", ":16: train.lrr: unknown key; did you mean 'lr'?"),
    "unknown deep key": (
        "{time: [1860-06",
        "{tim: [1860-06",
        ":8: data.split.train.tim: unknown key",
    ),
    "misplaced key": ("seed: 3", "lr: 1e-3", "did you mean 'train.lr'?"),
    "unknown member key": (
        "use: ddim, steps",
        "use: ddim, stepz",
        "sample.sampler.stepz: unknown key",
    ),
    "key of a member without keys": (
        "domain: weather",
        "domain: {use: weather, x: 1}",
        "data.domain.x",
    ),
    "missing name": ("name: good\n", "", "name: required key is missing, expected text"),
    "missing data": ("data:", "model:", "duplicate key model"),
    "missing split": (
        "  split:\n",
        "  splits:\n",
        ":7: data.splits: unknown key; did you mean 'split'?",
    ),
    "missing steps": ("  steps: 100\n", "", ":14: train.steps: required key is missing"),
    "missing domain": ("  domain: weather\n", "", ":3: data.domain: required key is missing"),
    "missing use": (
        "{use: downscale, factor: 4}",
        "{factor: 4}",
        ":6: data.task.use: required key",
    ),
    "text for int": ("steps: 100", "steps: many", ":15: train.steps: got 'many', expected a whole"),
    "quoted int": ("steps: 100", "steps: '100'", "expected a whole number without quotes"),
    "float for int": (
        "steps: 100",
        "steps: 100.5",
        "train.steps: got 100.5, expected a whole number",
    ),
    "whole float for int": ("steps: 100", "steps: 1e2", "train.steps: got 100.0, expected a whole"),
    "bool for int": ("members: 4", "members: true", "sample.members: got true, expected a whole"),
    "bool for float": ("lr: 1e-3", "lr: false", "train.lr: got false, expected a number"),
    "number for text": ("name: good", "name: 2024", ":1: name: got 2024, expected text (put it in"),
    "list for number": ("lr: 1e-3", "lr: [1e-3]", "train.lr: got [0.001], expected a number"),
    "text for list": (
        "[crps, {use: rmse}]",
        "crps",
        ":21: evaluate.scores: got 'crps', expected a list",
    ),
    "empty value": ("steps: 100", "steps:", ":15: train.steps: has no value"),
    "empty section": ("seed: 3", "runtime:", ":2: runtime: has no value"),
    "null for int": ("steps: 100", "steps: null", "train.steps: got null, expected a whole number"),
    "section as list": (
        "seed: 3",
        "runtime: [1]",
        ":2: runtime: got [1], expected a mapping with device",
    ),
    "nan": ("lr: 1e-3", "lr: .nan", ":16: train.lr: .nan is not finite"),
    "nan as text": ("lr: 1e-3", "lr: nan", "train.lr: got 'nan', expected a number"),
    "infinite": ("lr: 1e-3", "lr: -.inf", ":16: train.lr: -.inf is not finite"),
    "overflow": ("lr: 1e-3", "lr: 1e999", ":16: train.lr: 1e999 is beyond the finite"),
    "negative steps": (
        "steps: 100",
        "steps: -100",
        ":15: train.steps: got -100, expected 1 or more",
    ),
    "negative rate": ("lr: 1e-3", "lr: -1e-3", ":16: train.lr: got -0.001, expected more than 0"),
    "negative seed": ("seed: 3", "seed: -3", ":2: seed: got -3, expected 0 or more"),
    "zero members": ("members: 4", "members: 0", ":18: sample.members: got 0, expected 1 or more"),
    "negative sampler steps": (
        "ddim, steps: 5",
        "ddim, steps: -5",
        ":19: sample.sampler.steps: got -5",
    ),
    "negative channels": ("[8, 16]", "[8, -16]", "model.network.channels: got"),
    "unknown sampler": ("use: ddim", "use: dimm", "refiner, unipc; did you mean 'ddim'?"),
    "unknown network": (
        "use: unet",
        "use: unets",
        ":11: model.network: got 'unets', expected one of",
    ),
    "unknown score": ("scores: [crps", "scores: [crsp", "evaluate.scores[0]: got 'crsp'"),
    "unknown domain": ("domain: weather", "domain: whether", ":5: data.domain: got 'whether'"),
    "unknown choice": (
        "predict: v",
        "predict: eps",
        ":13: model.predict: got 'eps', expected one of",
    ),
    "import path": ("use: ddim", "use: os.system", "a file never imports code"),
    "file path": ("use: ddim", "use: ../ddim", "a file never imports code"),
    "target": (
        "{use: ddim, steps: 5}",
        "{_target_: os.system}",
        "sample.sampler._target_: unknown key",
    ),
    "python tag": ("seed: 3", "seed: !!python/name:os.system", ":2: the tag"),
    "python object": ("seed: 3", "seed: !!python/object/apply:os.system [ls]", ":2: the tag"),
    "interpolation": ("name: good", "name: ${oc.env:HOME}", ":1: '${oc.env:HOME}': interpolation"),
    "merge key": ("seed: 3", "<<: {seed: 3}", ":2: merge keys"),
    "boolean-like key": ("seed: 3", "on: 3", ":2: on: unknown key"),
    "number as key": ("seed: 3", "3: 3", ":2: the key 3 is no text"),
    "null as key": ("seed: 3", "~: 3", ":2: the key ~ is no text"),
    "list as key": ("seed: 3", "? [1]\n: 3", ":2: a mapping or list as a key"),
    "octal": ("steps: 100", "steps: 0100", ":15: train.steps: 0100 starts with 0"),
    "sexagesimal": (
        "steps: 100",
        "steps: 1:40",
        "train.steps: got '1:40', expected a whole number",
    ),
    "underscores": (
        "steps: 100",
        "steps: 1_000",
        "train.steps: got '1_000', expected a whole number",
    ),
    "second document": ("seed: 3", "seed: 3\n---\nseed: 4", "a second document starts here"),
    "recursive alias": ("seed: 3", "seed: &a [*a]", "alias *a has no complete anchor"),
    "unknown alias": ("seed: 3", "seed: *a", "alias *a has no complete anchor"),
    "name that leaves the folder": ("name: good", "name: ../good", ":1: name: got '../good'"),
    "wrong device": ("seed: 3", "runtime: {device: gpu}", ":2: runtime.device: got 'gpu'"),
    "password": ("seed: 3", "tracking: {uri: 'http://a:b@c'}", ":2: tracking.uri: got 'an address"),
    "entry and source": ("entry: a1b", "source: x.nc\n  entry: a1b", "data.entry: got"),
    "bare section": (
        "seed: 3",
        "runtime: fast",
        ":2: runtime: got 'fast', expected one of configs/",
    ),
    "same score twice": ("{use: rmse}", "crps", "evaluate.scores[1]: got 'crps' a second time"),
    "baseline of another task": ("[interpolation]", "[persistence]", "data.task is downscale"),
    "leads without time": (
        "members: 4",
        "members: 4\n  leads: 2",
        ":19: sample.leads: got 2, expected 1",
    ),
    "guidance without training": (
        "members: 4",
        "guidance: classifier_free",
        "train.drop_scalars: got 0.0",
    ),
}


@pytest.mark.parametrize("case", MUTATIONS)
def test_mutations_are_refused_by_name(write, case):
    old, new, expected = MUTATIONS[case]
    assert GOOD.count(old) >= 1
    path = write(GOOD.replace(old, new, 1))
    message = refusal(path)
    assert str(path) in message
    assert expected in message
    assert "\n" not in message
    assert "{" not in message or "got {" in message or "${" in message or "{}" in message
    assert len(message) - len(str(path)) < 260


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"# only a remark\n", "is empty"),
        (b"- a\n- b\n", "holds [a, b], expected a mapping with keys such as name"),
        (b"just text\n", "holds 'just text', expected a mapping"),
        (b"\xff\xfe\x00x", "is not UTF-8 text"),
        (b"name: \x00\n", "not valid YAML"),
        (b"\x89PNG\r\n", "is not UTF-8 text"),
        (b"[" * 5000, "f.yaml:1"),
        (b"a:\n" + b"".join(b" " * n + b"a:\n" for n in range(1, 200)), "nested deeper than 32"),
        (b"- " * 5000 + b"a", "nested deeper than 32"),
        (b"x" * 2_000_000, "is larger than"),
        (b"a: [" + b"1," * 30_000 + b"1]", "more than 10000 values"),
    ],
)
def test_files_that_are_no_pipeline(tmp_path, content, expected):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    assert expected in refusal(path)


def test_an_alias_bomb_is_refused_unwritten(write):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join(f'*{before}' for _ in range(9))}]")
    # Written out, it has 9 ** 10 values, and the test would not end.
    assert "aliases written out" in refusal(write("\n".join(lines)))


def test_a_chain_of_aliases_cannot_nest_deeper_than_text(write):
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))]
    assert "nested deeper than 32" in refusal(write("\n".join(lines)))


def test_plain_aliases_are_read(write):
    text = GOOD.replace("seed: 3", "seed: &s 3").replace("members: 4", "members: *s")
    assert config.load(write(text)).pipeline.sample.members == 3


def test_nothing_heavy_is_imported_for_plain_errors(write):
    """Names, keys and plain types are checked before torch, which takes a second, is imported."""
    plain = ["train.lrx=1", "train.lr=x", "sample.sampler=dimm", "sample.sampler.stepz=1"]
    code = (
        "import sys; from diffsci import config\n"
        "for o in sys.argv[2:]:\n"
        "    try: config.load(sys.argv[1], [o])\n"
        "    except config.ConfigError: print('refused')\n"
        "print(*(m for m in ('torch', 'xarray', 'mlflow', 'numpy') if m in sys.modules))"
    )
    command = [sys.executable, "-c", code, str(write(GOOD)), *plain]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *refused, heavy = done.stdout.split("\n")[:-1]
    assert heavy == ""
    assert refused == ["refused"] * len(plain)


@pytest.mark.skipif(os.environ.get("HOME") is None, reason="needs a variable to look for")
def test_no_environment_variable_reaches_a_message_or_the_resolved_file(write, monkeypatch):
    monkeypatch.setenv("CANARY", "s3cret-canary")
    assert "s3cret" not in refusal(write(GOOD), "name=${oc.env:CANARY}")
    loaded = config.load(write(GOOD), ["tracking.experiment=$CANARY"])
    assert "s3cret" not in config.to_yaml(loaded.plain)


# Round trips


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
    | st.sampled_from(
        ["on", "1e-3", "012", "3:20", "null", "~", "", "0x1F", "2020-01-01", "<<", "y"]
    )
    | st.from_regex(r"[-+0-9._:eExo]{1,6}", fullmatch=True),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(categories=["L", "Nd"]), max_size=5), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_text_round_trip_is_exact(plain):
    back = yamltext.read(yamltext.dump({"a": plain}), "x").plain()["a"]
    assert back == plain
    assert repr(back) == repr(plain)  # 1, 1.0 and True are equal but not the same


@st.composite
def overrides(draw):
    """Valid overrides of the good file, of every plain kind."""
    positive = st.integers(1, 10**6)
    share = st.floats(0, 1, exclude_max=True, allow_subnormal=False)
    rate = st.floats(1e-300, 1e300)
    word = st.sampled_from(["ancestral", "ddim", "dpmpp", "heun"])
    choices = {
        "name": st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}", fullmatch=True),
        "seed": st.integers(0, 2**63),
        "train.steps": positive,
        "train.lr": rate,
        "train.ema": share,
        "train.flip": st.lists(st.sampled_from(["latitude", "longitude", "on", "012"]), max_size=3),
        "data.split.train.time": st.tuples(rate, st.dates().map(str)).map(list),
        "data.split.valid": st.just({"samples": [0, 5]}),
        "sample.sampler": word | word.map(lambda w: {"use": w, "steps": 40}),
        "sample.cases": st.none() | positive,
        "runtime.dask": st.none(),
        "tracking.experiment": st.none()
        | st.text(st.characters(categories=["L", "P", "Nd"]), min_size=1),
        "tracking.enabled": st.booleans(),
        "evaluate.scores": st.lists(
            st.sampled_from(["crps", "rmse", "bias", "spread_skill"]), unique=True
        ),
    }
    keys = draw(st.sets(st.sampled_from(sorted(choices))))
    return {key: draw(choices[key]) for key in sorted(keys)}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(overrides())
def test_config_round_trip(tmp_path, changes):
    if "${" in str(changes):
        return
    (tmp_path / "good.yaml").write_text(GOOD)
    texts = [f"{key}={_flow(value)}" for key, value in changes.items()]
    loaded = config.load(tmp_path / "good.yaml", texts)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(loaded.plain))
    again = config.load(path)
    assert again.plain == loaded.plain
    assert again.pipeline == loaded.pipeline
    for key, value in changes.items():
        found = loaded.plain
        for part in key.split("."):
            found = found[part]
        if isinstance(value, float):
            assert math.isclose(found, value, rel_tol=0)


def _flow(value):
    """A value as one line of YAML, as one would type it."""
    import yaml

    return yaml.dump(
        value, Dumper=yamltext._Dumper, default_flow_style=True, width=10**6
    ).removesuffix("...\n")


# The shipped pipelines, each mutated at every key

SHIPPED = sorted((config.shipped_root() / "pipelines").glob("**/*.yaml"))


def paths_of(plain, above=()):
    """Every path of mapping keys in plain values."""
    for key, value in plain.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths_of(value, (*above, key))


def changed(plain, path, change):
    """A copy with the mapping at the end of a path changed."""
    copy = dict(plain)
    if len(path) == 1:
        change(copy, path[0])
    else:
        copy[path[0]] = changed(plain[path[0]], path[1:], change)
    return copy


@pytest.fixture(scope="module")
def new_keys():
    """Of each shipped pipeline: the keys that none before it has."""
    known, new = set(), {}
    for shipped in SHIPPED:
        keys = set(paths_of(config.load(shipped).plain))
        new[shipped], known = keys - known, known | keys
    return new


@pytest.mark.parametrize(
    "both", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one", "both"]
)
@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: path.stem)
def test_each_shipped_pipeline_loads_and_every_mutation_is_refused(
    shipped, new_keys, tmp_path, both
):
    """Every key is misspelt or of another type, in turn; both in the slow twin."""
    loaded = config.load(shipped)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(loaded.plain))
    assert config.load(path).plain == loaded.plain

    def misspell(mapping, key):
        mapping[f"{key}q"] = mapping.pop(key)

    def mistype(mapping, key):
        mapping[key] = [{"q": 1}] if not isinstance(mapping[key], list) else {"q": 1}

    assert len(new_keys[SHIPPED[0]]) >= 20
    for number, keys in enumerate(sorted(new_keys[shipped])):
        changes = (misspell, mistype) if both else ((misspell, mistype)[number % 2],)
        for change in changes:
            path.write_text(config.to_yaml(changed(loaded.plain, keys, change)))
            message = refusal(path)
            assert message.startswith(f"{path}:"), keys
            assert ".".join(keys).removesuffix(".use") in message
            assert "\n" not in message

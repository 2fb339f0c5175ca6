"""The training stage: it goes on from checkpoints, tells what it does, and checks first."""

import logging
from dataclasses import replace

import pytest
import torch

from diffsci import config
from diffsci.errors import FieldError
from diffsci.runtime import Device
from diffsci.stages.learning import build, check, learn
from diffsci.stages.prepare import prepare
from diffsci.tracker import NullTracker
from tests import tiny_runs

CPU = Device(name="cpu", precision="fp32", threads=1)


class Notebook(NullTracker):
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    def metrics(self, values, step=0):
        self.told.append((step, set(values)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    loaded = config.load(tiny_runs.make(tmp_path_factory.mktemp("downscale"), "downscale"))
    return loaded.pipeline, prepare(loaded.pipeline, loaded.roots)


def learnt(data, folder, tracker=None, **train):
    pipeline, prepared = data
    pipeline = replace(pipeline, train=replace(pipeline.train, **train))
    return learn(
        pipeline,
        prepared.ports,
        prepared.examples,
        prepared.valid,
        folder,
        CPU,
        tracker or NullTracker(),
    )


def test_the_same_seed_builds_the_same_weights(data):
    pipeline, prepared = data
    one, two = (build(pipeline, prepared.ports).state_dict() for _ in range(2))
    other = build(replace(pipeline, seed=1), prepared.ports).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_it_hands_back_the_averaged_weights_whether_trained_now_or_before(data, tmp_path, caplog):
    one = learnt(data, tmp_path).state_dict()
    with caplog.at_level(logging.INFO):
        two = learnt(data, tmp_path).state_dict()
    assert "all 6 steps are done" in caplog.text
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000006"]


def test_it_tells_losses_rates_and_speed(data, tmp_path, caplog):
    notebook = Notebook()
    with caplog.at_level(logging.INFO):
        learnt(data, tmp_path, notebook)
    train = {"train/loss", "train/grad_norm", "train/lr", "train/steps_per_second"}
    assert sorted(step for step, names in notebook.told if names == train) == [2, 4, 6]
    assert sorted(step for step, names in notebook.told if names == {"val/loss"}) == [3, 6]
    assert "steps 1 to 6 on cpu (fp32)" in caplog.text
    assert "train: step 6 of 6, loss " in caplog.text
    assert ", validation " in caplog.text


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(data, tmp_path, caplog):
    whole = learnt(data, tmp_path / "a").state_dict()
    learnt(data, tmp_path / "b")
    (tmp_path / "b" / "step-00000006" / "state.json").write_text("{}")
    with caplog.at_level(logging.INFO):
        mended = learnt(data, tmp_path / "b").state_dict()
    assert "step-00000006 is damaged" in caplog.text
    assert "steps 5 to 6" in caplog.text
    assert all(torch.equal(whole[name], mended[name]) for name in whole)


@pytest.mark.parametrize(
    ("train", "key"), [({"shift": ("latitude",)}, "train.shift"), ({"flip": ("z",)}, "train.flip")]
)
def test_settings_that_do_not_fit_the_data_are_told_by_their_full_key(data, train, key):
    pipeline, prepared = data
    with pytest.raises(FieldError, match=f"^{key}"):
        check(replace(pipeline, train=replace(pipeline.train, **train)), prepared.ports)
    check(pipeline, prepared.ports)

"""Which average becomes the model."""

import json
import logging
import shutil

import pytest
import torch

from diffsci import config
from diffsci.stages.prepare import prepare
from diffsci.stages.training import choosing
from diffsci.stages.training.chosen import CHOSEN, described
from diffsci.training import checkpoint, validation
from diffsci.training.ema import weights_of
from diffsci.training.power import TRIED, Snapshots
from tests import tiny_runs
from tests.stages.training.test_learning import learnt


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    loaded = config.load(tiny_runs.make(tmp_path_factory.mktemp("downscale"), "downscale"))
    return loaded.pipeline, prepare(loaded.pipeline, loaded.roots)


KEPT = {"ema_lengths": (0.05, 0.1), "snapshots": 3}


def test_the_average_that_validates_best_is_the_model(data, tmp_path, caplog):
    """Here the longest, as the rate of six steps is high: `train.ema` has not left the start."""
    with caplog.at_level(logging.INFO):
        model = learnt(data, tmp_path, **KEPT, lr=1e-5)
    told = json.loads((tmp_path / "lengths.json").read_text())
    losses = {float(length): loss for length, loss in told["lengths"].items()}
    assert tuple(losses) == TRIED and min(losses, key=losses.get) == told["chosen"]
    assert told["ema"] > losses[told["chosen"]]
    assert f"the best is {told['chosen']:g}, with a validation loss of" in caplog.text
    average = Snapshots.of(tmp_path / "checkpoints", pytest.fail).average(told["chosen"])
    for name, value in weights_of(model).items():
        assert torch.equal(value, average[name])


def test_where_no_length_is_better_train_ema_is_the_model(data, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "validation_loss", lambda *_: 1e9)
    model = weights_of(learnt(data, tmp_path, **KEPT))
    assert json.loads((tmp_path / "lengths.json").read_text())["chosen"] == "ema"
    assert json.loads((tmp_path / CHOSEN).read_text())["average"] == "with decay 0.999"
    last = checkpoint.newest(tmp_path / "checkpoints", pytest.fail)
    assert all(torch.equal(value, model[name]) for name, value in last.model.items())


def test_of_several_decays_the_one_that_is_the_model_is_told(data, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        learnt(data, tmp_path, ema=(0.5, 0.9))
    state = checkpoint.newest(tmp_path / "checkpoints", pytest.fail)
    better, worse = sorted(zip(state.ema_losses, ("0.5", "0.9"), strict=True))
    text = (
        f"with decay {better[1]} of step 6, validation {better[0]:.4g} "
        f"(others: {worse[0]:.4g} of {worse[1]})"
    )
    assert f"train: the model is the average {text}" in caplog.text
    assert described(json.loads((tmp_path / CHOSEN).read_text())) == text


def test_the_best_validation_is_told_by_its_step(data, tmp_path):
    learnt(data, tmp_path, keep_best=True, lr=1e-9, warmup=0)
    state = checkpoint.newest(tmp_path / "checkpoints", pytest.fail)
    told = json.loads((tmp_path / CHOSEN).read_text())
    assert (told["step"], told["validation"]) == (state.best_step, state.best_loss)


def test_the_decay_of_the_best_validation_is_told(data, tmp_path, monkeypatch):
    """By losses that are given: the second decay at step 3, where at the end the first is lower."""
    losses = iter((2.0, 1.0, 3.0, 4.0))
    monkeypatch.setattr(validation, "validation_loss", lambda *_: next(losses))
    model = learnt(data, tmp_path, ema=(0.9, 0.5), keep_best=True)
    folder = tmp_path / "checkpoints"
    told = json.loads((tmp_path / CHOSEN).read_text())
    assert told == {
        "step": 3, "average": "with decay 0.5", "by": "loss", "validation": 1.0,
        "others": {"0.9": 2.0},
    }  # fmt: skip
    assert described(told).startswith("with decay 0.5 of step 3, by the lowest loss, validation 1")
    state = checkpoint.newest(folder, pytest.fail)
    kept = checkpoint.best(folder, state, pytest.fail)
    assert all(torch.equal(value, kept[name]) for name, value in weights_of(model).items())


def test_a_run_that_goes_on_chooses_the_same(data, tmp_path):
    """From a checkpoint before the end, its later snapshots lost or of another run."""
    whole = weights_of(learnt(data, tmp_path / "whole", **KEPT))
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    folder = tmp_path / "again" / "checkpoints"
    shutil.rmtree(folder / "step-00000006")
    shutil.rmtree(folder / "power-00000006")
    again = weights_of(learnt(data, tmp_path / "again", **KEPT))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    files = [tmp_path / run / "lengths.json" for run in ("whole", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()

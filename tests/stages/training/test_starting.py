"""`train.from` and `train.freeze` in whole runs: what is taken, told, kept and refused."""

import json
import logging
import shutil
from dataclasses import replace

import pytest
import torch

from diffsci import checking, config
from diffsci.errors import ConfigError, StorageError
from diffsci.forecasting.model_folder import read_weights
from diffsci.running.folder import RunFolder
from diffsci.runtime import Device
from diffsci.stages.prepare import prepare
from diffsci.stages.training.learning import Training, build, learn
from diffsci.stages.training.starting import Start, begin_of, find
from diffsci.tracking.tracker import NullTracker
from diffsci.training import checkpoint, distributed
from diffsci.training.losses import Loss
from diffsci.training.validation import validation_loss
from tests import tiny_runs

CPU = Device(name="cpu", precision="fp32", threads=1)
SPLIT = (
    "data.split.train={samples: [0, 5]}",
    "data.split.valid={samples: [5, 6]}",
    "evaluate=null",
    "sample=null",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The pipeline file, and the run to begin from beside it."""
    file = tiny_runs.make(tmp_path_factory.mktemp("starting"), "pde")
    tiny_runs.run(file, *SPLIT, out=file.parent / "source")
    return file


def loaded_of(made, *overrides, source="source"):
    text = f"train.from={made.parent / source}" if source else "train.from=null"
    return config.load(made, (*SPLIT, text, *overrides))


def begun(made, *overrides):
    """A new denoiser with what it took, and the record of it."""
    loaded = loaded_of(made, *overrides)
    prepared = prepare(loaded.pipeline, loaded.roots)
    denoiser = build(loaded.pipeline, prepared.ports)
    start = Start.of(loaded.pipeline.train.from_, loaded.roots)
    own = (prepared.ports, prepared.train.channels, prepared.train.scalar_names)
    return denoiser, start.into(denoiser, loaded.pipeline, *own), loaded, prepared


def weights(made, name="source"):
    return read_weights(made.parent / name / "model" / "weights.safetensors")


def test_of_the_same_network_it_goes_on_at_the_loss_where_the_other_ended(made):
    """The averaged weights, all of them: the validation loss before the first step is its last."""
    denoiser, record, loaded, prepared = begun(made)
    assert record["partly"] == record["left"] == record["fresh"] == ()
    assert len(record["whole"]) == len(weights(made))
    section = loaded.pipeline.train
    loss = validation_loss(
        Loss(denoiser.eval(), section.objective),
        prepared.valid,
        section.batch_size,
        torch.device("cpu"),
        loaded.pipeline.seed,
        distributed.current(),
    )
    last = checkpoint.newest(made.parent / "source" / "checkpoints", print)
    assert last.validations[-1][0] == 6
    # One was computed channels last, the other as it came: single precision.
    assert loss == pytest.approx(last.validations[-1][1], rel=1e-5)


def test_a_run_records_what_it_took(made, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        tiny_runs.run(
            made, *SPLIT, f"train.from={made.parent / 'source'}", "train.steps=2",
            "train.freeze=[network.stem.*]", out=tmp_path / "run",
        )  # fmt: skip
    found = tiny_runs.record(tmp_path / "run")["from"]
    assert found["folder"] == str(made.parent / "source" / "model")
    assert len(found["weights"]) == 16 and len(found["whole"]) == len(weights(made))
    assert f"({found['weights']}): {len(found['whole'])} weights taken, 0 in part" in caplog.text
    state = checkpoint.newest(tmp_path / "run" / "checkpoints", print)
    assert state.settings["train.from"] == found["weights"]
    assert state.settings["train.freeze"] == ["network.stem.*"]
    new = read_weights(tmp_path / "run" / "model" / "weights.safetensors")
    old = weights(made)
    same = {name for name in old if torch.equal(old[name], new[name])}
    assert {name for name in old if name.startswith("network.stem.")} <= same
    assert "network.head.conv.weight" not in same
    # It is said again where it is resolved.
    assert "from: " in (tmp_path / "run" / "config.yaml").read_text()


def learnt(loaded, prepared, folder, begin):
    return learn(
        Training(
            pipeline=loaded.pipeline,
            ports=prepared.ports,
            examples=prepared.examples,
            valid=prepared.valid,
            folder=folder / "checkpoints",
            device=CPU,
            tracker=NullTracker(),
            begin=begin,
        )
    )


def test_a_run_does_not_go_on_from_another_source(made, tmp_path):
    """The digest of the weights is one of its settings; where the source is gone, it goes on."""
    loaded = loaded_of(made)
    prepared = prepare(loaded.pipeline, loaded.roots)
    first = learnt(loaded, prepared, tmp_path, lambda _: "aaaa")
    with pytest.raises(ConfigError, match="train.from.*'?aaaa'? -> '?bbbb'?"):
        learnt(loaded, prepared, tmp_path, lambda _: "bbbb")
    with pytest.raises(ConfigError, match="train.from.*'?aaaa'? -> null"):
        learnt(loaded_of(made, source=None), prepared, tmp_path, None)
    again = learnt(loaded, prepared, tmp_path, lambda _: None)
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_source_that_is_gone(made, tmp_path, caplog):
    gone = replace(loaded_of(made, source="nowhere"))
    prepared = prepare(gone.pipeline, gone.roots)
    folder = RunFolder(path=tmp_path, record={})
    with pytest.raises(ConfigError, match="train.from: got .*nowhere'?, expected the folder of a"):
        begin_of(gone, prepared, folder)
    (tmp_path / "checkpoints" / "step-00000002").mkdir(parents=True)
    begin = begin_of(gone, prepared, folder)
    assert begin(None) is None and "going on from the checkpoint without it" in caplog.text
    # `check` tells it before.
    file = made.parent / "gone.yaml"
    file.write_text(made.read_text().replace("\ntrain: {", "\ntrain: {from: nowhere, "))
    (found,) = [p for p in checking.check((file,)) if p.code == "config"]
    assert "train.from: got 'nowhere'" in str(found)
    with pytest.raises(ConfigError, match="train.from: got 'nowhere'"):
        tiny_runs.run(file, out=tmp_path / "run")


def test_a_damaged_source_is_refused(made, tmp_path):
    shutil.copytree(made.parent / "source", tmp_path / "source")
    place = tmp_path / "source" / "model" / "weights.safetensors"
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    with pytest.raises(StorageError, match="weights.safetensors: is damaged"):
        Start.of(str(tmp_path / "source"), ())


def test_where_a_source_is_found(made, tmp_path, monkeypatch):
    """From here first, then from the file's folder; a run, or its model alone."""
    model = made.parent / "source" / "model"
    assert find("source", (made.parent,)) == model
    assert find("source/model", (made.parent,)) == model
    monkeypatch.chdir(made.parent)
    assert find("source", ()).resolve() == model.resolve()
    with pytest.raises(ConfigError, match="did you mean 'source'"):
        find("sorce", ())


def test_what_is_there_and_no_source_is_told_as_what_it_is(made, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(made.parent / "source", half)
    shutil.rmtree(half / "model")
    with pytest.raises(ConfigError, match=r"half', whose training is not done \(step \d+ of \d+\)"):
        find("half", (tmp_path,))
    (half / "run.json").unlink()
    with pytest.raises(ConfigError, match=r"which is no run's folder \(it has no run.json\); exp"):
        find(str(half), ())
    (half / "sweep.json").write_text("{}")
    with pytest.raises(ConfigError, match="which is a sweep: name the folder of one of its points"):
        find(str(half), ())


def test_from_a_diffusion_model_to_members_of_one_call(made, caplog):
    """All but the random vector's layers, which are new; that the output has another meaning."""
    direct = ("train.objective=crps", "model.schedule=edm", "train.steps=2")
    _, record, *_ = begun(made, *direct)
    assert record["fresh"] and all(".noise." in name for name in record["fresh"])
    assert not record["left"] and not record["partly"]
    assert "that model put out v, this one samples" in caplog.text


def test_a_longer_history_takes_the_frames_it_shares(made):
    denoiser, record, _, prepared = begun(made, "data.task.history=3")
    assert prepared.ports.condition == 3
    assert record["partly"] == ("network.given.conv.weight",)
    old = weights(made)["network.given.conv.weight"]
    new = denoiser.network.given.conv.weight
    assert torch.equal(new[:, 1:], old) and not torch.equal(new[:, :1], old[:, :1])


def test_other_widths_are_left_and_told(made, caplog):
    with caplog.at_level(logging.INFO):
        _, record, *_ = begun(made, "model.network.channels=[16]")
    assert "network.embedding.level.0.weight" in record["whole"]
    assert "network.stem.conv.weight: (8, 1, 3) -> (16, 1, 3)" in record["left"]
    assert "left: network.film.weight: (" in caplog.text or "left: network." in caplog.text


def test_patterns_are_checked_before_training(made, tmp_path):
    with pytest.raises(ConfigError, match=r"train.freeze\[0\]: got 'network.stm.\*', which is the"):
        tiny_runs.run(made, *SPLIT, "train.freeze=['network.stm.*']", out=tmp_path / "run")
    file = made.parent / "frozen.yaml"
    file.write_text(made.read_text().replace("\ntrain: {", "\ntrain: {freeze: ['stem.*'], "))
    (found,) = [p for p in checking.check((file,)) if p.code == "config"]
    assert "did you mean 'network.stem.*'" in str(found)


def test_the_key_is_from(made):
    loaded = loaded_of(made)
    assert loaded.plain["train"]["from"] == str(made.parent / "source")
    assert "from_" not in json.dumps(loaded.plain)
    again = made.parent / "again.yaml"
    again.write_text(config.to_yaml(loaded.plain))
    assert config.load(again).pipeline == loaded.pipeline
    with pytest.raises(ConfigError, match="train.from_: unknown key"):
        config.load(made, ["train.from_=source"])
    with pytest.raises(ConfigError, match="train.from: got '', expected the folder of a run"):
        config.load(made, ["train.from=''"])

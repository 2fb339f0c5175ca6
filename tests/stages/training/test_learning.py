"""The training stage: it goes on from checkpoints, and tells what it does."""

import json
import logging
import shutil
from dataclasses import replace

import pytest
import torch

from diffsci import config, runtime
from diffsci.diffusion.objective import PairRow, pair
from diffsci.diffusion.objectives.likelihood import Likelihood
from diffsci.errors import ConfigError
from diffsci.forecasting.opening import read_surrogate
from diffsci.runtime import CompileError, Device
from diffsci.stages.prepare import prepare
from diffsci.stages.training.learning import Training, build, learn
from diffsci.tracking.names import metric_name
from diffsci.tracking.tracker import NullTracker
from diffsci.training import checkpoint
from diffsci.training.by_level import CENTRES
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


def learnt(data, folder, tracker=None, device=CPU, **train):
    """Learn in a run folder."""
    pipeline, prepared = data
    pipeline = replace(pipeline, train=replace(pipeline.train, **train))
    return learn(
        Training(
            pipeline=pipeline,
            ports=prepared.ports,
            examples=prepared.examples,
            valid=prepared.valid,
            folder=folder / "checkpoints",
            device=device,
            tracker=tracker or NullTracker(),
        )
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
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ["step-00000004", "step-00000006"]


def test_it_tells_losses_rates_and_speed(data, tmp_path, caplog):
    notebook = Notebook()
    with caplog.at_level(logging.INFO):
        learnt(data, tmp_path, notebook)
    train = {"train/loss", "train/grad_norm", "train/lr", "train/steps_per_second"}
    train |= {"train/samples_per_second", "train/data_wait_share"}
    by_level = {f"train/loss_by_level/{centre:.3g}" for centre in CENTRES}
    assert sorted(step for step, names in notebook.told if train < names) == [2, 4, 6]
    assert set.union(*(names for _, names in notebook.told)) <= train | by_level | {"val/loss"}
    assert len(by_level) == 12 and all(metric_name(name) == name for name in by_level)
    assert sorted(step for step, names in notebook.told if names == {"val/loss"}) == [3, 6]
    assert "steps 1 to 6 on cpu (fp32, contiguous)" in caplog.text
    assert "train: step 6 of 6, loss " in caplog.text
    assert ", validation " in caplog.text


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(data, tmp_path, caplog):
    whole = learnt(data, tmp_path / "a").state_dict()
    learnt(data, tmp_path / "b")
    (tmp_path / "b" / "checkpoints" / "step-00000006" / "state.json").write_text("{}")
    with caplog.at_level(logging.INFO):
        mended = learnt(data, tmp_path / "b").state_dict()
    assert "step-00000006 is damaged" in caplog.text
    assert "steps 5 to 6" in caplog.text
    assert all(torch.equal(whole[name], mended[name]) for name in whole)


def test_elsewhere_than_in_a_terminal_a_line_is_told_every_so_many_steps(data, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        learnt(data, tmp_path, log_every=2)
    lines = [r.getMessage() for r in caplog.records if "train: step " in r.getMessage()]
    assert [line.split(",")[0] for line in lines] == [f"train: step {n} of 6" for n in (2, 4, 6)]


def begun_in_bf16(data, folder):
    """A checkpoint after four steps of six, as a machine with bfloat16 would leave it."""
    learnt(data, folder, device=replace(CPU, precision="bf16"))
    shutil.rmtree(folder / "checkpoints" / "step-00000006")


def test_auto_goes_on_in_the_precision_of_the_checkpoint(data, tmp_path, caplog):
    pipeline, prepared = data
    auto = replace(pipeline, runtime=replace(pipeline.runtime, precision="auto"))
    whole = learnt(data, tmp_path / "a", device=replace(CPU, precision="bf16")).state_dict()
    begun_in_bf16(data, tmp_path / "b")
    with caplog.at_level(logging.INFO):
        mended = learnt((auto, prepared), tmp_path / "b").state_dict()
    assert "going on with precision bf16, with which this run was begun" in caplog.text
    assert "steps 5 to 6 on cpu (bf16, contiguous)" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert all(torch.equal(whole[name], mended[name]) for name in whole)


def test_another_precision_that_was_asked_for_is_a_warning(data, tmp_path, caplog):
    begun_in_bf16(data, tmp_path)
    with caplog.at_level(logging.INFO):
        learnt(data, tmp_path)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "made with precision bf16, going on with fp32: the numbers may differ" in warning
    assert "steps 5 to 6 on cpu (fp32, contiguous)" in caplog.text


@pytest.fixture
def compiled_to(monkeypatch):
    """Set what calls of a compiled network do; the compiler itself cannot see checked shapes."""

    def set_to(call):
        def compile_(network, **options):
            network._compiled_call_impl = call(network)

        monkeypatch.setattr(torch.nn.Module, "compile", compile_)
        monkeypatch.setattr(runtime, "cannot_compile", lambda name: None)

    return set_to


def test_auto_goes_on_compiled_and_laid_out_as_begun(data, tmp_path, caplog, compiled_to):
    pipeline, prepared = data
    compiled_to(lambda network: network._call_impl)
    auto = replace(pipeline, runtime=replace(pipeline.runtime, compile="auto"))
    begun = replace(CPU, compile=True, memory_format="channels_last")
    whole = learnt((auto, prepared), tmp_path / "a", device=begun).state_dict()
    learnt((auto, prepared), tmp_path / "b", device=begun)
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-00000006")
    with caplog.at_level(logging.INFO):
        mended = learnt(
            (auto, prepared), tmp_path / "b", device=replace(CPU, compile="auto")
        ).state_dict()
    assert "steps 5 to 6 on cpu (fp32, channels last, compiled)" in caplog.text
    for way in ("compile True", "memory_format channels_last"):
        assert f"going on with {way}, with which this run was begun" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert list(mended) == list(whole)
    assert all(torch.equal(whole[name], mended[name]) for name in whole)


def test_a_network_that_cannot_be_compiled_is_an_error_or_a_warning(
    data, tmp_path, caplog, compiled_to
):
    def broken(*inputs):
        raise AssertionError("no code for this")

    pipeline, prepared = data
    compiled_to(lambda network: broken)
    asked = {
        way: (replace(pipeline, runtime=replace(pipeline.runtime, compile=way)), prepared)
        for way in (True, "auto")
    }
    compiled = replace(CPU, compile=True)
    with pytest.raises(CompileError, match=r"runtime\.compile: got true, expected false"):
        learnt(asked[True], tmp_path / "a", device=compiled)
    trained = learnt(asked["auto"], tmp_path / "b", device=compiled).state_dict()
    assert "no code for this): going on without" in caplog.text
    plain = learnt(data, tmp_path / "c").state_dict()
    assert all(torch.equal(plain[name], trained[name]) for name in plain)


def test_what_was_trained_for_is_told_beside_the_checkpoints(data, tmp_path):
    pipeline, prepared = data
    schedule = build(pipeline, prepared.ports).schedule
    learnt(data, tmp_path, objective=Likelihood(per="channel", p_mean=-0.5))
    told = json.loads((tmp_path / "objective.json").read_text())
    assert told["objective"] == "Likelihood(per='channel', p_mean=-0.5, p_std=1.2)"
    assert told["schedule"] == repr(schedule)
    assert told["columns"] == ["noise_to_signal", "weight", "density", "product"]
    rows = [PairRow(*row) for row in told["rows"]]
    assert rows == list(pair(Likelihood(p_mean=-0.5), schedule))


def test_a_split_of_the_variance_that_there_is_not_is_refused_by_name(tmp_path):
    file = tiny_runs.make(tmp_path, "downscale")
    with pytest.raises(
        ConfigError, match="per: got 'wave', expected one of channel, pixel, wavenumber"
    ):
        config.load(file, ["train.objective={use: likelihood, per: wave}"])


@pytest.mark.parametrize("per", ["channel", "pixel", "wavenumber"])
def test_a_learned_variance_is_trained_resumed_and_saved_with_the_model(tmp_path, per):
    file = tiny_runs.make(tmp_path, "downscale")
    chosen = f"train.objective={{use: likelihood, per: {per}}}"
    whole = tiny_runs.run(file, chosen, out=tmp_path / "whole")
    model = read_surrogate(whole / "model", config.load(whole / "config.yaml").pipeline)
    table = model.denoiser.learned.weight
    assert table.abs().max() > 0
    state = checkpoint.newest(whole / "checkpoints", pytest.fail)
    assert torch.equal(table.detach(), state.ema["learned.weight"])
    # Killed at step 4, and gone on with.
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    shutil.rmtree(again / "model")
    shutil.rmtree(again / "checkpoints" / "step-00000006")
    tiny_runs.run(file, chosen, out=again)
    assert tiny_runs.numbers(again) == tiny_runs.numbers(whole)

"""Trained models whose files were damaged: made again from the end of training, or refused."""

import logging
import shutil

import pytest

from diffsci import config, pipeline
from diffsci.errors import StorageError
from diffsci.stages.status import status_of
from diffsci.training import damage
from tests import tiny_runs


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    base = tmp_path_factory.mktemp("mending")
    file = tiny_runs.make(base, "downscale")
    return tiny_runs.run(file, "evaluate=null", "sample.cases=1", out=base / "run")


@pytest.fixture
def folder(done, tmp_path):
    shutil.copytree(done, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "manifest.json"])
def test_a_model_that_is_not_whole_is_told_and_made_again_as_it_is_said(folder, name, caplog):
    before = tiny_runs.tree(folder / "model"), tiny_runs.tree(folder / "forecast.zarr")
    file = folder / "model" / name
    file.write_bytes(file.read_bytes()[:-7])
    found = status_of(folder)
    assert found.status == "done"
    assert any(line.startswith(f"  damaged   {file}: ") for line in found.lines())
    command = f"`diffsci run {folder / 'config.yaml'} --out {folder}`"
    assert found.todo == f"{command} makes the model again from step-00000006"
    with caplog.at_level(logging.WARNING):
        pipeline.run(config.load(folder / "config.yaml"), folder)
    told = f"it is made again from {folder / 'checkpoints' / 'step-00000006'}"
    assert any(str(file) in each and told in each for each in caplog.messages)
    assert (tiny_runs.tree(folder / "model"), tiny_runs.tree(folder / "forecast.zarr")) == before
    assert (status_of(folder).status, status_of(folder).damaged) == ("done", ())


def test_a_model_that_would_be_another_one_is_not_made_by_itself(folder):
    weights, places = folder / "model" / "weights.safetensors", folder / "checkpoints"
    weights.unlink()
    for name, way, left in (
        ("step-00000006", "goes on with training from step-00000004", "step-00000004 is earlier"),
        ("step-00000004", "trains it again", f"no checkpoint in {places} is whole"),
    ):
        numbers = places / name / damage.NUMBERS
        numbers.write_bytes(numbers.read_bytes()[:-1])
        before = tiny_runs.tree(folder)
        with pytest.raises(StorageError) as refused:
            pipeline.run(config.load(folder / "config.yaml"), folder)
        assert str(refused.value).startswith(f"{weights}: is missing")
        assert left in str(refused.value) and str(refused.value).endswith(f"then {way}")
        also = "remove that folder: " if name == "step-00000006" else f", and {places}: "
        assert also in status_of(folder).todo and way in status_of(folder).todo
        assert tiny_runs.tree(folder) == before


def test_of_a_model_that_is_damaged_beside_what_is_refused_nothing_is_raised(folder):
    (folder / "model" / "weights.safetensors").unlink()
    (folder / "checkpoints" / "step-00000006" / "more.pkl").write_bytes(b"")
    todo = status_of(folder).todo
    assert todo.startswith(f"restore {folder / 'model'} from a copy: the run would not go on by")
    assert "more.pkl: is a pickle" in todo


def test_a_finished_run_tells_of_checkpoints_that_it_does_not_need(folder, caplog):
    numbers = folder / "checkpoints" / "step-00000006" / damage.NUMBERS
    numbers.write_bytes(numbers.read_bytes()[:-1])
    with caplog.at_level(logging.INFO):
        pipeline.run(config.load(folder / "config.yaml"), folder)
    first, last = caplog.messages[-2:]
    assert first.startswith(f"{folder / 'checkpoints'}: step-00000006: {damage.NUMBERS} has ")
    assert first.endswith("the model is whole, and training further would begin at step-00000004")
    assert last.endswith("nothing to do")


def test_what_a_finished_run_has_lost_is_told_and_made_again_as_it_is_said(folder):
    before = tiny_runs.tree(folder / "model"), tiny_runs.tree(folder / "truth.zarr")
    command = f"`diffsci run {folder / 'config.yaml'} --out {folder}`"
    shutil.rmtree(folder / "truth.zarr")
    found = status_of(folder)
    assert found.damaged == (f"{folder / 'truth.zarr'}: is missing",)
    assert found.todo == f"{command} makes again what is missing"
    shutil.rmtree(folder / "model")
    found = status_of(folder)
    assert found.damaged[0] == f"{folder / 'model'}: is missing"
    assert found.todo == f"{command} makes the model again from step-00000006"
    pipeline.run(config.load(folder / "config.yaml"), folder)
    assert (tiny_runs.tree(folder / "model"), tiny_runs.tree(folder / "truth.zarr")) == before
    assert status_of(folder).damaged == ()
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    assert status_of(folder).todo.endswith("which goes on with training from step-00000004")

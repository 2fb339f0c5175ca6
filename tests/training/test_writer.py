"""Checkpoints written by a thread: the same bytes, one at a time, and no error that gets lost."""

import shutil
import threading

import pytest
import safetensors.torch
import torch

from diffsci.errors import StorageError
from diffsci.running import locking
from diffsci.training import checkpoint, writer
from diffsci.training.packing import packed
from diffsci.training.writer import Writer
from tests.training._save import state
from tests.training.tiny import TinyExamples, digest, tiny_denoiser, tiny_section, tiny_train

TENSORS = {
    "b/half": torch.arange(3, dtype=torch.float16),
    "a/brain": torch.arange(5, dtype=torch.bfloat16),
    "a/long": torch.tensor([-(2**40), 7]),
    "c/double": torch.linspace(0, 1, 7, dtype=torch.float64),
    "a/single": torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)),
    "a/scalar": torch.tensor(3.5),
    "z/flag": torch.tensor([True, False, True]),
    "z/byte": torch.arange(7, dtype=torch.uint8),
    "z/none": torch.empty(0, 3),
    "é/name": torch.arange(3, dtype=torch.int32),
    "q/last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
}


def test_packed_bytes_are_those_of_the_library():
    plain = {name: value.contiguous() for name, value in TENSORS.items()}
    expected = safetensors.torch.save(plain)
    assert packed(TENSORS).numpy().tobytes() == expected
    block = torch.full((len(expected) + 99,), 255, dtype=torch.uint8)
    again = packed(TENSORS, block)
    assert again.numpy().tobytes() == expected and again.data_ptr() == block.data_ptr()
    small = torch.empty(8, dtype=torch.uint8)
    assert packed(TENSORS, small).numpy().tobytes() == expected
    assert packed({}).numpy().tobytes() == safetensors.torch.save({})


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_bytes_are_those_of_saving_at_once(tmp_path):
    """A run with both: the states that the thread writes are not those of later steps."""
    section = tiny_section(steps=12, validate_every=2, ema=(0.5, 0.99))
    with Writer(tmp_path / "later", keep=3) as later:
        steps = tiny_train(tiny_denoiser(), TinyExamples(), section, valid=TinyExamples(5, 1))
        for step in steps:
            if step.improved:
                later.save_best(step.state())
                checkpoint.save_best(tmp_path / "at once", step.state())
            if step.step % 2 == 0:
                later.save(step.state())
                checkpoint.save(tmp_path / "at once", step.state(), keep=3)
    assert files(tmp_path / "later") == files(tmp_path / "at once")
    assert len(list((tmp_path / "later").glob("step-*"))) == 3
    last = checkpoint.newest(tmp_path / "later", pytest.fail)
    assert digest(last) == digest(step.state())


def test_at_most_one_is_in_flight_and_the_step_does_not_wait_for_it(tmp_path, monkeypatch):
    running, most, gate = [], [], threading.Event()
    write = checkpoint.write

    def slow(*given, **more):
        running.append(1)
        most.append(len(running))
        assert gate.wait(10)
        write(*given, **more)
        running.pop()

    monkeypatch.setattr(checkpoint, "write", slow)
    with Writer(tmp_path, keep=2) as saving:
        saving.save(state(1))  # returns though nothing was written
        assert checkpoint.newest(tmp_path, pytest.fail) is None
        threading.Timer(0.5, gate.set).start()
        assert not gate.is_set()
        saving.save(state(2))  # waits for the first
        assert gate.is_set()
        assert checkpoint.newest(tmp_path, pytest.fail).step >= 1
    assert most == [1, 1]
    assert checkpoint.newest(tmp_path, pytest.fail).step == 2


def broken(*given, **more):
    raise StorageError("no space to write x")


def test_an_error_is_raised_at_the_next_save_and_once(tmp_path, monkeypatch):
    with Writer(tmp_path, keep=2) as saving:
        with monkeypatch.context() as patched:
            patched.setattr(writer.checkpoint, "write", broken)
            saving.save(state(1))
            with pytest.raises(StorageError, match="no space to write x"):
                saving.save(state(2))
        saving.save(state(3))
    assert checkpoint.newest(tmp_path, pytest.fail).step == 3


def test_an_error_of_the_last_one_is_raised_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(writer.checkpoint, "write", broken)
    with pytest.raises(StorageError, match="no space"), Writer(tmp_path, keep=2) as saving:
        saving.save(state(1))


def test_an_error_of_the_run_is_not_hidden_by_one_of_the_writer(tmp_path, monkeypatch):
    monkeypatch.setattr(writer.checkpoint, "write", broken)
    with pytest.raises(KeyError) as caught, Writer(tmp_path, keep=2) as saving:
        saving.save(state(1))
        raise KeyError("of the run")
    assert caught.value.__notes__ == ["and a checkpoint could not be written: no space to write x"]


def test_memory_is_used_again(tmp_path):
    with Writer(tmp_path, keep=1) as saving:
        places = set()
        for step in (1, 2, 3):
            saving.save(state(step))
            places.add(saving._blocks["step"].data_ptr())
    assert len(places) == 1


def test_a_run_folder_that_is_removed_during_a_save_does_not_come_back(tmp_path, monkeypatch):
    run = tmp_path / "run"
    write = checkpoint.write

    def slowly(folder, copy, *, keep):
        shutil.rmtree(run)
        return write(folder, copy, keep=keep)

    monkeypatch.setattr(checkpoint, "write", slowly)
    with locking.lock(run), Writer(run / "checkpoints", keep=2) as thread:
        thread.save(state(1))
        with pytest.raises(StorageError, match="was removed or replaced while"):
            thread.wait()
    assert not run.exists()

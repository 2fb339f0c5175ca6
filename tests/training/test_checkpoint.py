import hashlib
import json
import os
import pathlib
import pickle
import random
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from diffsci.errors import ConfigError, StorageError
from diffsci.files import sweep
from diffsci.training import checkpoint, damage
from diffsci.training.by_level import NOTHING
from tests.training._save import state
from tests.training.tiny import TinyExamples, tiny_denoiser, tiny_section, tiny_train

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = ("state.safetensors", "state.json", "manifest.json")


def steps(folder):
    return sorted(int(path.name[5:]) for path in folder.glob("step-*"))


def newest_step(folder, warnings=None):
    found = checkpoint.newest(folder, warn=[].append if warnings is None else warnings.append)
    return None if found is None else found.step


def test_round_trip_is_exact(tmp_path):
    place = checkpoint.save(tmp_path, state(7), keep=1)
    assert place.name == "step-00000007" and sorted(p.name for p in place.iterdir()) == sorted(
        NAMES
    )
    back, sent = checkpoint.newest(tmp_path, warn=pytest.fail), state(7)
    for group in ("weights", "ema", "optimiser"):
        assert getattr(back, group).keys() == getattr(sent, group).keys()
        for name, value in getattr(sent, group).items():
            assert torch.equal(getattr(back, group)[name], value)
    assert (back.losses, back.best_loss, back.settings) == (sent.losses, None, {"seed": 0})
    assert back.by_level == sent.by_level


def test_none_where_there_is_none(tmp_path):
    assert newest_step(tmp_path / "absent") is None
    assert newest_step(tmp_path) is None


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, state(step), keep=2)
    assert steps(tmp_path) == [3, 4]
    # A run that fell back to 2 makes the later ones anew.
    checkpoint.save(tmp_path, state(3), keep=2)
    assert steps(tmp_path) == [3]


def test_every_random_damage_is_noticed_and_named(tmp_path):
    """200 flips, truncations, zeroings and deletions over all three files."""
    for step in (1, 2):
        checkpoint.save(tmp_path / "whole", state(step), keep=2)
    chance = random.Random(0)
    place = tmp_path / "whole" / "step-00000002"
    originals = {name: (place / name).read_bytes() for name in NAMES}
    for trial in range(200):
        path = place / NAMES[trial % 3]
        content = bytearray(originals[path.name])
        kind = chance.choice(["flip", "flip", "flip", "truncate", "zero", "delete"])
        if kind == "flip":
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        elif kind == "truncate":
            content = content[: chance.randrange(len(content))]
        elif kind == "zero":
            content = bytearray(len(content))
        path.write_bytes(content)
        if kind == "delete":
            path.unlink()
        said = []
        assert newest_step(tmp_path / "whole", said) == 1, (trial, path.name, kind)
        assert len(said) == 1 and str(place) in said[0]
        path.write_bytes(originals[path.name])
    assert newest_step(tmp_path / "whole") == 2


def test_nothing_whole_is_an_error_not_a_new_beginning(tmp_path):
    (checkpoint.save(tmp_path, state(1), keep=1) / "state.json").unlink()
    with pytest.raises(StorageError, match="none of the 1 checkpoints"):
        newest_step(tmp_path)


def test_a_newer_format_is_refused_and_not_taken_for_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 5)
    checkpoint.save(tmp_path, state(1), keep=1)
    monkeypatch.undo()
    with pytest.raises(StorageError, match="has format 5, this diffsci reads 1 to 4"):
        newest_step(tmp_path)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_older_format_is_read_and_gone_on_with(version):
    """Written by the versions that had it; losses are those of the whole run then."""
    folder = GOLDEN / f"format-{version}"
    back = checkpoint.newest(folder, warn=pytest.fail)
    assert back.step == back.ema_updates == 5 and back.best_step == 4
    assert (back.by_level == NOTHING) == (version == 1)
    assert (back.ema_others, back.powers, back.scaler, back.ended) == ((), (), None, None)
    assert len(back.recent) == (5 if version > 2 else 0)
    raw = safetensors.torch.load((folder / "step-00000005/state.safetensors").read_bytes())
    groups = {"weights": back.weights, "ema": back.ema, "optimiser": back.optimiser}
    for name, value in raw.items():
        group, rest = name.split("/", 1)
        assert torch.equal(groups[group][rest], value)
    assert len(raw) == sum(map(len, groups.values()))
    rest = tiny_train(
        tiny_denoiser(seed=9),
        TinyExamples(),
        tiny_section(weight_decay=0.0),
        valid=TinyExamples(5, seed=1),
        resume=back,
    )
    losses = json.loads((folder / "losses.json").read_text())
    # Another machine has other last bits, which a few steps of float32 make 1e-5.
    assert [step.loss for step in rest] == pytest.approx(losses[5:], rel=1e-4)


def test_a_run_begun_when_biases_decayed_is_not_gone_on_with():
    back = checkpoint.newest(GOLDEN / "format-2", warn=pytest.fail)
    back = replace(back, settings=back.settings | {"train.weight_decay": 0.01})
    given = (tiny_denoiser(), TinyExamples(), tiny_section())
    with pytest.raises(ConfigError, match=r"train\.decayed: null -> 'weights of two or more dims'"):
        tiny_train(*given, resume=back)
    next(tiny_train(*given, resume=back, allow=("train.decayed",)))


@pytest.mark.parametrize(
    "name", ["data.pkl", "model.pt", "last.CKPT", ".metadata", "optimizer.bin"]
)
@pytest.mark.parametrize("beside", [True, False])
def test_a_pickle_among_the_files_is_refused_by_name(tmp_path, name, beside):
    """Never opened: it would leave a file behind."""
    place = checkpoint.save(tmp_path, state(1), keep=1)
    canary = (place if beside else tmp_path) / name
    canary.write_bytes(pickle.dumps(Payload(tmp_path / "was-run")))
    with pytest.raises(StorageError, match=rf"{re.escape(str(canary))}: is a pickle"):
        newest_step(tmp_path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("kind", ["pickle", "archive", "noise"])
def test_a_pickle_in_the_place_of_tensors_is_refused_also_with_its_checksum(tmp_path, kind):
    place = checkpoint.save(tmp_path, state(1), keep=1)
    content = pickle.dumps(Payload(tmp_path / "was-run"))
    if kind == "archive":
        torch.save({"a": torch.ones(1)}, tmp_path / "x.zip")
        content = (tmp_path / "x.zip").read_bytes()
    if kind == "noise":
        content = bytes(range(200))
    (place / "state.safetensors").write_bytes(content)
    manifest = json.loads((place / "manifest.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    manifest["state.safetensors"] = {"bytes": len(content), "sha256": digest}
    (place / "manifest.json").write_bytes(damage.as_json(manifest))
    expected = "is no safetensors file" if kind == "noise" else "is a pickle"
    with pytest.raises(StorageError, match=rf"state\.safetensors: {expected}"):
        newest_step(tmp_path)
    assert not (tmp_path / "was-run").exists()


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (pathlib.Path.touch, (self.file,))


FAILPOINTS = {
    "checkpoint.tensors": 2,
    "checkpoint.numbers": 2,
    "checkpoint.manifest": 2,
    "folder.synced": 2,
    "folder.renamed": 3,
    "checkpoint.pruning": 3,
    "folder.removing": 3,
    "checkpoint.pruned": 3,
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders with checkpoints 1 and 2, and a kill while the next one was being saved."""
    folders, asked = {}, []
    for name in (*FAILPOINTS, "folder.retired"):
        folders[name] = tmp_path_factory.mktemp("run") / "checkpoints"
        for step in (1, 2):
            checkpoint.save(folders[name], state(step), keep=2)
        asked.append(f"{name},{2 if name == 'folder.retired' else 3},{folders[name]}")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training._save", *asked]
    subprocess.run(command, env=environment, check=True, timeout=60)
    return folders


@pytest.mark.parametrize(("name", "left"), FAILPOINTS.items())
def test_a_kill_at_every_instruction_leaves_a_whole_one(killed, name, left):
    folder, said = killed[name], []
    assert newest_step(folder, said) == left
    assert said == []  # a half-written one never stands under its name
    sweep(folder)
    assert [path.name for path in folder.iterdir() if path.name[0] == "."] == []
    checkpoint.save(folder, state(4), keep=2)
    assert steps(folder) == [left, 4]


def test_a_kill_while_one_is_replaced(killed):
    """The old one stands aside for an instant: the one before it serves, sweep brings it back."""
    folder = killed["folder.retired"]
    assert newest_step(folder) == 1
    assert "step-00000002" in sweep(folder)
    assert newest_step(folder) == 2
    assert steps(folder) == [1, 2] and len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_full_disk_leaves_the_one_before(tmp_path, share):
    """RLIMIT_FSIZE stands in for the disk: the write of the tensors fails after a share of it."""
    checkpoint.save(tmp_path, state(1), keep=2)
    big = state(2, size=100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * 1_200_000), hard))
    try:
        with pytest.raises(
            StorageError, match=r"no space to write .*step-00000002: 1,2\d\d,\d\d\d"
        ):
            checkpoint.save(tmp_path, big, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert newest_step(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    checkpoint.save(tmp_path, big, keep=2)
    assert newest_step(tmp_path) == 2


def test_a_disk_too_small_is_told_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(StorageError, match="no space .* are needed, 0 are free"):
        checkpoint.save(tmp_path, state(1), keep=1)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_it_is_pickle(tmp_path):
    place = checkpoint.save(tmp_path, state(1), keep=1)
    header = int.from_bytes((place / "state.safetensors").read_bytes()[:8], "little")
    json.loads((place / "state.safetensors").read_bytes()[8 : 8 + header])
    json.loads((place / "state.json").read_text())
    assert b"pickle" not in b"".join((place / name).read_bytes() for name in NAMES)

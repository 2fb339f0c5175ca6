"""Data that solvers make: whole or not there, the same bytes however often it was cut off."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from diffsci import files
from diffsci.cli import main
from diffsci.data import generated, making
from diffsci.running import locking
from diffsci.solvers.advection_diffusion import AdvectionDiffusion
from diffsci.solvers.worm_like_chain import WormLikeChain

SMALL = AdvectionDiffusion(trajectories=130, frames=2, points=16)
"""Three pieces: 64, 64 and 2."""


def tree(folder):
    found = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found
    return found


@pytest.mark.parametrize("solver", [SMALL, WormLikeChain(trajectories=5, bonds=3)])
def test_the_store_holds_what_the_solver_gives(solver, tmp_path):
    assert making.make(solver, tmp_path / "a.zarr") is True
    found = xr.open_dataset(tmp_path / "a.zarr", engine="zarr")
    whole = solver()
    xr.testing.assert_equal(found.load(), whole)
    assert found.attrs["digest"] == making.digest(solver) and found.attrs["seed"] == 0
    for name in whole.variables:
        assert found[name].attrs == whole[name].attrs and found[name].dtype == whole[name].dtype
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    assert making.make(solver, tmp_path / "a.zarr") is False


def test_cut_off_anywhere_it_ends_with_the_same_bytes(tmp_path, monkeypatch, caplog):
    making.make(SMALL, tmp_path / "whole.zarr")
    write, calls, solved = files.write_json, [], []

    def dies(path, content):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", dies)
        with pytest.raises(KeyboardInterrupt):
            making.make(SMALL, tmp_path / "cut.zarr")
    assert not (tmp_path / "cut.zarr").exists()
    # The second piece was being written: whatever a chunk of it holds is written again.
    partial = tmp_path / ".cut.zarr.partial" / "store.zarr" / "c" / "c"
    chunk = next(p for p in (partial / "1").rglob("*") if p.is_file())
    chunk.write_bytes(b"half")
    group = AdvectionDiffusion._group

    def counted(self, first):
        solved.append(first)
        return group(self, first)

    monkeypatch.setattr(AdvectionDiffusion, "_group", counted)
    with caplog.at_level("INFO"):
        making.make(SMALL, tmp_path / "cut.zarr")
    assert "going on with advection_diffusion after 64 of 130 trajectories" in caplog.text
    assert solved == [64, 128]
    assert tree(tmp_path / "cut.zarr") == tree(tmp_path / "whole.zarr")


def test_a_part_of_another_solver_is_made_anew(tmp_path, monkeypatch):
    write = files.write_json

    def dies(path, content):
        write(path, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", dies)
        with pytest.raises(KeyboardInterrupt):
            making.make(replace(SMALL, seed=1), tmp_path / "a.zarr")
    making.make(SMALL, tmp_path / "a.zarr")
    found = xr.open_dataset(tmp_path / "a.zarr", engine="zarr")
    assert np.array_equal(found["c"].values, SMALL()["c"].values)


@pytest.mark.slow
def test_killed_by_the_system_it_ends_with_the_same_bytes(tmp_path):
    """SIGKILL between two pieces, and in the middle of one."""
    making.make(SMALL, tmp_path / "whole.zarr")
    code = """
import os, signal, sys
from pathlib import Path
from diffsci import files
from diffsci.data import making
from tests.data.test_making import SMALL
write, left = files.write_json, [int(sys.argv[2])]
def dies(path, content):
    left[0] -= 1
    if left[0] <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)
files.write_json = dies
making.make(SMALL, Path(sys.argv[1]))
"""
    target = tmp_path / "cut.zarr"
    for calls in (1, 2, 2):
        ended = subprocess.run([sys.executable, "-c", code, str(target), str(calls)], check=False)
        assert ended.returncode == -signal.SIGKILL and not target.exists()
    making.make(SMALL, target)
    assert tree(target) == tree(tmp_path / "whole.zarr")


def test_another_process_is_waited_for(tmp_path, monkeypatch, caplog):
    target = tmp_path / "a.zarr"
    partial = tmp_path / ".a.zarr.partial"
    held = locking.lock(partial, "the other")
    held.__enter__()

    def other_ends(seconds):
        if seconds < 1:
            return  # The lock's own tries.
        making._write(SMALL, partial / "store.zarr", making.digest(SMALL))
        (partial / "store.zarr").rename(target)
        held.__exit__(None, None, None)

    monkeypatch.setattr(making.time, "sleep", other_ends)
    with caplog.at_level("INFO"):
        assert making.make(SMALL, target) is False
    assert f"the run 'the other', process {os.getpid()}" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def diffsci(*arguments):
    result = CliRunner().invoke(main, ["data", "make", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_makes_entries_and_solvers(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSCI_CACHE", str(tmp_path / "cache"))
    small = ["trajectories=2", "frames=2", "points=16"]
    assert diffsci("advection_diffusion", *small, "--out", tmp_path / "a.zarr")[0] == 0
    found = xr.open_dataset(tmp_path / "a.zarr", engine="zarr")
    assert dict(found.sizes) == {"sample": 2, "time": 2, "x": 16}
    again = diffsci("advection_diffusion", *small, "--out", tmp_path / "a.zarr")
    assert again == (0, f"{tmp_path / 'a.zarr'} was there already\n")
    # Without --out it lies where a run looks for it.
    code, output = diffsci("ks_test", "trajectories=1", "frames=2", "points=16", "spin_up=1")
    asked = ["trajectories=1", "frames=2", "points=16", "spin_up=1"]
    assert code == 0
    assert output.strip() == str(generated.store_path(generated.asked("ks_test", asked)))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["burgerz"], 2, "burgerz: neither a catalog entry nor a solver; did you mean 'burgers'?"),
        (["digits"], 2, "digits: is read from sklearn.datasets:data/digits.csv.gz, no solver"),
        (["burgers", "dtt=3"], 3, "solver burgers.dtt: unknown key; did you mean 'dt'?"),
        (["burgers", "dt"], 2, "'dt': expected KEY=VALUE, such as trajectories=8"),
        (["gray_scott", "kill=[a]"], 3, "solver gray_scott.kill: got 'a', expected float"),
        (["ks_test", "frames=0"], 3, "ks_test.yaml: source.generator.frames: got 0, expected 1"),
    ],
)
def test_mistakes_are_told(arguments, code, message):
    found, output = diffsci(*arguments)
    assert found == code and message in output


def test_what_is_there_is_never_replaced(tmp_path):
    making.make(SMALL, tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    for name, message in (
        ("a.zarr", "a.zarr: was made with other parameters"),
        ("b.zarr", "b.zarr: is something else"),
    ):
        found = diffsci("advection_diffusion", "trajectories=3", "--out", tmp_path / name)
        assert found[0] == 5 and message in found[1]

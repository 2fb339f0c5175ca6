"""When a run last showed that it was alive."""

import os

import pytest

from diffsci.running.journal import NAME, Line
from diffsci.running.lifetime import last_sign, last_told, of_call


def folder_of(path, *, line, file, checkpoint):
    """A run folder: when its last line was made, and the times of its journal and checkpoint."""
    place = path / "checkpoints" / "step-00000010"
    place.mkdir(parents=True)
    told = Line(time=int(1000 * line), step=10, values={"train/loss": 1.0})
    (path / NAME).write_bytes(told.to_json())
    os.utime(path / NAME, (file, file))
    os.utime(place, (checkpoint, checkpoint))
    return path


def test_a_checkpoint_after_the_last_line_is_a_sign(tmp_path):
    assert last_sign(folder_of(tmp_path, line=1e9, file=1e9 + 1, checkpoint=1e9 + 20)) == 1e9 + 20


def test_the_times_of_a_copy_are_not_the_runs(tmp_path):
    copied = 1e9 + 5000
    assert last_sign(folder_of(tmp_path, line=1e9, file=copied, checkpoint=copied)) == 1e9


def test_what_was_told_last_is_by_what_is_written_in_the_files(tmp_path):
    """Those of a folder that was copied an hour later have the times of the copy."""
    copied = 1e9 + 3600
    folder = folder_of(tmp_path, line=1e9, file=copied, checkpoint=copied)
    assert last_told(folder, {}) == 1e9
    sampled = {"sample": {"begun": 1e9 + 5, "seconds_of_call": 2.5}, "train": {}}
    assert last_told(folder, {"stages": sampled}) == 1e9 + 7.5
    assert last_told(folder, {"stages": sampled, "told": 1e9 + 8}) == 1e9 + 8
    (folder / NAME).unlink()
    assert last_told(folder, {}) is None


def test_seconds_are_those_from_the_beginning_of_a_call(tmp_path):
    assert last_sign(tmp_path) is None and of_call({"begun": 3.0}, None) == 0.0
    assert of_call({"begun": 3.0}, 10.0) == pytest.approx(7.0)
    assert of_call({}, 10.0) == 0.0

"""The journal: whole lines, no gaps and no doubled points, whatever happened between."""

import math

import pytest

from diffsci.errors import StorageError
from diffsci.running.journal import Journal, read


@pytest.fixture
def file(tmp_path):
    return tmp_path / "metrics.jsonl"


def told(file):
    return [(line.step, line.values) for line in read(file)]


def test_lines_come_back_as_they_were_told(file):
    assert read(file) == []
    journal = Journal(file)
    values = {"train/loss": 0.1, "a": math.inf, "b": -math.inf, "c": 1 / 3}
    line = journal.add(values, 5)
    journal.close()
    assert read(file) == [line] and line.values == values
    journal.add({"a": math.nan}, 6)
    journal.sync()
    assert math.isnan(read(file)[1].values["a"])
    journal.close()


def test_going_on_forgets_what_training_will_tell_again_and_nothing_else(file):
    journal = Journal(file)
    for step in (2, 4, 6):
        journal.add({"train/loss": 1.0 / step}, step)
    journal.add({"test/crps": 0.5}, 24)
    journal.go_on_from(4)
    journal.add({"train/loss": 0.0}, 6)
    journal.close()
    assert [step for step, _ in told(file)] == [2, 4, 24, 6]
    before = file.stat().st_mtime_ns
    Journal(file).go_on_from(6)
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_line_that_a_kill_cut_off_is_dropped_and_the_next_one_is_whole(file, cut):
    journal = Journal(file)
    journal.add({"train/loss": 1.0}, 2)
    journal.close()
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:cut])
    assert [step for step, _ in told(file)] == [2]
    for goes_on in (False, True):
        file.write_bytes(whole + whole[:cut])
        journal = Journal(file)
        if goes_on:  # else training was done before
            journal.go_on_from(2)
        journal.add({"train/loss": 2.0}, 4)
        journal.close()
        assert told(file) == [(2, {"train/loss": 1.0}), (4, {"train/loss": 2.0})]


def test_a_folder_that_vanished_is_told(tmp_path):
    with pytest.raises(StorageError, match="gone"):
        Journal(tmp_path / "gone" / "metrics.jsonl").add({"a": 1.0}, 1)

"""Stores that are killed while they grow: the same bytes, and nothing committed is done again."""

import json
import os
import subprocess
import sys

import pytest


def told(folder, *arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "tests.stages._grown", str(folder), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return told(tmp_path_factory.mktemp("grown"))


def test_killed_at_every_place_in_turn_while_it_is_made_and_while_it_grows(found):
    kills = {each["place"]: each["code"] for each in found["places"]["kills"]}
    assert set(kills.values()) == {-9}, kills
    assert [each for each in found["places"]["kills"] if each["again"]] == []
    assert found["places"]["same"]
    assert found["places"]["left"] == []


def test_a_full_disk_is_told_and_what_is_there_stays(found):
    for each in found["full"]:
        assert each["codes"] == [5, 0]
        assert each["told"].startswith("no space to write ")
        assert each["untouched"]
        assert each["same"]


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """Of what it does to the disk; no clock is asked."""
    found = told(tmp_path, "slow")
    assert [trial["same"] for trial in found["random"]] == [True] * 5
    assert [trial["same"] for trial in found["compaction"]] == [True] * 10
    for trial in found["random"]:
        assert [call["code"] for call in trial["calls"]] == [-9] * 4 + [0]
        assert [call for call in trial["calls"] if call["again"]] == []
    for trial in found["compaction"]:
        assert trial["units"] > 0
        assert trial["again"] == []
        assert trial["codes"] == [-9, -9, 0]

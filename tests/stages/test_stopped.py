"""Stopped anywhere, however: the same command goes on, to the same bytes."""

import functools
import json
import os
import subprocess
import sys

import pytest

STEPS, BLOCKS = 7, 6


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """What a set of scenarios, fast or slow, tells: played once."""

    @functools.cache
    def of(which):
        place = tmp_path_factory.mktemp(f"stopped-{which}")
        ended = subprocess.run(
            [sys.executable, "-m", "tests._stopped", str(place), which],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        return json.loads(ended.stdout.splitlines()[-1])

    return of


@pytest.fixture
def told(played, request):
    return played("slow" if request.node.get_closest_marker("slow") else "fast")


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def test_left_alone_it_does_every_step_and_block_once(told):
    assert told["alone"] == 0
    assert told["passed"]["train.step"] == STEPS
    assert told["passed"]["store.block"] == BLOCKS


@pytest.mark.parametrize(
    ("place", "saved", "blocks"),
    [
        ("file.written:1", {0}, BLOCKS),
        slow("train.step:2", {0}, BLOCKS),
        ("train.step:5", {0, 3}, BLOCKS),  # the third step's is written while training goes on
        slow("checkpoint.manifest:2", {3}, BLOCKS),
        slow("train.made", {STEPS}, BLOCKS),
        ("train.done", {STEPS}, BLOCKS),
        slow("store.chunks:1", {STEPS}, BLOCKS),
        ("store.block:2", {STEPS}, BLOCKS - 2),
        ("compact.block:1", {STEPS}, 0),
        slow("compact.ready", {STEPS}, 0),
        ("store.named", {STEPS}, 0),
        slow("sample.done", {STEPS}, 0),
    ],
)
def test_killed_anywhere_it_goes_on_to_the_same_bytes(told, place, saved, blocks):
    """Nothing that was saved is computed again: no step up to the checkpoint, no block."""
    found = told["killed"][place]
    assert found["codes"] == [-9, 0]
    assert found["same"]
    assert found["debris"] == []
    assert found["saved"] in saved
    assert (found["steps"], found["blocks"]) == (STEPS - found["saved"], blocks)


@pytest.mark.parametrize(
    ("stop", "code", "steps", "blocks"),
    [
        slow("SIGINT train.step", 130, 3, BLOCKS),
        ("SIGINT store.block", 130, 0, BLOCKS - 4),
        ("SIGTERM train.step", 75, 3, BLOCKS),
        slow("SIGTERM store.block", 75, 0, BLOCKS - 4),
        slow("SIGUSR1 train.step", 75, 3, BLOCKS),
        slow("SIGUSR1 store.block", 75, 0, BLOCKS - 4),
    ],
)
def test_a_signal_lets_the_step_or_block_in_hand_be_saved(told, stop, code, steps, blocks):
    found = told["interrupted"][stop]
    assert found["codes"] == [code, 0]
    assert found["status"] == "stopped"
    assert found["same"]
    assert found["steps"] == steps
    # Units that were computed while the fourth was written are saved, too.
    assert max(0, blocks - 3) <= found["blocks"] <= blocks


def test_ctrl_c_twice_ends_at_once_and_loses_nothing_saved(told):
    found = told["twice"]
    assert found["waiting"]
    assert found["codes"] == [130, 0]
    assert not found["lingered"]  # the step in hand did not come to its end
    assert found["same"]


@pytest.mark.parametrize(("moments", "least"), [(2, 1), slow(6, 4)])
def test_stopped_at_any_moment_every_loss_and_the_last_state_are_the_same_bits(
    told, moments, least
):
    assert len(told["random"]) == moments
    for found in told["random"]:
        assert found["codes"] in ([75, 0], [0, 0])  # it may have been done already
        assert found["same"]
    assert sum(found["codes"][0] == 75 for found in told["random"]) >= least


def test_a_second_process_is_refused_and_the_lock_dies_with_its_holder(told):
    found = told["second"]
    assert f"process {found['pid']} on " in found["told"]
    assert found["untouched"]
    assert found["after"] == 0


@pytest.mark.parametrize("limit", ["1000", "20000"])
def test_a_full_disk_is_told_with_path_and_bytes_and_the_run_goes_on_later(told, limit):
    found = told["full"][limit]
    assert found["codes"] == [5, 0]
    assert found["told"].startswith("error: no space to write ")
    assert "bytes are needed" in found["told"]
    assert found["same"]

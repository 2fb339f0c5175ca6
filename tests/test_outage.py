"""A tracking server that is away, with the trainer killed in between: no point lost or doubled."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_a_server_that_is_away_while_the_run_is_killed(seconds, tmp_path):
    """After `sync`: every point once. A step waits for tracking less than 5 ms of its thread."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests._outage", str(tmp_path), str(seconds)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["codes"] == [-9, 0, 0, 0], found
    assert 20 <= found["seen"] < 120  # it was there, and then it was not
    assert seconds < 60 or "the run goes on" in found["told"]
    assert found["runs"] == 1 and found["unknown"] == []
    assert set(found["missing"].values()) == {0}, found
    assert set(found["doubled"].values()) == {0}, found
    assert found["longest"] < 0.005

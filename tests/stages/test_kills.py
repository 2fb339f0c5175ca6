"""Killed at any moment and begun again by the same command, a run gives the same bytes."""

import json
import os
import subprocess
import sys

import pytest


def killed(folder, ranks, count, workers=0):
    """What `tests/_kills.py` prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests._kills", str(folder), *map(str, (ranks, count, workers))],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=7200,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


def require_same(found, ranks, count):
    assert len(found) == count
    for kill in found:
        inside = isinstance(kill["where"], str)
        assert kill["codes"][0] == -9 or not inside, kill
        assert kill["again"] == [0] * ranks and kill["same"], kill
    # Most fell before the end.
    assert sum(kill["codes"][0] == -9 for kill in found) >= 0.6 * count


def test_three_kills_of_one_process(tmp_path):
    """The first inside a save; two processes: `test_together.py`."""
    require_same(killed(tmp_path, 1, 3), 1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_twenty_kills(ranks, workers, tmp_path):
    """At random moments and inside saves, of all processes: 20 of 20 give the same bytes."""
    require_same(killed(tmp_path, ranks, 20, workers), ranks, 20)

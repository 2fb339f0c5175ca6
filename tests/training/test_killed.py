import json
import os
import subprocess
import sys


def test_a_run_killed_seven_times_equals_the_one_that_was_not(tmp_path):
    """Weights, average, moments, every loss as hex and the record of validations: the same bits."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.training._killed", str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    codes, whole, killed, debris = json.loads(ended.stdout)
    assert codes == [0] + 7 * [-9] + [0, 0]  # the last finds nothing left to do
    assert killed == whole
    assert len(whole[1]) == 24
    assert debris == []

"""Two processes in one run: they train as one, stop as one, and name the one that failed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from diffsci.stages.sweep_status import status_of_sweep
from tests import tiny_runs
from tests.test_points import swept

REPOSITORY = Path(__file__).parents[2]


def played(folder, *more):
    """What `tests/_together.py` prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests._together", str(folder), *more],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return played(tmp_path_factory.mktemp("together"))


@pytest.fixture(scope="module")
def told_slowly(tmp_path_factory):
    return played(tmp_path_factory.mktemp("together"), "slow")


def last(text):
    return text.splitlines()[-1]


def test_two_processes_train_as_one_and_the_first_alone_tells(told):
    """In float32 only the order of summation differs: measured 8e-8."""
    assert told["one"]["codes"] == [0] and told["two"]["codes"] == [0, 0]
    one, two = told["losses"][:2]
    assert two == pytest.approx(one, rel=1e-6)
    assert "step 9 of 9" in told["two"]["told"][0]
    assert told["two"]["told"][1] == ""


def test_with_another_number_of_processes_it_goes_on_and_warns(told):
    assert told["fewer"]["codes"] == [0]
    assert "going on with 1 process, begun with 2" in told["fewer"]["told"][0]
    one, _, fewer = told["losses"]
    assert fewer == pytest.approx(one, rel=1e-6)


def require_same(found, codes):
    assert found["codes"] == codes
    assert found["again"] == [0, 0]
    assert found["same"]


@pytest.mark.parametrize(
    ("case", "codes"),
    [("killed", [1, -9]), ("SIGTERM", [75, 75]), ("fails", [1, 1]), ("stalled", [1, None])],
)
def test_what_happens_to_one_ends_all_and_the_same_command_goes_on_to_the_same_bits(
    told, case, codes
):
    """Where a rank stands still, too, after the timeout of 2 s: it is continued by nobody."""
    require_same(told["stopped"][case], codes)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "codes"), [("first killed", [-9, 1]), ("SIGINT", [130, 130])])
def test_what_happens_to_the_first_ends_all_and_goes_on_to_the_same_bits(told_slowly, case, codes):
    """Its fast twin has the same done to the second."""
    require_same(told_slowly["stopped"][case], codes)


def test_the_one_that_failed_is_named(told):
    found = {case: each["told"] for case, each in told["stopped"].items()}
    for case in ("killed", "stalled"):
        assert re.match(
            r"rank 0: error: rank 1 \(process \d+ on \S+\) was killed, or does not answer \(.*"
            r"the same command goes on from the last checkpoint$",
            last(found[case][0]),
        )
        of = told["stopped"][case]
        # Also where the launcher asks the first to end, in the middle of finding out.
        assert of["status"] == "failed" and last(found[case][0]) == f"rank 0: error: {of['cause']}"
    assert told["stopped"]["SIGTERM"]["status"] == "stopped"
    assert "ended: MemoryError: the sixth step is too much" in last(found["fails"][0])
    assert "unexpected MemoryError" in last(found["fails"][1])
    assert "stopped after step 6, which is saved" in last(found["SIGTERM"][0])


@pytest.mark.slow
def test_the_first_that_failed_is_named(told_slowly):
    found = {case: each["told"] for case, each in told_slowly["stopped"].items()}
    assert "error: rank 0, or the launcher" in last(found["first killed"][1])
    assert "stopped after step 6, which is saved" in last(found["SIGINT"][0])


def test_with_weights_shared_out_it_trains_as_with_all_of_them_in_each(told):
    """In float32 the norm that clips is rounded otherwise."""
    found = told["sharing"]
    assert found["sharded"]["codes"] == [0, 0]
    assert "(fp32, contiguous, sharded)" in found["sharded"]["told"][0]
    assert found["losses"][0] == pytest.approx(told["losses"][1], rel=1e-6)


def test_killed_with_weights_shared_out_it_goes_on_to_the_same_bits(told):
    found = told["sharing"]
    assert found["killed"]["codes"][0] == -9
    assert found["again"]["codes"] == [0, 0] and found["again"]["same"]


def test_a_checkpoint_of_shared_weights_is_gone_on_with_by_one_process(told):
    found = told["sharing"]
    assert found["killed"]["codes"][0] == -9 and found["then not"]["codes"] == [0]
    assert "made with sharded True, going on with False" in found["then not"]["told"][0]
    assert found["losses"][1] == pytest.approx(told["losses"][0], rel=1e-6)


def test_one_process_cannot_share(told):
    found = told["sharing"]["alone"]
    assert found["codes"] == [2]
    assert "runtime.sharding: got 'full', expected none: a single process" in last(found["told"][0])


def test_where_one_cannot_compile_auto_goes_on_without_on_all(told):
    found = told["sharing"]["auto"]
    assert found["codes"] == [0, 0] and found["same"]
    assert "another of the processes cannot compile: going on without" in found["told"][0]


def test_where_one_cannot_compile_true_is_an_error_of_all(told):
    found = told["sharing"]["true"]
    assert found["codes"] == [2, 2]
    assert "no code for this" in "".join(found["told"])


def test_a_finished_run_is_left_by_all(told):
    assert told["done"]["codes"] == [0, 0]
    assert "nothing to do" in told["done"]["told"][0]


def test_refusals_of_one_are_the_exit_of_all(told):
    assert told["refused"]["codes"] == [5, 5]
    assert "holds another run (seed: 0 -> 1)" in last(told["refused"]["told"][1])
    assert told["other data"]["codes"] == [3, 3]
    assert "rank 1 (process" in told["other data"]["told"][0]
    assert "reads other data" in last(told["other data"]["told"][0])
    assert told["uneven"]["codes"] == [2, 2]
    assert "expected a multiple of the 2 processes" in last(told["uneven"]["told"][0])


@pytest.mark.slow
def test_both_killed_at_four_moments_go_on_to_the_same_bits(told_slowly):
    """Its fast twin kills one of them at a step."""
    found = told_slowly["random"]
    assert len(found) == 4
    assert all(each["again"] == [0, 0] and each["same"] for each in found)


@pytest.mark.slow
def test_weights_are_shared_out_of_every_kind_of_training(tmp_path):
    """In float32 measured 6e-8, 0 and 0; its fast twin has one kind."""
    for name, (whole, parts) in played(tmp_path, "sharded").items():
        assert parts == pytest.approx(whole, rel=1e-6), name


@pytest.mark.slow
def test_torchrun_starts_it(tmp_path):
    file = tiny_runs.make(tmp_path, "pde")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    command += ["diffsci", "run", str(file), "evaluate=null", "--out", str(tmp_path / "run")]
    paths = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=os.environ | paths, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"{tmp_path / 'run'}\n"
    assert tiny_runs.record(tmp_path / "run")["processes"] == 2


@pytest.mark.slow
def test_torchrun_trains_the_points_of_a_sweep_one_after_another(tmp_path):
    """Each as two processes train it alone; the first of them alone writes what is of the sweep."""
    file = swept(tmp_path, "sweep: {seed: [3, 4]}")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    command += ["diffsci", "run", str(file), "evaluate=null", "--out"]
    paths = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "DIFFSCI_RANK_TIMEOUT": "60"}

    def run(*words):
        done = subprocess.run(
            [*command, *words],
            env=os.environ | paths,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    run(str(tmp_path / "all"))
    run(str(tmp_path / "one"), "--point", "seed-4")
    assert status_of_sweep(tmp_path / "all").status == "done"
    made = [tiny_runs.numbers(tmp_path / where / "seed-4") for where in ("all", "one")]
    assert made[0] == made[1]

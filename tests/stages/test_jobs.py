"""Processes side by side: how many at once, what they end with, and how they are stopped."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner

from diffsci import cli, config
from diffsci.errors import DataError, DiffsciError, NumericsError
from diffsci.running import stopping
from diffsci.running.locking import lock
from diffsci.stages import jobs
from diffsci.stages.sweep_status import status_of_sweep
from diffsci.stages.turns import Turns
from diffsci.sweeps import sweeping
from tests import tiny_runs
from tests.test_points import swept

COUNTED = """
import os, sys, time
place = sys.argv[1]
open(os.path.join(place, f"in-{os.getpid()}"), "w").close()
time.sleep(0.15)
now = [name for name in os.listdir(place) if name.startswith("in-")]
print("at once", len(now))
os.remove(os.path.join(place, f"in-{os.getpid()}"))
"""


def test_at_most_so_many_at_once_and_each_tells_its_own_file(tmp_path):
    (tmp_path / "here").mkdir()
    names = [f"p{number}" for number in range(5)]
    found = dict(
        jobs.run(names, lambda _: ["-c", COUNTED, str(tmp_path / "here")], tmp_path, 2, None)
    )
    assert found == dict.fromkeys(names)
    told = [(tmp_path / f"{name}.log").read_text() for name in names]
    assert {text.strip() for text in told} <= {"at once 1", "at once 2"}
    assert "at once 2\n" in told


def test_what_a_point_failed_by_is_its_last_line_and_its_code(tmp_path):
    codes = {"data": 3, "numbers": 4, "other": 1}
    ended = {name: f"print('error: it is {name}'); exit({code})" for name, code in codes.items()}
    ended["killed"] = "import os; os.kill(os.getpid(), 9)"
    found = dict(jobs.run(list(ended), lambda name: ["-c", ended[name]], tmp_path, 3, None))
    assert {name: type(error) for name, error in found.items()} == {
        "data": DataError,
        "numbers": NumericsError,
        "other": DiffsciError,
        "killed": DiffsciError,
    }
    assert str(found["data"]) == f"it is data (see {tmp_path / 'data.log'})"
    assert str(found["killed"]).startswith("was killed by SIGKILL, perhaps since the machine's mem")


def test_threads_are_shared_out_unless_somebody_chose(tmp_path, monkeypatch):
    code = "import os; print(os.environ.get('OMP_NUM_THREADS'))"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for chosen, expected in ((3, "3"), (None, "None")):
        list(jobs.run(["a"], lambda _: ["-c", code], tmp_path, 1, chosen))
        assert (tmp_path / "a.log").read_text().splitlines()[-1] == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    list(jobs.run(["a"], lambda _: ["-c", code], tmp_path, 1, 3))
    assert (tmp_path / "a.log").read_text().splitlines()[-1] == "7"


def test_a_log_is_written_on_and_a_cause_is_of_the_last_call(tmp_path):
    codes = iter(("print('error: of the first'); exit(3)", "print('of the second'); exit(1)"))
    for cause in ("of the first", "of the second"):
        found = dict(jobs.run(["a"], lambda _: ["-c", next(codes)], tmp_path, 1, None))
        assert str(found["a"]) == f"{cause} (see {tmp_path / 'a.log'})"
    first, _, begun, second = (tmp_path / "a.log").read_text().splitlines()
    assert (first, second) == ("error: of the first", "of the second")
    assert begun.startswith("-- begun again 20")


BEGUN = """
import os, signal, sys, time
from diffsci.running import parent

def asked(*_):
    os.rename(sys.argv[1], sys.argv[1] + "-asked")
    sys.exit(75)

signal.signal(signal.SIGTERM, asked)
parent.end_with_it()
assert sys.stdin.read() == "" and not any(name in os.environ for name in parent.ASKED)
open(sys.argv[1], "w").close()
time.sleep(60)
"""
SWEEP = """
import sys
from pathlib import Path
from diffsci.stages import jobs

here, code = Path(sys.argv[1]), sys.argv[2]
list(jobs.run("ab", lambda name: ["-c", code, str(here / name)], here, 2, None))
"""


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_points_stop_when_their_sweep_is_killed(tmp_path):
    """Each is told by SIGTERM, as by the sweep itself, so that it saves what it has in hand."""
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP, str(tmp_path), BEGUN])
    try:
        until(lambda: all((tmp_path / name).exists() for name in "ab"))
    finally:
        sweep.kill()
        sweep.wait()
    until(lambda: all((tmp_path / f"{name}-asked").exists() for name in "ab"))
    assert "the process that began this one is gone" in (tmp_path / "a.log").read_text()


def test_a_process_that_nobody_asked_reads_its_input_and_stays(tmp_path):
    code = "from diffsci.running import parent; parent.end_with_it(); print(input())"
    ended = subprocess.run(
        [sys.executable, "-c", code], input="a word", capture_output=True, text=True, check=True
    )
    assert ended.stdout == "a word\n"


def test_a_point_that_another_process_writes_waits_for_it(tmp_path, caplog):
    turns = Turns(["a", "b"], tmp_path)
    with caplog.at_level("INFO"), lock(tmp_path / "a", "tiny-a"):
        assert [turns.next() for _ in range(3)] == ["b", None, None]
        (line,) = [record.getMessage() for record in caplog.records]
        told = f"by the run 'tiny-a', process {os.getpid()} on "
        assert line.startswith("sweep: a waits until it is not written any more, ") and told in line
        done, free = threading.Event(), threading.Event()

        def run():
            ended = dict(jobs.run(["a"], lambda _: ["-c", ""], tmp_path, 1, None))
            assert free.is_set() and ended == {"a": None}
            done.set()

        threading.Thread(target=run, daemon=True).start()
        assert not done.wait(0.3)
        free.set()
    assert done.wait(30)
    assert turns.next() == "a" and turns.left == []


def test_a_point_waits_for_the_one_it_begins_from(tmp_path, caplog):
    turns = Turns(["a", "b", "c"], tmp_path, {"b": "a", "c": "gone"})
    with caplog.at_level("INFO"):
        assert [turns.next() for _ in range(3)] == ["a", "c", None]  # "gone" is none of them
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "sweep: b waits until a has ended, which it begins from"
    turns.ended("c")
    assert turns.next() is None
    turns.ended("a")
    assert turns.next() == "b" and turns.left == []


def test_of_jobs_a_point_begins_when_that_one_has_ended_whatever_by(tmp_path):
    code = "import sys; exit(3 if sys.argv[1] == 'a' else 0)"
    given = (lambda name: ["-c", code, name], tmp_path, 3, None, {"b": "a", "c": "b"})
    found = list(jobs.run("abc", *given))
    assert [name for name, _ in found] == ["a", "b", "c"]
    assert type(found[0][1]) is DataError and found[1][1] is found[2][1] is None


def test_a_signal_stops_all_of_them_and_nothing_more_is_begun(tmp_path):
    patient = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(60)"
    )
    files = {name: tmp_path / f"{name}-began" for name in "abc"}

    def ask():
        while not (files["a"].exists() and files["b"].exists()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    with stopping.listening(), pytest.raises(stopping.Stopped) as stopped:
        list(jobs.run("abc", lambda name: ["-c", patient, str(files[name])], tmp_path, 2, None))
    assert stopped.value.code == 75
    assert not files["c"].exists()


def test_where_there_is_no_sweep_jobs_are_refused(tmp_path, capsys):
    file = tiny_runs.make(tmp_path, "pde")
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(file), "--jobs", "2"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --jobs: is for sweeps, and ")


@pytest.mark.slow
def test_a_sweep_side_by_side_gives_the_numbers_of_one_after_another(tmp_path, capsys):
    file = swept(tmp_path, "sweep: {seed: [3, 4]}")
    sweeping.run(config.load(file), tmp_path / "turns")
    told = ["run", str(file), "--jobs", "2", "--out", str(tmp_path / "jobs")]
    ended = CliRunner().invoke(cli.main, told)
    assert ended.exit_code == 0, ended.output
    for name in ("seed-3", "seed-4"):
        found = [tiny_runs.numbers(tmp_path / where / name) for where in ("turns", "jobs")]
        assert found[0] == found[1]
    tables = [(tmp_path / where / "sweep.csv").read_text() for where in ("turns", "jobs")]
    assert all(text.count("done") == 2 for text in tables)
    assert (tmp_path / "jobs" / "compare.html").exists()


@pytest.mark.slow
def test_a_sweep_that_is_killed_is_gone_on_with_at_once_to_the_same_bits(tmp_path):
    """Its points are still ending when the same command comes: they are waited for."""
    file, more = swept(tmp_path, "sweep: {seed: [3, 4]}"), ("train.steps=60", "evaluate=null")
    whole = sweeping.run(config.load(file, more), tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "diffsci", "run", str(file), *more, "--jobs", "2"]
    command += ["--out", str(out)]
    sweep = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    lines = [out / name / "metrics.jsonl" for name in ("seed-3", "seed-4")]
    try:
        until(lambda: all(line.exists() for line in lines), 120)
    finally:
        sweep.kill()
        sweep.wait()
    assert status_of_sweep(out).status in ("running", "killed")
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert status_of_sweep(out).status == "done"
    for name in ("seed-3", "seed-4"):
        assert tiny_runs.numbers(out / name) == tiny_runs.numbers(whole / name)
        told = (out / f"{name}.log").read_text()
        assert "the process that began this one is gone" in told and "-- begun again" in told

"""Processes side by side: how many at once, what they end with, and how they are stopped."""

import os
import signal
import threading
import time

import pytest
from click.testing import CliRunner

from diffsci import cli, config, stopping, sweeping
from diffsci.errors import DataError, DiffsciError, NumericsError
from diffsci.stages import jobs
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
        assert (tmp_path / "a.log").read_text().strip() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    list(jobs.run(["a"], lambda _: ["-c", code], tmp_path, 1, 3))
    assert (tmp_path / "a.log").read_text().strip() == "7"


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

"""Points on the workers of a cluster: how many at once, what they end with, and how they stop."""

import os
import signal
import threading
import time
from functools import partial

import distributed
import pytest
from click.testing import CliRunner

from diffsci import cli, config
from diffsci.errors import ConfigError, DataError, DiffsciError
from diffsci.running import stopping
from diffsci.stages import far_jobs
from diffsci.stages.cluster import connected
from diffsci.sweeps import sweeping
from tests import tiny_runs
from tests.stages.test_jobs import COUNTED
from tests.test_points import swept

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def address():
    """Two workers in this process: what they begin are processes anyway."""
    given = {"processes": False, "n_workers": 2, "threads_per_worker": 2}
    with distributed.LocalCluster(**given, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_at_most_so_many_at_once_and_each_tells_its_own_file(address, tmp_path, monkeypatch):
    monkeypatch.setattr(far_jobs, "_POLL_SECONDS", 0.01)
    (tmp_path / "here").mkdir()
    names = [f"p{number}" for number in range(5)]
    found = dict(
        far_jobs.run(names, lambda _: ["-c", COUNTED, str(tmp_path / "here")], tmp_path, 2, address)
    )
    assert found == dict.fromkeys(names)
    told = [(tmp_path / f"{name}.log").read_text() for name in names]
    assert {text.strip() for text in told} <= {"at once 1", "at once 2"}
    assert "at once 2\n" in told


def test_a_point_runs_where_the_sweep_was_begun(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "import os; print(os.getcwd())"
    assert dict(far_jobs.run(["a"], lambda _: ["-c", code], tmp_path, 1, address)) == {"a": None}
    assert (tmp_path / "a.log").read_text() == f"{tmp_path}\n"


def test_what_a_point_failed_by_is_its_last_line_and_its_code(address, tmp_path):
    (tmp_path / "nowhere.log").mkdir()
    ended = {"data": "print('error: it is data'); exit(3)", "nowhere": ""}
    found = dict(far_jobs.run(list(ended), lambda n: ["-c", ended[n]], tmp_path, 2, address))
    assert type(found["data"]) is DataError and str(found["data"]).startswith("it is data (see ")
    assert type(found["nowhere"]) is DiffsciError
    assert "its worker failed (IsADirectoryError" in str(found["nowhere"])


def test_a_point_begins_when_the_one_it_begins_from_has_ended(address, tmp_path):
    code = "import time; time.sleep(0.2)"
    given = (lambda _: ["-c", code], tmp_path, 2, address, {"b": "a"})
    assert list(far_jobs.run("abc", *given))[-1] == ("b", None)


def test_a_signal_stops_all_of_them_and_nothing_more_is_begun(address, tmp_path):
    patient = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(600)"
    )
    files = {name: tmp_path / f"{name}-began" for name in "abc"}

    def ask():
        while not (files["a"].exists() and files["b"].exists()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    given = ("abc", lambda name: ["-c", patient, str(files[name])], tmp_path, 2, address)
    with stopping.listening(), pytest.raises(stopping.Stopped) as stopped:
        list(far_jobs.run(*given))
    assert stopped.value.code == 75 and not files["c"].exists()


def test_where_no_scheduler_answers_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(far_jobs, "connected", partial(connected, seconds=0.1))
    with pytest.raises(ConfigError, match=r"runtime\.dask: got 'tcp://127.0.0.1:1', and no sched"):
        list(far_jobs.run(["a"], lambda _: [], tmp_path, 1, "tcp://127.0.0.1:1"))


@pytest.mark.slow
def test_a_sweep_on_workers_gives_the_numbers_of_one_here(tmp_path):
    """Its fast twins: the tests above, and of what a point is, `test_sweeping.py`."""
    file = swept(tmp_path, "sweep: {seed: [3, 4]}")
    sweeping.run(config.load(file), tmp_path / "here")
    given = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**given) as there:
        asked = f"runtime.dask={there.scheduler_address}"
        out = ["--out", str(tmp_path / "there")]
        ended = CliRunner().invoke(cli.main, ["run", str(file), asked, "--jobs", "2", *out])
    assert ended.exit_code == 0, ended.output
    for name in ("seed-3", "seed-4"):
        found = [tiny_runs.numbers(tmp_path / where / name) for where in ("here", "there")]
        assert found[0] == found[1]
    assert (tmp_path / "there" / "sweep.csv").read_text().count("done") == 2

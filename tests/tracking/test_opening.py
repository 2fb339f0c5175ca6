import logging
import math
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from diffsci.errors import FieldError
from diffsci.sections import Tracking
from diffsci.tracking import opening as tracking
from diffsci.tracking import sending
from diffsci.tracking.store import Store, newest_experiment, repair
from diffsci.tracking.tracker import NullTracker


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A store with its tables: making them takes longer than most tests here."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracking.quiet_mlflow().MlflowClient(f"sqlite:///{database}")
    return database


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch, empty_store):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, "mlflow.db")


def start(section=None, **changes):
    given = {
        "run_name": "toy-s0",
        "experiment": "toy-generate",
        "params": {"seed": 0, "train": {"lr": 0.1}},
        "tags": {"diffsci.pipeline": "toy"},
        "key": secrets.token_hex(8),
    }
    return tracking.start(section or Tracking(), **(given | changes))


def client():
    from mlflow import MlflowClient

    # MLflow keeps one store for each address, wherever a relative one was meant to be.
    return MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")


def series(run_id, key):
    return [(point.step, point.value) for point in client().get_metric_history(run_id, key)]


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_run_is_in_the_store_as_it_was_told(tmp_path, caplog):
    for name in ("report.html", "sample_maps.png"):
        (tmp_path / name).write_text(name)
    source = "package:toy:data.nc"
    parts = {"training": ("toy", source, "f" * 64), "testing": ("toy", source, "e" * 64)}
    tracker = start(datasets=parts)
    for step in range(5):
        tracker.metrics({"train/loss": 1.0 / (step + 1), "train/lr": 0.1}, step=step)
    tracker.metrics({"test/crps": 0.5, "test/inf": math.inf, "test/nan": math.nan, "test/a@1": 2.0})
    tracker.artifact(tmp_path / "report.html")
    tracker.artifact(tmp_path / "sample_maps.png")
    tracker.artifact(tmp_path / "report.html", "details")
    tracker.artifact(tmp_path / "missing.png")
    tracker.note("a **note**")
    tracker.finish()
    tracker.finish()

    run = client().get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "toy-s0"
    assert run.data.params == {"seed": "0", "train.lr": "0.1"}
    assert run.data.tags["diffsci.pipeline"] == "toy"
    assert run.data.tags["mlflow.note.content"] == "a **note**"
    assert series(run.info.run_id, "train/loss") == [(i, 1.0 / (i + 1)) for i in range(5)]
    assert run.data.metrics["test/a_1"] == 2.0
    assert math.isnan(run.data.metrics["test/nan"])
    assert run.data.metrics["test/inf"] > 1e308  # how the store writes infinity
    names = {item.path for item in client().list_artifacts(run.info.run_id)}
    assert names == {"report.html", "sample_maps.png", "details"}
    given = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
    assert {word: (each.name, each.digest) for word, each in given.items()} == {
        "training": ("toy", "f" * 36),
        "testing": ("toy", "e" * 36),
    }
    assert tracker.address.endswith(
        "/#/experiments/1/runs?compareRunsMode=CHART&workflowType=machine_learning"
        "&orderByKey=metrics.%60test%2Fcrps%60&orderByAsc=true"
    )
    assert len(warnings_of(caplog)) == 1 and "missing.png" in warnings_of(caplog)[0]
    assert Path("mlartifacts/toy-generate").is_dir() and not Path("mlruns").exists()


def test_a_resumed_run_repeats_no_point_and_keeps_its_first_params(caplog):
    first = start()
    for step in (0, 1, 2):
        first.metrics({"train/loss": float(step)}, step=step)
    first.metrics({"test/crps": 0.5, "test/rmse": math.nan})
    first.finish("KILLED")
    again = start(run_id=first.run_id, params={"seed": 0, "train": {"lr": 0.2}, "new": 1})
    assert again.run_id == first.run_id
    assert client().get_run(first.run_id).info.status == "RUNNING"
    for step in (1, 2, 3):
        again.metrics({"train/loss": float(step)}, step=step)
    again.metrics({"test/crps": 0.4, "test/rmse": math.nan})
    again.finish()

    run = client().get_run(first.run_id)
    assert series(first.run_id, "train/loss") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert len(series(first.run_id, "test/rmse")) == 1
    assert run.data.metrics["test/crps"] == 0.4  # scored anew
    assert run.data.params == {"seed": "0", "train.lr": "0.1", "new": "1"}
    assert run.info.status == "FINISHED"
    (warning,) = warnings_of(caplog)
    assert "train.lr" in warning


def test_a_run_that_mlflow_forgot_is_begun_anew(caplog):
    tracker = start(run_id="0" * 32)
    assert tracker.run_id not in (None, "0" * 32)
    tracker.finish("FAILED")
    assert client().get_run(tracker.run_id).info.status == "FAILED"
    assert len(warnings_of(caplog)) == 1


def test_switched_off_it_imports_and_writes_nothing():
    code = (
        "import sys; from diffsci.tracking import opening as tracking;"
        "from diffsci.sections import Tracking;"
        "t = tracking.start(Tracking(enabled=False), run_name='a', experiment='b', params={},"
        " tags={}, key='k'); t.metrics({'a': 1.0}, 0); t.finish();"
        "assert t.run_id is None and t.address == '';"
        "assert not {'mlflow', 'torch', 'xarray'} & set(sys.modules)"
    )
    root = Path(tracking.__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert [path.name for path in Path().iterdir()] == ["mlflow.db"]


def _locked():
    connection = sqlite3.connect("locked.db", isolation_level=None)
    connection.execute("CREATE TABLE a (b)")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9", "does not answer"),
        ("file:./mlruns", "sqlite:///FILE.db"),
        ("./mlruns", "sqlite:///FILE.db"),
        ("nonsense://x", "not tracked"),
        ("sqlite:///no/such/folder/a.db", "does not exist"),
        ("sqlite:///garbage.db", "not a database"),
        ("sqlite:///locked.db", "locked"),
    ],
)
def test_a_store_that_fails_costs_one_warning(uri, said, caplog, monkeypatch):
    Path("garbage.db").write_text(
        "this is no database, and it is long enough to be seen as none" * 9
    )
    holder = _locked()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracker = start()
    holder.close()
    assert isinstance(tracker, NullTracker)
    tracker.metrics({"a": 1.0}, 0)
    tracker.finish()
    (warning,) = warnings_of(caplog)
    assert said in warning and "the run goes on" in warning
    assert "\n" not in warning


def test_a_password_in_the_environment_is_said_to_nobody(caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:CANARY@127.0.0.1:9")
    assert isinstance(start(), NullTracker)
    assert len(warnings_of(caplog)) == 1 and "CANARY" not in caplog.text


def test_a_frozen_server_is_given_up_before_the_client_waits_for_it(caplog, monkeypatch):
    """Which would take four minutes."""
    monkeypatch.setattr(tracking, "_experiment", pytest.fail)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tracker = start(Tracking(uri=f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert isinstance(tracker, NullTracker)
    assert len(warnings_of(caplog)) == 1


def test_a_connection_that_comes_too_late_leaves_no_run_open(caplog, monkeypatch):
    """And no second run is begun: the next call of the same folder finds it by its key."""
    describe, late, begun = tracking._describe, [], threading.Event()

    class Hurried(threading.Thread):
        def join(self, timeout=None):
            """Given up while the run is being described, however fast the machine is."""
            begun.wait(60.0)

    def slowly(*arguments):
        begun.set()
        time.sleep(0.5)
        late.append(describe(*arguments))
        return late[0]

    with monkeypatch.context() as patched:
        named = types.SimpleNamespace(Thread=Hurried, Event=threading.Event)
        patched.setattr(tracking, "threading", named)
        patched.setattr(tracking, "_describe", slowly)
        assert isinstance(start(key="mine"), NullTracker)
    end = time.monotonic() + 20.0
    while time.monotonic() < end and not (late and late[0]._finished):
        time.sleep(0.05)
    time.sleep(0.5)
    assert client().get_run(late[0].run_id).info.status == "KILLED"
    (warning,) = warnings_of(caplog)
    assert "no answer" in warning and "`diffsci sync RUN` sends it" in warning
    again = start(key="mine")
    assert again.run_id == late[0].run_id
    again.finish()
    assert client().get_run(again.run_id).info.status == "FINISHED"


def test_a_store_that_answers_too_late_has_no_run_at_all(caplog, monkeypatch):
    """It was waited for before the run was begun, as for a database that another one makes."""
    monkeypatch.setattr(tracking, "LOCAL_SECONDS", 0.05)
    experiment, done = tracking._experiment, threading.Event()

    def slowly(*arguments):
        time.sleep(0.3)
        try:
            return experiment(*arguments)
        finally:
            done.set()

    monkeypatch.setattr(tracking, "_experiment", slowly)
    assert isinstance(start(experiment="late"), NullTracker)
    assert done.wait(20.0)
    time.sleep(0.3)
    found = client().get_experiment_by_name("late")
    assert client().search_runs([found.experiment_id]) == []


def test_a_store_that_is_away_for_a_moment_makes_no_second_run(caplog, monkeypatch):
    """Its error is not the answer that the run is not there."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    first = start(key="mine")
    first.finish()

    def away(*_):
        raise MlflowException("the database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "get_run", away)
        assert isinstance(start(key="mine", run_id=first.run_id), NullTracker)
    assert len(client().search_runs([client().get_run(first.run_id).info.experiment_id])) == 1


@pytest.mark.parametrize("uri", ["foo://x", "file:./mlruns", "./mlruns", "htttp://host"])
def test_an_address_that_no_store_has_is_refused_with_those_that_are(uri):
    with pytest.raises(FieldError, match="uri: got .*sqlite, http, https, postgresql"):
        Tracking(uri=uri)


def test_addresses_of_databases_and_servers_are_taken():
    for uri in ("mysql+pymysql://host/db", "postgresql://host/db", "https://host", "databricks"):
        assert Tracking(uri=uri).uri == uri


def test_a_store_that_breaks_in_the_middle_stops_nothing(caplog, monkeypatch):
    monkeypatch.setattr(sending, "FINISH_SECONDS", 0.5)
    tracker = start()

    def broken(*_args, **_named):
        raise ConnectionError("gone: http://me:CANARY@host")

    monkeypatch.setattr(tracker._client, "log_batch", broken)
    tracker.metrics({"train/loss": 1.0}, step=0)
    tracker.finish()
    told = warnings_of(caplog)
    assert len(told) == 2 and "the run goes on" in told[0] and "could not be sent" in told[1]
    assert "CANARY" not in "".join(told)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_that_begin_on_a_new_store_at_once_lose_nothing(count):
    Path("mlflow.db").unlink()
    code = (
        "import sys; from diffsci.tracking import opening as tracking\n"
        "from diffsci.sections import Tracking\n"
        "t = tracking.start(Tracking(), run_name='p' + sys.argv[1], experiment='e', params={}, "
        "tags={}, key=sys.argv[1])\n"
        "for i in range(150): t.metrics({'train/loss': float(i)}, i)\n"
        "t.finish()\nprint(t.run_id)"
    )
    root = Path(tracking.__file__).parents[2]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        for number in range(count)
    ]
    answers = [worker.communicate(timeout=120) for worker in workers]
    assert [said for _, said in answers] == [""] * count
    counts = [len(series(run_id.strip(), "train/loss")) for run_id, _ in answers]
    assert counts == [150] * count


def test_a_moved_project_shows_its_artifacts(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    shutil.move("mlflow.db", "old")
    monkeypatch.chdir(tmp_path / "old")
    (tmp_path / "report.html").write_text("report")
    tracker = start()
    tracker.artifact(tmp_path / "report.html")
    tracker.finish()
    shutil.move(tmp_path / "old", tmp_path / "new")
    monkeypatch.chdir(tmp_path / "new")
    database = tmp_path / "new" / "mlflow.db"
    assert repair(database) == 2  # the experiment's place and the run's
    assert repair(database) == 0
    assert newest_experiment(database) == "1"
    (item,) = client().list_artifacts(tracker.run_id)
    assert item.path == "report.html"


def test_where_a_store_is():
    assert Store.of(None).database == Path("mlflow.db").resolve()
    assert Store.of("sqlite:////data/x.db").uri == "sqlite:////data/x.db"
    server = Store.of("https://me:CANARY@tracking/")
    assert server.database is None and server.artifacts is None
    assert server.page("7").startswith("https://tracking/#/experiments/7/runs?")


def test_what_has_to_be_done_before_a_page_can_be_opened(tmp_path):
    (tmp_path / "other").mkdir()
    for uri, first, page in (
        (None, "run `diffsci ui`, then ", "http://127.0.0.1:5000/#/experiments/7/"),
        ("http://me:secret@host:80/", "", "http://host:80/#/experiments/7/"),
        (
            f"sqlite:///{tmp_path}/other/mlflow.db",
            f"run `diffsci ui` in {tmp_path}/other, then ",
            "http://127.0.0.1:5000/#/experiments/7/",
        ),
        (
            "postgresql://me:secret@host/runs",
            "run `mlflow server --backend-store-uri postgresql://***@host/runs`, then ",
            "http://127.0.0.1:5000/#/experiments/7/",
        ),
        ("databricks", "", ""),
    ):
        store = Store.of(uri)
        assert store.first == first and store.page("7").startswith(page)
        assert bool(store.page("7")) == bool(page)


def test_the_usual_variable_of_mlflow_is_heeded(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    shutil.move("mlflow.db", "other.db")
    start().finish()
    assert newest_experiment(Path("other.db")) == "1" and not Path("mlflow.db").exists()

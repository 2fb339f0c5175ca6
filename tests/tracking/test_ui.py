import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from diffsci.errors import ConfigError, StorageError
from diffsci.sections import Tracking
from diffsci.tracking import opening as tracking
from diffsci.tracking import ui


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_without_a_store_it_says_where_to_look():
    with pytest.raises(StorageError, match=r"no mlflow\.db in .*run a pipeline first"):
        ui.serve(free_port())


def test_a_file_that_is_no_store_is_refused():
    Path("mlflow.db").write_text("no database" * 99)
    with pytest.raises(StorageError, match="not an MLflow store"):
        ui.serve(free_port())


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_is_none_is_refused(port):
    Path("mlflow.db").touch()
    with pytest.raises(ConfigError, match="from 1 to 65535"):
        ui.serve(port)


def test_a_port_in_use_is_named_with_the_way_out():
    Path("mlflow.db").touch()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match=r"in use.*diffsci ui --port"):
            ui.serve(other.getsockname()[1])


def fetch(address, **headers):
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=10
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def test_it_serves_runs_and_reports_to_this_machine_alone_and_ends_cleanly(tmp_path):
    (tmp_path / "report.html").write_text("the report")
    tracker = tracking.start(
        Tracking(uri="sqlite:///mlflow.db"),
        run_name="r",
        experiment="e",
        params={},
        tags={},
        key="k",
    )
    tracker.artifact(tmp_path / "report.html")
    tracker.finish()
    port = free_port()
    root = Path(ui.__file__).parents[2]
    server = subprocess.Popen(
        [sys.executable, "-c", f"from diffsci.tracking.ui import serve; serve({port})"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout.readline().strip() == "MLflow UI: " + tracker.address.replace(
            ":5000/", f":{port}/"
        )
        base = f"http://127.0.0.1:{port}"
        query = f"run_uuid={tracker.run_id}&path=report.html"
        assert fetch(f"{base}/get-artifact?{query}") == (200, b"the report")
        experiment = f"{base}/ajax-api/2.0/mlflow/experiments/get?experiment_id=1"
        assert fetch(experiment)[0] == 200
        assert fetch(experiment, Host="elsewhere.example")[0] == 403
        listening = [c for c in _listeners(server.pid) if c.laddr.port == port]
        assert [c.laddr.ip for c in listening] == ["127.0.0.1"]
    finally:
        server.send_signal(signal.SIGTERM)
        said, _ = server.communicate(timeout=30)
    assert server.returncode == 0 and said.strip().endswith("MLflow UI ended")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def _listeners(pid):
    import psutil

    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return [c for p in family for c in p.net_connections("tcp") if c.status == "LISTEN"]

"""The life of a server: where it listens, and how it ends."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from diffsci import cli
from diffsci.errors import ConfigError
from diffsci.serving.server import LOOPBACK, _bound
from tests import tiny_runs


def test_only_this_machine_reaches_it_unless_asked():
    with _bound(LOOPBACK, 0) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"
    asked = {option.name: option.default for option in cli.main.commands["serve"].params}
    assert asked["host"] == LOOPBACK


def test_a_port_in_use_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"--port \d+: cannot be used .* or 0 for a free one"):
            _bound(LOOPBACK, taken.getsockname()[1])


def test_a_run_that_is_not_there_is_told(tmp_path):
    done = CliRunner().invoke(cli.main, ["serve", str(tmp_path / "none")])
    assert done.exit_code == 2 and "no such run" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_by_a_signal(kind, tmp_path):
    run = tiny_runs.run(tiny_runs.make(tmp_path, "image"), "evaluate=null", out=tmp_path / "run")
    command = [sys.executable, "-m", "diffsci", "serve", str(run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://127.0.0.1:\d+", server.stdout.readline())[0]
        with urllib.request.urlopen(f"{address}/health", timeout=300) as answer:
            assert answer.status == 200
        server.send_signal(kind)
        assert server.wait(300) in (130, -signal.SIGTERM, 75)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()

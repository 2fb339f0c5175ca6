"""Signals become a wish that is granted at boundaries, and only where the command line listens."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from diffsci.running import stopping
from diffsci.running.stopping import Stopped, boundary, failing, listening, patiently, wanted


@pytest.fixture(autouse=True)
def _as_in_the_foreground():
    """A shell may have started the tests with SIGINT ignored; and no handler is left behind."""
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    before |= {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


def send(kind):
    os.kill(os.getpid(), kind)


@pytest.mark.parametrize(
    ("kind", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_a_signal_waits_for_the_boundary(kind, code):
    reached = []
    told = pytest.raises(Stopped, match="after step 3; the same command goes on")
    with told as stopped, listening(), patiently():
        send(kind)
        reached.append(wanted())
        boundary("after step 3")
    assert reached == [code] and stopped.value.code == code
    assert wanted() == 0


def test_outside_of_patient_work_it_ends_at_once():
    told = "^SIGTERM: stopped at once; the work in hand is not saved, .*; the same command goes on"
    with pytest.raises(Stopped, match=told), listening():
        send(signal.SIGTERM)
        pytest.fail("went on")


class Finalised:
    """Sends a signal where Python drops exceptions."""

    def __init__(self, kind):
        self.kind = kind

    def __del__(self):
        send(self.kind)
        time.sleep(0.01)


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_an_end_that_a_finaliser_drops_is_asked_for_again(kind, code, capfd):
    hook = sys.unraisablehook
    with pytest.raises(Stopped) as stopped, listening():
        Finalised(kind)
        time.sleep(20.0)
        pytest.fail("went on")
    assert stopped.value.code == code
    assert sys.unraisablehook is hook and "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("kind", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_a_signal_before_any_command_has_begun_ends_by_one_line(kind, code):
    code_of_it = f"""
import os, signal, time
from diffsci.running import stopping
signal.signal(signal.SIGINT, signal.default_int_handler)
stopping.at_start()
os.kill(os.getpid(), {int(kind)})
time.sleep(20)
"""
    ended = subprocess.run([sys.executable, "-c", code_of_it], capture_output=True, text=True)
    assert ended.returncode == code
    told = f"{signal.Signals(kind).name}: ended at once, before any work was begun"
    assert ended.stderr.strip() == told


def test_once_a_command_has_begun_ctrl_c_is_an_exception():
    stopping.at_start()
    stopping.begun()
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
        time.sleep(20.0)


def test_while_the_cause_of_an_error_is_looked_for_a_signal_waits_and_says_nothing(capfd):
    with pytest.raises(Stopped, match="before the next work was begun"), listening():
        with failing():
            send(signal.SIGTERM)
            assert wanted() == 75
        with patiently():
            pytest.fail("went on")
    assert capfd.readouterr().err == ""


def test_a_wish_after_the_last_boundary_is_granted_at_the_end_of_the_work():
    with pytest.raises(Stopped), listening():
        with patiently():
            send(signal.SIGTERM)
        pytest.fail("went on")


def test_a_wish_that_a_library_swallowed_is_granted_before_the_next_work():
    with pytest.raises(Stopped), listening():
        with contextlib.suppress(BaseException):
            send(signal.SIGTERM)
        with patiently():
            pytest.fail("went on")


def test_handlers_are_put_back_and_without_listening_there_are_none():
    kinds = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(kind) for kind in kinds]
    with listening():
        assert all(signal.getsignal(kind) is stopping._handle for kind in kinds)
    assert [signal.getsignal(kind) for kind in kinds] == before
    with patiently(), pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    boundary("nobody listens")


def test_after_a_wish_was_granted_ctrl_c_ends_the_process_that_leaves(monkeypatch):
    codes = []
    monkeypatch.setattr(stopping.os, "_exit", codes.append)
    with pytest.raises(Stopped), listening():
        send(signal.SIGTERM)
    for kind in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        send(kind)
    assert codes == [130]


_STOPPED = """
import atexit, os, signal, sys, time
import click
from diffsci.running import stopping
from diffsci.cli.border import Commands

@click.group(cls=Commands)
def main(): pass

@main.command()
def work():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with stopping.listening(), stopping.patiently():
        os.kill(os.getpid(), signal.SIGINT)
        stopping.boundary("after step 3")

atexit.register(os.kill, os.getpid(), signal.SIGINT)  # another Ctrl-C on the way out
main(prog_name="toy")
"""


def test_ctrl_c_while_a_stopped_process_leaves_changes_nothing():
    """Python's way out would print a traceback, and later die by the signal."""
    given = [sys.executable, "-c", _STOPPED, "work"]
    ended = subprocess.run(given, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 130, ended.stderr
    assert "after step 3; the same command goes on from there" in ended.stderr
    assert "Traceback" not in ended.stderr and "Exception" not in ended.stderr


def test_an_ignored_sigint_stays_ignored():
    """A shell without job control ignores it for what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with listening():
        send(signal.SIGINT)
        assert wanted() == 0


def test_other_than_the_main_thread_listens_to_nothing():
    seen = []

    def work():
        with listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_second_sigterm_and_an_echoed_ctrl_c_change_nothing(capfd):
    """A launcher hands on the Ctrl-C that each process has had from the terminal."""
    with pytest.raises(Stopped) as stopped, listening(alone=False), patiently():
        for kind in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            send(kind)
        boundary("after step 3")
    assert stopped.value.code == 130
    assert capfd.readouterr().err.count("finishing the work in hand") == 1

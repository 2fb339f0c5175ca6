"""Stopping: a signal becomes a wish, which is granted where nothing is lost by it.

    SIGTERM, SIGUSR1   end at the next boundary with code 75: the same command goes on
    SIGINT (Ctrl-C)    the same with code 130; a second one ends at once

A boundary is a training step, whose checkpoint is then saved, or a block of the forecast store.
Outside of such work a signal ends at once: every file is whole or absent anyway (`files.py`).

Handlers are installed by `listening`, and before it by `at_start`, which the command line alone
calls. Under `diffsci.pipeline` called from Python there are none, `wanted` is always 0, and signals
do what the program says.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

RESUME_ME = 75
"""Exit code of a run that was asked to end and goes on by the same command (EX_TEMPFAIL)."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

AT_ONCE = "stopped at once; the work in hand is not saved, and all that was saved before it stays"
"""What is true outside of `patiently`: while data is read, or a whole product is made."""

_AGAIN_SECONDS = 0.05
"""After which an end that Python has dropped is asked for again."""

_ECHO_SECONDS = 2.0
"""A launcher of several processes hands on the Ctrl-C that its terminal gave to all of them."""


class Stopped(BaseException):  # noqa: N818  it is no error, as KeyboardInterrupt is none
    """The run ends because it was asked to; no `except Exception` may hold it up.

    Args:
        code: The exit code.
        where: What was saved last, as a clause.
    """

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"{where}; the same command goes on from there")
        self.code = code


class _Wish:
    """What this process was asked to do, and whether it waits for a boundary."""

    def __init__(self) -> None:
        self.code, self.since, self.patient, self.alone = 0, 0.0, 0, True
        self.failing = False


_wish = _Wish()


def wanted() -> int:
    """The exit code that was asked for by a signal; 0 where none was."""
    return _wish.code


@contextmanager
def patiently() -> Iterator[None]:
    """A block in which a signal waits for the next `boundary`, at the latest that at its end.

    Raises:
        Stopped: At either end, when a signal asked for it.
    """
    boundary("stopped before the next work was begun")
    _wish.patient += 1
    try:
        yield
    finally:
        _wish.patient -= 1
    boundary("stopped at the end of the work in hand")


_last_words: list[Callable[[], None]] = []


@contextmanager
def last_word(say: Callable[[], None]) -> Iterator[None]:
    """A block in which `say` is called where a second Ctrl-C ends the process at once.

    Args:
        say: Called by a signal's handler, in the middle of anything.
    """
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


@contextmanager
def failing() -> Iterator[None]:
    """A block that finds out why the run ends, which a signal neither cuts short nor changes.

    A launcher that misses one process asks the others to end: what they say must stay the cause.
    """
    before, _wish.failing = _wish.failing, True
    try:
        yield
    finally:
        _wish.failing = before


def boundary(where: str, code: int | None = None) -> None:
    """A place at which nothing is lost by ending.

    Args:
        where: What was saved last, as a clause.
        code: That was agreed on with other processes; none takes this process's own.

    Raises:
        Stopped: When a signal asked for it.
    """
    code = wanted() if code is None else code
    if code:
        raise Stopped(code, where)


@contextmanager
def listening(*, alone: bool = True) -> Iterator[None]:
    """Handle signals until the block ends, then as before; in other than the main thread, nothing.

    After a signal was granted the process is about to leave, which takes a moment: until it has, a
    Ctrl-C ends it at once, and other signals have nothing to add.

    Args:
        alone: Whether this is the only process of the run.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _wish.code, _wish.patient, _wish.alone, _wish.failing = 0, 0, alone, False
    before = {kind: signal.signal(kind, _handle) for kind in _kinds()}
    hook, sys.unraisablehook = sys.unraisablehook, partial(_dropped, sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for kind, handler in before.items():
            signal.signal(kind, _leave if _wish.code else handler)
        _wish.code = 0


def at_start() -> None:
    """Until a command has begun, a signal ends the process at once, by one line and its code."""
    for kind in _kinds():
        signal.signal(kind, _at_once)


def begun() -> None:
    """A command has begun: Ctrl-C is an exception again, until `listening`."""
    if signal.getsignal(signal.SIGINT) is _at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _kinds() -> list[signal.Signals]:
    kinds = [signal.SIGTERM, signal.SIGINT]
    kinds += [] if sys.platform == "win32" else [signal.SIGUSR1]
    # A shell without job control starts what is put in the background with SIGINT ignored, so that
    # Ctrl-C reaches the foreground alone; that stays so.
    return [kind for kind in kinds if _heard(kind)]


def _heard(kind: signal.Signals) -> bool:
    return kind != signal.SIGINT or signal.getsignal(kind) is not signal.SIG_IGN


def _at_once(number: int, _: FrameType | None) -> None:
    _say(f"\n{signal.Signals(number).name}: ended at once, before any work was begun\n")
    os._exit(_code_of(number))


def _code_of(number: int) -> int:
    return INTERRUPTED if number == signal.SIGINT else RESUME_ME


def _dropped(before: Callable[[Any], object], told: Any) -> None:  # noqa: ANN401  as Python's
    """Ask again for an end that came in the middle of a finaliser, whose exceptions Python drops.

    By a signal and not here: what is raised here is dropped too.
    """
    if not isinstance(told.exc_value, Stopped):
        before(told)
        return
    kind = signal.SIGINT if told.exc_value.code == INTERRUPTED else signal.SIGTERM
    _wish.code = 0
    again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), kind))
    again.daemon = True
    again.start()


def _handle(number: int, _: FrameType | None) -> None:
    again, now = _wish.code != 0, time.monotonic()
    if again and number == signal.SIGINT and (_wish.alone or now - _wish.since > _ECHO_SECONDS):
        for say in _last_words:
            with suppress(OSError):
                say()
        _say("\nended at once; the same command goes on from what was saved\n")
        os._exit(INTERRUPTED)
    if again:
        return
    _wish.code = _code_of(number)
    _wish.since = now
    name = signal.Signals(number).name
    if _wish.failing:
        return
    if not _wish.patient:
        raise Stopped(_wish.code, f"{name}: {AT_ONCE}")
    hint = "; Ctrl-C again ends at once" if number == signal.SIGINT else ""
    _say(f"\n{name}: finishing the work in hand, then stopping{hint}\n")


def _leave(number: int, _: FrameType | None) -> None:
    if number == signal.SIGINT:
        os._exit(INTERRUPTED)


def _say(text: str) -> None:
    """Without a buffer: a handler may stand in the middle of a write to the same stream."""
    if _wish.alone or os.environ.get("RANK", "0") == "0":
        os.write(2, text.encode())

"""Processes that end with the one that began them, however that one ends.

A process that is killed with -9 tells nobody. Those that it began read from a pipe of which it
alone holds the other end: when they come to the end of it, nobody is left to follow them, and they
stop as SIGTERM asks them to. What they have in hand is saved, and the folder's lock is free again.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ASKED = {"DIFFSCI_ENDS_WITH_STDIN": "yes"}
"""In the environment of a process that is to end when its standard input does."""

_SAID = b"\nthe process that began this one is gone: it is asked to stop, too (SIGTERM)\n"


@contextmanager
def lifeline() -> Iterator[int]:
    """Standard input for processes that are to end with this one, or with the block.

    They need `ASKED` in their environment, and call `end_with_it`.
    """
    reading, writing = os.pipe()  # neither is handed on, but as the input of who is given it
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def end_with_it() -> None:
    """Stop when the process that began this one is gone; nothing where that did not ask for it."""
    if not all(os.environ.pop(name, "") == value for name, value in ASKED.items()):
        return
    line, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # those that are begun from here find an empty input
    os.close(nothing)
    threading.Thread(target=_stop_at_the_end_of, args=(line,), daemon=True).start()


def _stop_at_the_end_of(line: int) -> None:
    while os.read(line, 1):
        pass
    os.write(2, _SAID)
    os.kill(os.getpid(), signal.SIGTERM)

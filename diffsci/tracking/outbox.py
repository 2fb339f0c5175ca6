"""Outbox: messages that a thread sends later, in order, and again while the receiver is away.

Whoever puts a message in never waits. A failure that trying again cannot cure drops its message;
any other keeps it, with longer and longer pauses.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Message = TypeVar("Message")

BATCH = 1000  # what MLflow takes in one call
KEPT = 200_000  # messages kept while the receiver is away: about 100 MB
PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


class Outbox(Generic[Message]):
    """A queue and its sender.

    Args:
        send: Takes the oldest messages, sends as many as go together, and returns how many; raises
            when none went.
        lasting: Whether an exception of `send` would come again for the same message.
        say: Told of every exception.
    """

    def __init__(
        self,
        send: Callable[[list[Message]], int],
        lasting: Callable[[Exception], bool],
        say: Callable[[Exception], None],
    ) -> None:
        self._send = send
        self._lasting = lasting
        self._say = say
        self._waiting: deque[Message] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._until: float | None = None
        self._dropped = 0
        self._thread = threading.Thread(target=self._work, name="diffsci-outbox", daemon=True)
        self._thread.start()

    def put(self, messages: list[Message]) -> None:
        """Queue messages; beyond a great number the oldest are dropped and counted."""
        with self._lock:
            self._waiting.extend(messages)
            while len(self._waiting) > KEPT:
                self._waiting.popleft()
                self._dropped += 1
            full = len(self._waiting) >= BATCH
        if full:
            self._wake.set()

    def close(self, seconds: float) -> int:
        """Send what is left for at most so long; returns how many messages were lost."""
        self._until = time.monotonic() + seconds
        self._wake.set()
        self._thread.join(seconds + 1.0)
        return len(self._waiting) + self._dropped

    def _work(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            if self._until is None:
                self._wake.wait(pause)
                self._wake.clear()
            closing = self._until
            if self._drain():
                pause = PAUSE_SECONDS
                if closing is not None:
                    return
                continue
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            if self._until is not None:
                if time.monotonic() > self._until:
                    return
                time.sleep(0.2)

    def _drain(self) -> bool:
        """Whether everything that waited was sent, or dropped for good."""
        while True:
            with self._lock:
                messages = [self._waiting[i] for i in range(min(BATCH, len(self._waiting)))]
                before = self._dropped
            if not messages:
                return True
            try:
                count = self._send(messages)
            except Exception as error:  # the receiver's drivers and sockets raise what they like
                self._say(error)
                if not self._lasting(error):
                    return False
                count = 1
            with self._lock:
                # Messages that were dropped for want of room meanwhile are off the queue already.
                for _ in range(count - (self._dropped - before)):
                    self._waiting.popleft()

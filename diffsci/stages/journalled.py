"""The tracker of a run: each metric is a line of the journal first, and then sent to MLflow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from diffsci.errors import StorageError
from diffsci.running.journal import Journal
from diffsci.tracking.tracker import Status, Tracker

log = logging.getLogger(__name__)


class Journalled(Tracker):
    """Writes metrics down, and hands all on.

    Args:
        journal: Of the run folder.
        sent: Where else they go.
    """

    def __init__(self, journal: Journal, sent: Tracker) -> None:
        self._journal, self._sent = journal, sent
        self.run_id, self.address, self.first = sent.run_id, sent.address, sent.first
        self._warned, self._lock = False, threading.Lock()

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Values at one step."""
        self._write(lambda: self._journal.add(values, step))
        self._sent.metrics(values, step)

    def go_on_from(self, step: int) -> None:
        """Forget what training will tell again."""
        self._write(lambda: self._journal.go_on_from(step))
        self._sent.go_on_from(step)

    def saved(self) -> None:
        """Flush the journal to the disk."""
        self._write(self._journal.sync)
        self._sent.saved()

    def artifact(self, path: Path, under: str = "") -> None:
        """A file, at the artifact root or under a folder; it must stay until `finish`."""
        self._sent.artifact(path, under)

    def note(self, text: str) -> None:
        """The run's description, in Markdown."""
        self._sent.note(text)

    def finish(self, status: Status = "FINISHED") -> None:
        """Close both."""
        self._write(self._journal.close)
        self._sent.finish(status)

    def _write(self, work: Callable[[], object]) -> None:
        try:
            with self._lock:  # metrics of the machine come from another thread
                work()
        except StorageError as error:  # a full disk ends the run where a checkpoint fails
            if not self._warned:
                self._warned = True
                log.warning("the journal has gaps: %s", error)

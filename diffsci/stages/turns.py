"""Points of a sweep in turn; one that another process writes comes when that has ended.

Such a process may be one of the sweep's own, whose sweep was killed: it saves what it has in hand
and ends. Or somebody runs the point by its name, and then it is found done.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from diffsci.running.locking import holder

log = logging.getLogger(__name__)


class Turns:
    """Names of the points that are still to be begun.

    Args:
        names: All of them, in order.
        folder: Of the sweep.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self.left, self._folder = list(names), folder
        self._told: set[str] = set()

    def next(self) -> str | None:
        """The first one that nobody writes, which is then no longer left; none where all are."""
        for name in self.left:
            held = holder(self._folder / name)
            if held is None or not held.alive:
                self.left.remove(name)
                return name
            if name not in self._told:
                self._told.add(name)
                log.info("sweep: %s waits until it is not written any more, by %s", name, held)
        return None

"""Points of a sweep in turn; one that another process writes comes when that has ended.

Such a process may be one of the sweep's own, whose sweep was killed: it saves what it has in hand
and ends. Or somebody runs the point by its name, and then it is found done. A point that begins
from another one of them comes when that has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffsci.running.locking import holder

log = logging.getLogger(__name__)


class Turns:
    """Names of the points that are still to be begun.

    Args:
        names: All of them, in order.
        folder: Of the sweep.
        after: The one that has to have ended before each, of those that wait for one.
    """

    def __init__(
        self, names: Sequence[str], folder: Path, after: Mapping[str, str] | None = None
    ) -> None:
        self.left, self._folder = list(names), folder
        self._after, self._open = after or {}, set(names)
        self._told: set[str] = set()

    def next(self) -> str | None:
        """The first one that need not wait, which is then no longer left; none where all must."""
        for name in self.left:
            if (source := self._after.get(name)) in self._open:
                self._tell(name, f"until {source} has ended, which it begins from")
                continue
            held = holder(self._folder / name)
            if held is None or not held.alive:
                self.left.remove(name)
                return name
            self._tell(name, f"until it is not written any more, by {held}")
        return None

    def ended(self, name: str) -> None:
        """One that was begun has ended, whatever by."""
        self._open.discard(name)

    def _tell(self, name: str, until: str) -> None:
        """Once of each."""
        if name not in self._told:
            self._told.add(name)
            log.info("sweep: %s waits %s", name, until)

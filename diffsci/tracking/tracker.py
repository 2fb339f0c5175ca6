"""Tracker: where a run reports to, whatever is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from diffsci.running.journal import Line

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(ABC):
    """Where a run reports to. No method raises, and none waits for a server."""

    run_id: str | None
    """MLflow's name of the run: hand it to `start` to go on with the same run."""

    address: str
    """The page that shows the run among the others of its experiment."""

    first: str = ""
    """What to do before that page can be opened, as a clause with its comma; empty for nothing."""

    @abstractmethod
    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Values at one step."""

    def go_on_from(self, step: int) -> None:
        """Training goes on after `step`: what it told of later steps, it will tell again."""
        return None

    def saved(self) -> None:
        """A checkpoint is about to be written: what was told so far must be as durable."""
        return None

    def fill(self, lines: Sequence[Line]) -> int:
        """Send points of a journal that the store lacks, at once; returns how many there were."""
        return 0

    @abstractmethod
    def artifact(self, path: Path, under: str = "") -> None:
        """A file, at the artifact root or under a folder; it must stay until `finish`."""

    @abstractmethod
    def note(self, text: str) -> None:
        """The run's description, in Markdown."""

    @abstractmethod
    def finish(self, status: Status = "FINISHED") -> None:
        """Send what is left, for some seconds at most, and close the run; again does nothing."""


class NullTracker(Tracker):
    """Tracking that is switched off, or that could not start."""

    run_id = None
    address = ""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Nothing."""

    def artifact(self, path: Path, under: str = "") -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def finish(self, status: Status = "FINISHED") -> None:
        """Nothing."""

"""Checkpoints off the step path: the step copies the state, and a thread writes it.

At most one is being written: the next one waits for it, so a slow disk slows the run and never
fills the memory. An error of the thread is raised by the next `save`, or at the end. The bytes are
those of `checkpoint.save`, and so is every state of the folder in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType

from torch import Tensor

from diffsci.running import locking
from diffsci.training import checkpoint
from diffsci.training.state import RunState


class Writer:
    """Writes a run's checkpoints; a context, at whose end all of them are on the disk.

    Args:
        folder: The run's `checkpoints/`.
        keep: Newest checkpoints kept.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        # One for each kind, used again and again: the system's pages cost more than the copy.
        self._blocks: dict[str, Tensor] = {}

    def save(self, state: RunState) -> None:
        """`checkpoint.save`, returning when the state is copied.

        Raises:
            StorageError: Of the one before this, or when the run folder was removed.
        """
        self._ready()
        copy = self._copy("step", state)
        self._begin(partial(checkpoint.write, self._folder, copy, keep=self._keep))

    def save_best(self, state: RunState) -> None:
        """`checkpoint.save_best`, returning when the average is copied.

        Raises:
            StorageError: Of the one before this, or when the run folder was removed.
        """
        self._ready()
        copy = self._copy("best", checkpoint.only_model(state))
        self._begin(partial(checkpoint.write_best, self._folder, copy))

    def save_snapshot(self, state: RunState) -> None:
        """Keep the averages by powers, returning when they are copied.

        Raises:
            StorageError: Of the one before this, or when the run folder was removed.
        """
        self._ready()
        copy = self._copy("power", checkpoint.only_powers(state))
        self._begin(partial(checkpoint.write_snapshot, self._folder, copy))

    def wait(self) -> None:
        """Return when nothing is being written.

        Raises:
            StorageError: When it could not be written; what was there before is.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            locking.require_there(self._folder.parent)  # else it is the cause
            raise error

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except BaseException as late:
            if error is None:
                raise
            error.add_note(f"and a checkpoint could not be written: {late}")

    def _ready(self) -> None:
        """Wait for the one before, and see that the folder still is the one that was locked."""
        self.wait()
        locking.require_there(self._folder.parent)

    def _copy(self, kind: str, state: RunState) -> checkpoint.Copy:
        copy = checkpoint.Copy.of(state, self._blocks.get(kind))
        block = copy.tensors._base
        self._blocks[kind] = copy.tensors if block is None else block
        return copy

    def _begin(self, work: Callable[[], object]) -> None:
        # A process that is to end at once does not wait for it: the one before stays whole.
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error


class Unwritten:
    """What another process writes: takes the same states, and keeps none."""

    def save(self, state: RunState) -> None:
        """Nothing."""

    def save_best(self, state: RunState) -> None:
        """Nothing."""

    def save_snapshot(self, state: RunState) -> None:
        """Nothing."""

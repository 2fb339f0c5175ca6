"""A writer beside the computing: what is made is written by a thread while the next is computed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType

_AHEAD = 2
"""Windows that may wait to be written; more would only fill the memory."""


class Writer:
    """Calls, made one after the other by a thread; an error of one is raised at the next `put`.

    As a context manager: at the end of the block all calls have been made. After an error of the
    block those that wait are left out.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(maxsize=_AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="store writer", daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._error is None:
            self._error = error  # what waits is left out
        self._waiting.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def put(self, call: Callable[..., None], *given: object) -> None:
        """Have a call made, when all before it have been; waits while two are waiting.

        Raises:
            StorageError: Of an earlier call, as whatever else went wrong in one.
        """
        self._raise()
        self._waiting.put(lambda: call(*given))

    def flush(self) -> None:
        """Wait until all calls have been made.

        Raises:
            StorageError: Of one of them, as whatever else went wrong in one.
        """
        self._waiting.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (call := self._waiting.get()) is not None:
            try:
                if self._error is None:
                    call()
            except BaseException as error:  # raised again where the work was ordered
                self._error = error
            finally:
                self._waiting.task_done()
        self._waiting.task_done()

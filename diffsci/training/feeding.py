"""Feeding: batches are assembled while steps run, by a thread or by processes; order is not theirs.

Which examples make a step is a pure function of seed and step (`order.py`), so that the numbers of
a run depend neither on how many workers there are nor on where it went on. A thread serves what
lies in memory, unless a batch is made sooner than it is handed over; processes serve what is read
from disk. A worker that dies ends the run by name, with the steps and the examples that it had in
hand; one that hangs is told so after 10 s, since it may just be slow, and ends the run after 10
minutes.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import DataLoader, Dataset

from diffsci.batch import Batch
from diffsci.errors import DataError
from diffsci.training.examples import Examples

log = logging.getLogger(__name__)

CHECK = 5.0
"""Seconds after which a worker that gives nothing is looked at: is it alive?"""

TELL = 10.0
"""Seconds of waiting for one batch, each time they have passed, after which the wait is told."""

PATIENCE = 600.0
"""Seconds of waiting for one batch after which a worker counts as lost; a thread cannot be ended.

A fetch that is tried again takes minutes at most."""

AHEAD = 2
"""Batches that each process makes ahead of the step that runs."""

HAND_OVER = 3e-4
"""Seconds that a batch in memory may take to be made between two steps, and not by the thread.

Handing over costs a step 0.2 to 0.4 ms: the two share one interpreter (measured, 5 ms a step).
"""

FEW = 3
"""Batches in a row that took less, before the thread is left out; it is taken again after as many
that took longer, and for twice as long each time, since a thread's time has no waiting for storage
in it."""

Order = Callable[[int], Int[np.ndarray, " batch"]]
"""The examples of a step."""


class Feed:
    """The batches of steps, one after the other.

    Args:
        examples: Where they come from; with workers they must go through `pickle`.
        order: The examples of each step.
        steps: One after the last step.
        workers: Processes; 0 takes a thread of this one.
    """

    def __init__(self, examples: Examples, order: Order, steps: int, workers: int = 0) -> None:
        self._examples, self._order, self._steps = examples, order, steps
        self._workers = workers
        self._pool: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[Batch]] | None = None
        self._batches: Iterator[Any] | None = None
        self._last: tuple[int, Batch] | None = None
        self._threaded, self._in_row, self._enough = True, 0, FEW

    def take(self, step: int) -> Batch:
        """The batch of a step, counted from 0; the one after it is begun.

        Raises:
            DataError: For what cannot be read, or a worker that died.
        """
        if self._last is None or self._last[0] != step:
            of = self._from_processes if self._workers else self._from_thread
            self._last = (step, of(step))
        return self._last[1]

    def close(self) -> None:
        """End the thread, or the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool, self._next, self._batches, self._last = None, None, None, None

    def _from_thread(self, step: int) -> Batch:
        known, self._next = self._next, None
        if known is None and not self._threaded:
            return self._between_steps(step)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="diffsci-feed")
        if known is None or known[0] != step:
            known = (step, self._pool.submit(self._beside, self._order(step)))
        batch = self._awaited(*known)
        if step + 1 < self._steps and self._threaded:
            self._next = (step + 1, self._pool.submit(self._beside, self._order(step + 1)))
        return batch

    def _beside(self, order: Int[np.ndarray, " batch"]) -> Batch:
        """A batch by the thread; after enough quick ones in a row it is left out."""
        # Its own time: that of the clock has the waiting for the interpreter in it, which the step
        # beside it holds.
        started = thread_time()
        batch = self._examples.batch(order)
        self._in_row = self._in_row + 1 if thread_time() - started < HAND_OVER else 0
        if self._in_row >= self._enough:
            self._threaded, self._in_row = False, 0
        return batch

    def _between_steps(self, step: int) -> Batch:
        """A batch without the thread; after a few slow ones in a row it is taken again."""
        started = perf_counter()
        batch = self._examples.batch(self._order(step))
        self._in_row = self._in_row + 1 if perf_counter() - started >= HAND_OVER else 0
        if self._in_row >= FEW:
            self._threaded, self._in_row, self._enough = True, 0, 2 * self._enough
        return batch

    def _awaited(self, step: int, future: Future[Batch]) -> Batch:
        """What the thread makes; a wait is told."""
        waited = 0.0
        while not (future.done() or wait([future], TELL).done):  # asking it alone is cheap
            waited += TELL
            self._tell(step, waited)
        return future.result()

    def _tell(self, step: int, waited: float) -> None:
        log.warning(
            "train: the examples %s of step %d are not read after %g s; still waiting",
            _words(self._order(step)),
            step + 1,
            waited,
        )

    def _from_processes(self, step: int) -> Batch:
        if self._batches is None or self._last is None or self._last[0] != step - 1:
            self._batches = self._loader(step)
        waited = 0.0
        while True:
            try:
                found = next(self._batches)
                break
            except RuntimeError as error:
                waited += CHECK
                hangs = "timed out" in str(error)
                if hangs and waited < PATIENCE:
                    if waited % TELL < CHECK:
                        self._tell(step, waited)
                    continue
                # They do not heed a SIGTERM, which the run alone answers.
                for worker in getattr(self._batches, "_workers", ()):
                    worker.kill()
                self._batches = None
                why = f"it gave nothing for {waited:g} s" if hangs else str(error).splitlines()[0]
                raise DataError(self._lost(step, why)) from error
        if isinstance(found, Exception):
            raise found
        batch: Batch = found
        return batch

    def _loader(self, first: int) -> Iterator[Any]:
        context = multiprocessing.get_context("forkserver")
        # Imported once, for all workers to begin with.
        context.set_forkserver_preload([type(self._examples).__module__])
        return iter(
            DataLoader(
                _Steps(self._examples, self._order),
                batch_size=None,
                sampler=range(first, self._steps),
                num_workers=self._workers,
                prefetch_factor=AHEAD,
                timeout=CHECK,
                generator=torch.Generator(),  # It draws a seed, and not from the global numbers.
                multiprocessing_context=context,
                worker_init_fn=_Begin(torch.get_num_threads()),
            )
        )

    def _lost(self, step: int, why: str) -> str:
        """Who is gone, and what was in hand."""
        last = min(step + AHEAD * self._workers, self._steps)
        shown = _words(np.concatenate([self._order(each) for each in range(step, last)]))
        return (
            f"a process that reads the training data is lost ({why}); "
            f"steps {step + 1} to {last} were in hand, of the examples {shown}; free memory, see "
            "whether the storage answers, or set runtime.workers=0, which reads in a thread"
        )


_SHOWN = 64


def _words(examples: Int[np.ndarray, " example"]) -> str:
    """Their numbers, the first of many."""
    return ", ".join(map(str, examples[:_SHOWN].tolist())) + (
        ", ..." if len(examples) > _SHOWN else ""
    )


class _Steps(Dataset[Any]):
    """Batches by step, as a worker makes them; what it cannot read comes back as the error."""

    def __init__(self, examples: Examples, order: Order) -> None:
        self.examples, self.order = examples, order

    def __getitem__(self, step: int) -> Batch | Exception:
        try:
            return self.examples.batch(self.order(step))
        except Exception as error:  # The process that trains raises it as its own.
            return error


class _Begin:
    """What a worker does first.

    Args:
        threads: Of torch, as in the process that trains: last bits may depend on them.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __call__(self, number: int) -> None:
        torch.set_num_threads(self.threads)
        threading.Thread(target=_end_with_the_run, daemon=True).start()
        # A signal goes to all processes of a terminal or a job; the one that trains answers it.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)


def _end_with_the_run() -> None:
    """End this worker when the process that trains is gone, however it went.

    Torch's workers look for the death of their parent. Here that is the server that forks them, and
    it lives as long as one of them: after a kill of the run both would stay for good.
    """
    run = multiprocessing.parent_process()
    assert run is not None
    run.join()
    os._exit(1)

"""What the machine and this process use while a run goes on, told to its tracker every so often.

A thread of its own looks, so that no step waits for it. The names are MLflow's, which shows them on
a page of their own; what it has no name for is `process_...`. They go the way of all metrics: a
line of the journal first, sent by the outbox, so that an outage of the store leaves no gap.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import torch

from diffsci.running import journal
from diffsci.tracking.tracker import Tracker

SECONDS = 10.0
PREFIX = "system/"

_MEGA = 1e6


@contextmanager
def watched(tracker: Tracker, folder: Path, seconds: float = SECONDS) -> Iterator[None]:
    """A block in which the tracker is told of the use of processor, memory and cards.

    Args:
        tracker: Of the run.
        folder: Of the run, whose journal says how often it was told before.
        seconds: From one time to the next.
    """
    ended, use = threading.Event(), _Use()
    step = 1 + max((line.step for line in _told(folder)), default=-1)

    def look() -> None:
        count = step
        while not ended.wait(seconds):
            tracker.metrics({PREFIX + name: value for name, value in use.now().items()}, count)
            count += 1

    thread = threading.Thread(target=look, name="diffsci-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _told(folder: Path) -> Iterator[journal.Line]:
    for line in journal.read(folder / journal.NAME):
        if any(name.startswith(PREFIX) for name in line.values):
            yield line


class _Use:
    """Shares since the last time, and sizes as they are."""

    def __init__(self) -> None:
        self._seconds, self._since = 0.0, monotonic()
        with suppress(ImportError):
            self._of_processes()
            self._of_the_machine()  # which counts from its first call on

    def now(self) -> dict[str, float]:
        """Each number by its name, of what can be asked here."""
        found: dict[str, float] = {}
        for part in (self._of_the_machine, self._of_processes, self._of_cards):
            # Whatever a library of counters raises, it must not end the run.
            with suppress(Exception):
                found |= part()
        return found

    def _of_the_machine(self) -> dict[str, float]:
        import psutil

        memory = psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGA,
            "system_memory_usage_percentage": memory.percent,
        }

    def _of_processes(self) -> dict[str, float]:
        """This one and its workers; a hundred per cent are one core."""
        import psutil

        seconds, size, now = 0.0, 0, monotonic()
        this = psutil.Process()
        for each in (this, *this.children(recursive=True)):
            with suppress(psutil.Error):  # it may have ended by now
                times = each.cpu_times()
                seconds += times.user + times.system
                size += each.memory_info().rss
        share = max(0.0, seconds - self._seconds) / max(1e-9, now - self._since)
        self._seconds, self._since = seconds, now
        return {"process_cpu_percentage": 100 * share, "process_memory_megabytes": size / _MEGA}

    def _of_cards(self) -> dict[str, float]:
        """The CUDA devices on which this process has memory."""
        found: dict[str, float] = {}
        # Asking a card that was not used yet would take memory on it.
        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        count = torch.cuda.device_count() if used else 0
        for number in (n for n in range(count) if torch.cuda.memory_reserved(n)):
            free, total = torch.cuda.mem_get_info(number)
            sizes = {
                "memory_usage_megabytes": (total - free) / _MEGA,
                "memory_usage_percentage": 100 * (total - free) / total,
                "process_memory_megabytes": torch.cuda.memory_reserved(number) / _MEGA,
                "process_memory_peak_megabytes": torch.cuda.max_memory_reserved(number) / _MEGA,
            }
            found |= {f"gpu_{number}_{name}": value for name, value in sizes.items()}
            # By a library that not everybody has, nvidia-ml-py.
            with suppress(ImportError, RuntimeError):
                busy = torch.cuda.utilization(number)
                found[f"gpu_{number}_utilization_percentage"] = float(busy)
        return found

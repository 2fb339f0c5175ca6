"""What the machine uses is a line of the journal every so often, and no step waits for it."""

import sys
import threading
import types

import pytest
import torch

from diffsci.running import journal
from diffsci.running.journal import Journal
from diffsci.stages import watching
from diffsci.stages.journalled import Journalled
from diffsci.stages.watching import watched
from diffsci.tracking.tracker import NullTracker

PROCESSES = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/system_memory_usage_percentage",
    "system/process_cpu_percentage",
    "system/process_memory_megabytes",
}


class Counting(NullTracker):
    """Says when it was told so often."""

    def __init__(self, count):
        self.left, self.enough = count, threading.Event()

    def metrics(self, values, step=0):
        self.left -= 1
        if self.left == 0:
            self.enough.set()


def told(folder, count):
    """Lines of the journal after it was told so often more."""
    sent = Counting(count)
    tracker = Journalled(Journal(folder / journal.NAME), sent)
    with watched(tracker, folder, seconds=0.001):
        assert sent.enough.wait(60)
    tracker.finish()
    return [line for line in journal.read(folder / journal.NAME) if PROCESSES & set(line.values)]


def test_every_so_often_a_line_is_told_and_a_run_that_goes_on_counts_on(tmp_path):
    lines = told(tmp_path, 3)
    assert all(set(line.values) == PROCESSES for line in lines)
    more = told(tmp_path, 3)
    assert len(more) >= len(lines) + 3
    assert [line.step for line in more] == list(range(len(more)))
    sizes = [line.values["system/process_memory_megabytes"] for line in lines]
    # Of a process that has torch, in units of a million bytes.
    assert all(50 < size < 1e5 for size in sizes)
    shares = [line.values["system/process_cpu_percentage"] for line in lines]
    assert all(share >= 0 for share in shares)
    assert not [thread for thread in threading.enumerate() if thread.name == "diffsci-watch"]


def test_training_that_tells_again_what_it_told_leaves_these_lines(tmp_path):
    lines = told(tmp_path, 2)
    training = Journal(tmp_path / journal.NAME)
    training.add({"train/loss": 1.0}, 1)
    training.go_on_from(0)
    kept = journal.read(tmp_path / journal.NAME)
    assert [line.step for line in kept] == [line.step for line in lines]


def test_a_share_is_processor_seconds_over_seconds(monkeypatch):
    """A process of 1.5 cores, with a worker of half a core and two hundred megabytes each."""
    now, spent = [10.0], [3.0]

    class Process:
        def __init__(self, factor=1.0):
            self.factor = factor

        def children(self, recursive):
            assert recursive
            return [Process(1 / 3)]

        def cpu_times(self):
            return types.SimpleNamespace(user=self.factor * spent[0], system=0.0)

        def memory_info(self):
            return types.SimpleNamespace(rss=200_000_000)

    import psutil

    monkeypatch.setattr(psutil, "Process", Process)
    monkeypatch.setattr(watching, "monotonic", lambda: now[0])
    use = watching._Use()
    now[0], spent[0] = 14.0, 3.0 + 4 * 1.5
    found = use.now()
    assert found["process_cpu_percentage"] == pytest.approx(200.0)
    assert found["process_memory_megabytes"] == pytest.approx(400.0)


def test_of_cards_those_are_told_that_this_process_uses(monkeypatch):
    """Of two, the second; with its utilisation where the library for that is there."""
    card = {
        "is_initialized": lambda: True,
        "device_count": lambda: 2,
        "memory_reserved": lambda n: 3_000_000 * n,
        "max_memory_reserved": lambda n: 4_000_000 * n,
        "mem_get_info": lambda n: (60_000_000, 80_000_000),
        "utilization": lambda n: 37,
    }
    for name, value in card.items():
        monkeypatch.setattr(torch.cuda, name, value)
    expected = {
        "gpu_1_memory_usage_megabytes": 20.0,
        "gpu_1_memory_usage_percentage": 25.0,
        "gpu_1_process_memory_megabytes": 3.0,
        "gpu_1_process_memory_peak_megabytes": 4.0,
    }
    use = watching._Use()
    assert use._of_cards() == expected | {"gpu_1_utilization_percentage": 37.0}

    def missing(number):
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", missing)
    assert use._of_cards() == expected


def test_without_a_card_or_the_library_of_the_processor_nothing_is_told_and_nothing_fails(
    monkeypatch,
):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert watching._Use().now() == {}

import resource

import pytest
import torch

from diffsci.training import memory

CELLS = 2**24
PAGES = 4 * CELLS // resource.getpagesize()


def faults():
    """Pages that the system had to map for a block that was there before."""
    torch.ones(CELLS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(CELLS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_stays_with_the_process_inside_the_block_alone():
    if memory._glibc() is None:
        pytest.skip("not glibc")
    with memory.kept():
        assert faults() < 0.05 * PAGES
    assert faults() > 0.95 * PAGES


def test_where_the_library_is_another_nothing_is_done(monkeypatch):
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with memory.kept():
        assert faults() > 0


def test_freed_memory_is_given_back_at_the_end():
    if memory._glibc() is None:
        pytest.skip("not glibc")
    with memory.kept():
        torch.ones(CELLS)
        held = _resident()
    assert held - _resident() > 0.9 * PAGES


def _resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1])

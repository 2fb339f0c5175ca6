"""Batches from a thread and from processes: the same, in the order of the steps; the dead named."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import psutil
import pytest
import torch

from diffsci.errors import DataError
from diffsci.training import feeding
from diffsci.training.feeding import Feed
from tests.training.tiny import (
    TinyExamples,
    clone,
    digest,
    tiny_denoiser,
    tiny_section,
    tiny_train,
    told,
    whole_run,
)


def order(step):
    return np.array([step, step + 1])


class Faulty(TinyExamples):
    """Cannot give the examples of step 3, in one of several ways."""

    def __init__(self, way):
        super().__init__(20)
        self.way = way

    def batch(self, index):
        if index[0] == 3:
            if self.way == "data":
                raise DataError("a.zarr: variable t2m at time=2001: its checksum does not fit")
            if self.way == "hangs":
                time.sleep(3600)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(index)


@pytest.mark.parametrize("steps", [range(5), range(2, 5), [0, 0, 1, 1, 2], [3, 1, 4]])
def test_each_step_gets_its_own_batch_and_a_thread_makes_the_next(steps):
    examples = TinyExamples(20)
    feed = Feed(examples, order, steps=5)
    for step in steps:
        assert torch.equal(feed.take(step).target, TinyExamples(20).batch(order(step)).target)
    feed.close()
    assert max(max(asked) for asked in examples.asked) <= 5  # none beyond the last step
    assert not [t for t in threading.enumerate() if t.name.startswith("diffsci-feed")]


class Noting(TinyExamples):
    """Remembers which thread made each batch; some take longer than to hand them over."""

    def __init__(self, slow):
        super().__init__(40)
        self.slow, self.made = slow, {}

    def batch(self, index):
        self.made[int(index[0])] = threading.current_thread() is threading.main_thread()
        if int(index[0]) in self.slow:
            time.sleep(0.2)
        return super().batch(index)


def test_batches_that_take_less_than_to_hand_them_over_are_made_at_once(monkeypatch):
    monkeypatch.setattr(feeding, "HAND_OVER", 0.2)  # however busy the machine is
    examples = Noting(slow={order(step)[0] for step in (4, 8, 9, 10)})
    feed = Feed(examples, order, steps=20)
    for step in range(19):
        assert torch.equal(feed.take(step).target, TinyExamples(40).batch(order(step)).target)
    feed.close()
    # The first three show how long they take; one slow one is chance, and three in a row bring the
    # thread back, for twice as many: sleeping does not count as its time, as waiting for a disk.
    made = [step for step in range(19) if examples.made[int(order(step)[0])]]
    assert made == [3, 4, 5, 6, 7, 8, 9, 10, 17, 18]


def test_a_fault_in_the_thread_is_that_of_its_step():
    feed = Feed(Faulty("data"), order, steps=5)
    for step in range(3):
        feed.take(step)
    with pytest.raises(DataError, match="its checksum does not fit"):
        feed.take(3)
    feed.close()


def test_with_workers_a_run_has_the_same_bits_and_goes_on_to_them():
    section = tiny_section(steps=8)
    losses, states = whole_run(section)
    for resume, begin in ((None, 0), (states[4], 5)):
        found, last = [], None
        steps = tiny_train(
            tiny_denoiser(seed=0 if resume is None else 9), TinyExamples(), section,
            valid=TinyExamples(5, seed=1), resume=resume, workers=2,
        )  # fmt: skip
        for step in steps:
            found.append(told(step))
            last = clone(step.state())
        assert found == losses[begin:] and digest(last) == digest(states[-1])
    assert not multiprocessing.active_children()


def test_what_a_worker_cannot_read_is_the_same_error():
    feed = Feed(Faulty("data"), order, steps=5, workers=1)
    for step in range(3):
        feed.take(step)
    with pytest.raises(DataError, match=r"^a.zarr: variable t2m at time=2001: its checksum does"):
        feed.take(3)
    feed.close()


def test_a_worker_that_dies_is_named_with_what_it_had_in_hand():
    feed = Feed(Faulty("killed"), order, steps=9, workers=2)
    with pytest.raises(DataError) as caught:
        for step in range(9):
            feed.take(step)
    feed.close()
    text = str(caught.value)
    assert "pid(s)" in text and "runtime.workers=0" in text
    assert f"steps {step + 1} to {min(step + 4, 9)} were in hand" in text
    assert f"of the examples {step}, {step + 1}, {step + 1}, {step + 2}, " in text


def test_a_worker_that_hangs_is_told_and_then_named_and_ended(monkeypatch, caplog):
    for name, seconds in (("CHECK", 1.0), ("TELL", 2.0), ("PATIENCE", 4.0)):
        monkeypatch.setattr(feeding, name, seconds)
    feed = Feed(Faulty("hangs"), order, steps=9, workers=1)
    began = {process.pid for process in multiprocessing.active_children()}
    lost = r"\(it gave nothing for 4 s\); steps 4 to 5 were in hand, of the examples 3, 4, 4, 5; "
    with pytest.raises(DataError, match=lost):
        for step in range(9):
            feed.take(step)
    feed.close()
    assert "the examples 3, 4 of step 4 are not read after 2 s; still waiting" in caplog.text
    left = [each for each in multiprocessing.active_children() if each.pid not in began]
    for each in left:
        each.join(10)
    assert not any(each.is_alive() for each in left)


def test_a_thread_that_is_slow_is_told(monkeypatch, caplog):
    class Slow(TinyExamples):
        def batch(self, index):
            time.sleep(0.3)
            return super().batch(index)

    monkeypatch.setattr(feeding, "TELL", 0.1)
    feed = Feed(Slow(20), order, steps=1)
    feed.take(0)
    feed.close()
    assert "the examples 0, 1 of step 1 are not read after 0.1 s; still waiting" in caplog.text


KILLED = """
import os, signal, time
import psutil
from diffsci.training.feeding import Feed
from tests.training.test_feeding import TinyExamples, order

feed = Feed(TinyExamples(200), order, steps=99, workers=1)
feed.take(0)
print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_is_killed_leaves_no_worker_behind():
    """Nor the server that forks them."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [int(pid) for pid in done.stdout.split()]
    assert len(left) >= 2
    for _ in range(600):
        left = [pid for pid in left if is_there(pid)]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(left)


def is_there(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_order_goes_through_pickle():
    from diffsci.training import loop

    made = partial(loop._order, 3, 4, 10, slice(1, 3))
    assert made(2).tolist() == loop.examples_of_step(3, 2, 4, 10)[1:3].tolist()

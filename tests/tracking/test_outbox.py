import threading
import time

from diffsci.tracking import outbox
from diffsci.tracking.outbox import Outbox


class Receiver:
    """Takes at most three messages at once, and fails as it is told."""

    def __init__(self):
        self.got = []
        self.away = False
        self.errors = []

    def send(self, messages):
        if self.away:
            raise ConnectionError("away")
        if messages[0] == "bad":
            raise ValueError("refused")
        part = messages[:3]
        if "bad" in part:
            part = part[: part.index("bad")]
        self.got += part
        return len(part)

    def box(self):
        return Outbox(self.send, lambda error: isinstance(error, ValueError), self.errors.append)


def test_messages_arrive_in_order_and_a_refused_one_stops_no_other():
    receiver = Receiver()
    box = receiver.box()
    box.put([1, 2, "bad", 3, 4, 5, 6])
    box.put([7])
    assert box.close(5.0) == 0
    assert receiver.got == [1, 2, 3, 4, 5, 6, 7]
    assert [str(error) for error in receiver.errors] == ["refused"]


def test_what_waited_through_an_outage_is_sent_once(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSE_SECONDS", 0.01)
    receiver = Receiver()
    receiver.away = True
    box = receiver.box()
    for number in range(100):
        box.put([number])
    while not receiver.errors:
        time.sleep(0.01)
    assert not receiver.got
    receiver.away = False
    assert box.close(60.0) == 0
    assert receiver.got == list(range(100))


def test_closing_while_the_receiver_is_away_ends_in_time_and_counts_the_loss():
    receiver = Receiver()
    receiver.away = True
    box = receiver.box()
    box.put([1, 2, 3])
    assert box.close(0.5) == 3


def test_a_receiver_that_hangs_holds_nobody():
    """Else the test would not end: it takes what it was given when all else is over."""
    begun, release = threading.Event(), threading.Event()

    def hang(messages):
        begun.set()
        release.wait()
        return 1

    box = Outbox(hang, lambda error: False, lambda error: None)
    box.put([1])
    box._wake.set()
    assert begun.wait(60)
    for number in range(2, 101):
        box.put([number])
    assert box.close(0.2) == 100
    release.set()


def test_the_queue_is_bounded_and_drops_the_oldest(monkeypatch):
    monkeypatch.setattr(outbox, "KEPT", 10)
    receiver = Receiver()
    receiver.away = True
    box = receiver.box()
    box.put(list(range(25)))
    receiver.away = False
    assert box.close(5.0) == 15
    assert receiver.got == list(range(15, 25))

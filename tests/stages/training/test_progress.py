"""What is told of training: pace, waiting, time left."""

from dataclasses import replace

import pytest

from diffsci.sections import Train
from diffsci.stages.training.progress import Pace, Progress, duration
from diffsci.tracking.tracker import NullTracker
from diffsci.training.step import Step


def step(number, seconds=0.5, wait=0.1, ended=None):
    given = {"loss": 1.0, "grad_norm": 1.0, "lr": 1.0, "state": lambda: None}
    return Step(step=number, seconds=seconds, wait=wait, ended=ended, **given)


def test_a_slow_first_step_of_a_call_does_not_count_for_the_rest():
    """One of a minute that compiles, then two steps a second: half a second for each one left."""
    pace = Pace(batch_size=8)
    pace.add(step(101, seconds=60.0), now=1000.0)
    assert pace.steps_per_second == pytest.approx(1 / 60)
    for k in range(1, 5):
        pace.add(step(101 + k), now=1000.0 + 0.5 * k)
    assert pace.steps_per_second == pytest.approx(2.0)


def test_samples_a_second_and_waiting_are_those_since_they_were_last_told():
    pace = Pace(batch_size=8)
    pace.add(step(1, seconds=2.0, wait=1.0), now=10.0)
    assert pace.take() == pytest.approx((8 / 2, 0.5))
    pace.add(step(2, seconds=0.5, wait=0.1), now=10.5)
    pace.add(step(3, seconds=0.5, wait=0.0), now=12.0)  # a second of it was a checkpoint
    assert pace.take() == pytest.approx((16 / 2, 0.1))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "0 s"), (119.0, "119 s"), (720.0, "12 min"), (12e3, "3 h 20 min"), (190.8e3, "2 d 5 h")],
)
def test_a_duration_is_told_in_units_that_matter(seconds, told):
    assert duration(seconds) == told


def test_a_validation_is_told_in_the_first_line_after_it_alone(caplog):
    caplog.set_level("INFO")
    progress = Progress(0, Train(steps=9, log_every=1), NullTracker())
    for number, validation in enumerate((None, 0.25, None, 0.5), start=1):
        progress.show(replace(step(number), validation=validation))
    lines = [each.getMessage() for each in caplog.records]
    told = [line.partition(", validation ")[2][:6] for line in lines]
    assert told == ["", "0.2500", "", "0.5000"]


def test_a_small_loss_is_told_with_the_digits_that_it_has(caplog):
    caplog.set_level("INFO")
    progress = Progress(0, Train(steps=9, log_every=1), NullTracker())
    progress.show(replace(step(1), loss=1.2345e-5, validation=0.0))
    assert "loss 1.234e-05, validation 0.000, " in caplog.text


@pytest.mark.parametrize(
    ("at", "why", "told"),
    [(4, "patience", True), (4, "hours", True), (9, "steps", False), (4, None, False)],
)
def test_what_ends_a_training_before_its_last_step_is_told(caplog, at, why, told):
    caplog.set_level("INFO")
    progress = Progress(0, Train(steps=9), NullTracker())
    progress.show(step(at, ended=why))
    assert (f"train: ended after step {at} by train.{why}" in caplog.text) == told


@pytest.mark.parametrize(("hours", "told"), [(None, "2 d 7 h left"), (2.0, "50 min left")])
def test_no_more_time_is_told_to_be_left_than_a_run_may_take(caplog, monkeypatch, hours, told):
    """A step each two seconds and 100,000 of them; of two hours 70 minutes were used before."""
    caplog.set_level("INFO")
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    section = Train(steps=100_000, log_every=1, hours=hours, schedule="constant")
    progress = Progress(0, section, NullTracker(), spent=4200.0)
    progress.show(step(1, seconds=2.0))
    assert told in caplog.text

"""What is told of training while it runs: a bar in a terminal, log lines elsewhere, and metrics."""

from __future__ import annotations

import logging
import math
import sys
import time

from tqdm import tqdm

from diffsci.sections import Train
from diffsci.tracking.tracker import Tracker
from diffsci.training.step import Step

log = logging.getLogger(__name__)


class Pace:
    """How fast steps follow one another, and what share of them is waiting for data.

    Of a call's first step only the end counts: it compiles, fills caches and reads cold files, so
    that an estimate right after going on would be far too long.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.steps, self.first, self.last = 0, 0.0, 0.0
        self._begin(0.0)

    def _begin(self, now: float) -> None:
        self.since, self.some, self.seconds, self.wait = now, 0, 0.0, 0.0

    def add(self, step: Step, now: float) -> None:
        """One step more, which ended `now`."""
        self.steps, self.last = self.steps + 1, now
        if self.steps == 1:
            self.first = now
            self._begin(now - step.seconds)
        self.some += 1
        self.seconds += step.seconds
        self.wait += step.wait

    @property
    def steps_per_second(self) -> float:
        """Of all steps of this call, with validation and checkpoints in between."""
        if self.steps == 1:
            return 1 / max(1e-9, self.seconds)
        return (self.steps - 1) / max(1e-9, self.last - self.first)

    def take(self) -> tuple[float, float]:
        """Samples a second, and the share of waiting for data, since this was asked for last."""
        samples = self.some * self.batch_size / max(1e-9, self.last - self.since)
        share = self.wait / max(1e-9, self.seconds)
        self._begin(self.last)
        return samples, share


class Progress:
    """A bar in a terminal, a line every `log_every` steps elsewhere, and the tracker's metrics.

    Args:
        begun: Steps that were done before this call.
        section: How many there are, and how long they may take.
        tracker: Told of losses.
        spent: Seconds of `train.hours` that calls before used.
    """

    def __init__(self, begun: int, section: Train, tracker: Tracker, spent: float = 0.0) -> None:
        self.every, self.steps, self.tracker = section.log_every, section.steps, tracker
        self.bar = tqdm(
            total=section.steps,
            initial=begun,
            unit="step",
            disable=not sys.stderr.isatty(),
            desc="train",
        )
        self.pace = Pace(section.batch_size)
        hours = math.inf if section.hours is None else section.hours
        self.until = time.monotonic() + 3600 * hours - spent
        self.loss: float | None = None
        self.validation: float | None = None
        self.crps: float | None = None

    def show(self, step: Step) -> None:
        """Tell of one step."""
        # Single losses jump with the noise level drawn; the eye wants their trend.
        if not step.skipped:
            self.loss = step.loss if self.loss is None else 0.98 * self.loss + 0.02 * step.loss
        self.bar.update(1)
        self.pace.add(step, time.monotonic())
        for note in step.notes:
            log.warning("%s", note)
        if step.validation is not None:
            self.validation = step.validation
            score = {} if step.crps is None else {"val/crps": step.crps}
            self.tracker.metrics({"val/loss": step.validation} | score, step.step)
            self.crps = step.crps
        if step.step % self.every and not step.ended:
            return
        rate, (samples, wait) = self.pace.steps_per_second, self.pace.take()
        by_level = step.by_level or {}
        of_the_batch = {} if step.skipped else {"loss": step.loss, "grad_norm": step.grad_norm}
        self.tracker.metrics(
            {f"train/{name}": value for name, value in of_the_batch.items()}
            | {
                "train/lr": step.lr,
                "train/steps_per_second": rate,
                "train/samples_per_second": samples,
                "train/data_wait_share": wait,
            }
            | {f"train/loss_by_level/{centre:.3g}": loss for centre, loss in by_level.items()},
            step.step,
        )
        loss = "no loss" if self.loss is None else f"loss {self.loss:#.4g}"
        valid = "" if self.validation is None else f", validation {self.validation:#.4g}"
        valid += "" if self.crps is None else f", CRPS {self.crps:#.4g}"
        speed = f"{samples:.4g} samples/s, {wait:.0%} waiting for data"
        self.bar.set_postfix_str(f"{loss}{valid}, {speed}")
        if self.bar.disable:
            self.validation = self.crps = None  # a bar keeps showing the last one, a line tells it
            log.info(
                "train: step %d of %d, %s%s, %s, %s left",
                step.step,
                self.steps,
                loss,
                valid,
                speed,
                duration(self._left(step.step, rate)),
            )

        if step.ended and step.step < self.steps:
            log.info("train: ended after step %d by train.%s", step.step, step.ended)

    def _left(self, step: int, steps_per_second: float) -> float:
        """Seconds until the last step, or until the time is used up."""
        of_time = max(0.0, self.until - time.monotonic())
        return min(of_time, (self.steps - step) / max(1e-9, steps_per_second))

    def close(self) -> None:
        """Leave the terminal tidy."""
        self.bar.close()


def duration(seconds: float) -> str:
    """Seconds in the largest units that matter: `45 s`, `12 min`, `3 h 20 min`, `2 d 5 h`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"

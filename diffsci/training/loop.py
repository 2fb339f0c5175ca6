"""The training loop: a generator of steps that logs nothing and saves nothing; its consumer does.

    for step in train(denoiser, examples, section, objective=..., seed=0, device=..., ...):
        if step.step % section.checkpoint_every == 0:
            checkpoint.save(folder, step.state(), keep=section.keep)

Step k is a pure function of the state after k - 1 steps, the seed and k. So a run may be stopped
anywhere: on the CPU, with as many threads, the resumed run gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import Losses
from diffsci.diffusion.objectives.base import Objective
from diffsci.errors import ConfigError, NumericsError
from diffsci.grid import Grid
from diffsci.runtime import Device, as_written
from diffsci.sections import Train
from diffsci.training import augment, by_level, distributed, sharding
from diffsci.training.examples import Examples
from diffsci.training.feeding import Feed
from diffsci.training.finite import Buffers, Names, explain
from diffsci.training.gradient import Gradient
from diffsci.training.judging import Judge
from diffsci.training.live import Live
from diffsci.training.losses import Loss
from diffsci.training.optimiser import learning_rate, set_rate
from diffsci.training.order import deterministic, examples_of_step
from diffsci.training.reading import read
from diffsci.training.rollout import Stepper
from diffsci.training.state import RunState, require_same
from diffsci.training.step import Step as Step
from diffsci.training.validation import losses_of


def train(
    denoiser: Denoiser,
    examples: Examples,
    section: Train,
    *,
    objective: Objective,
    seed: int,
    device: Device,
    grid: Grid | None = None,
    stepper: Stepper | None = None,
    valid: Examples | None = None,
    judge: Judge | None = None,
    resume: RunState | None = None,
    allow: Sequence[str] = (),
    wish: Callable[[], bool] | None = None,
    workers: int = 0,
    names: Names | None = None,
    weights: Sequence[float] | None = None,
) -> Iterator[Step]:
    """Steps of a run from the beginning, or from `resume`, until it ends (see `ending.py`).

    Trains `denoiser` in place, laid out on `device`; reseeds torch's global generator in each step.
    Under `torchrun` each process calls this with the same arguments and takes its rows of a batch.

    Args:
        denoiser: What `losses` trains.
        examples: The training set.
        section: Steps, batch, rates and augmentation.
        objective: Levels and weights of the loss.
        seed: Of the order and of all noise.
        device: Where and how to compute.
        grid: Of the examples; needed for `flip` and `shift`.
        stepper: Of the task; needed for `rollout`.
        valid: The validation set; of a large one, examples evenly spread.
        judge: Measures the CRPS of validations; needed for `validate_crps`.
        resume: A saved state to go on from; a finished one gives no steps.
        allow: Keys of settings that may differ from those of `resume`.
        wish: Whether this process wishes to stop; all learn of it in `Step.stop` of the same step.
        workers: Processes that assemble batches; 0 takes a thread. No number depends on it.
        names: What examples are, to tell of those that are not finite.
        weights: How much each channel of the target counts; none for all alike.

    Raises:
        ConfigError: When there are no examples, or `resume` is of another run.
        NumericsError: From the iterator, before the optimiser step that would spoil the weights.
    """
    if len(examples) == 0 or (valid is not None and len(valid) == 0):
        raise ConfigError(
            "data.split: the train or valid part holds no example: widen its time or samples"
        )
    if grid is not None:
        augment.check(section, grid)
    if valid is None:
        section.refuse_without_validation()
    distributed.check_batch(section.batch_size, distributed.current(), section.accumulate)
    backprop = None if section.rollout is None else section.rollout.backprop
    # Laid out first: weights of fields lie where the denoiser computes.
    loss = Loss(device.laid_out(denoiser), objective, stepper, backprop, weights)
    run = _Run(loss, examples, section, seed, device, grid, valid)
    run.wish, run.judge, run.workers, run.names = wish, judge, workers, names
    if resume is not None:
        require_same(resume.settings, run.live.settings, allow)
        if resume.step > section.steps:
            raise ConfigError(
                f"train.steps: got {section.steps}, but this run has {resume.step} steps already, "
                "and steps are not taken back: train fewer under another `name=`"
            )
        run.live.go_on_from(resume)
    return run.steps()


def _order(seed: int, batch_size: int, count: int, rows: slice, step: int) -> np.ndarray:
    """The examples of a step that are this rank's."""
    return examples_of_step(seed, step, batch_size, count)[rows]


class _Run:
    """The steps of a run; all that they depend on is given, or in `live`."""

    def __init__(
        self,
        loss: Loss,
        examples: Examples,
        section: Train,
        seed: int,
        device: Device,
        grid: Grid | None,
        valid: Examples | None,
    ) -> None:
        self.loss, denoiser, objective = loss, loss.denoiser, loss.objective
        self.denoiser, self.examples, self.valid = denoiser, examples, valid
        self.section, self.grid, self.seed = section, grid, seed
        self.way, self.device = device, next(denoiser.parameters()).device
        self.ranks = distributed.current()
        self.rows = self.ranks.rows(section.batch_size)
        self.wish: Callable[[], bool] | None = None
        self.judge: Judge | None = None
        self.names: Names | None = None
        self.errors = list[float]()
        self.stop = False
        # Before the average is begun: it makes the weights of all ranks equal, or shares them out.
        self.gradient = Gradient(self.loss, section, grid, seed, device, self.ranks)
        self.parameters = [p for p in denoiser.parameters() if p.requires_grad]
        self.live = Live(denoiser, section, objective, seed, device, len(examples))
        skips = section.on_bad == "skip" or self.live.scaler is not None
        self.buffers, self.by_levels = Buffers(denoiser, watched=skips), not objective.direct
        self.order = partial(_order, seed, section.batch_size, len(examples), self.rows)
        self.workers = 0

    def steps(self) -> Iterator[Step]:
        self.feed = Feed(self.examples, self.order, self.section.steps, self.workers)
        with closing(self.feed):
            yield from self._steps()

    def _steps(self) -> Iterator[Step]:
        if self._goes_on and self.gradient.may_fail_alone:
            with deterministic(self.way.deterministic):
                self.gradient.try_compiled(self.live.step, self._given()[1])
        while self._goes_on:
            # Entered anew for each step: between two, the switches are as the consumer left them.
            with deterministic(self.way.deterministic):
                done = self._advance()
            yield done

    @property
    def _goes_on(self) -> bool:
        return self.live.ending.reason is None and self.live.step < self.section.steps

    def _given(self) -> tuple[np.ndarray, Batch]:
        """Numbers of the next step's examples of this rank, and what they are."""
        return self.order(self.live.step), self.feed.take(self.live.step).to(self.device)

    def _advance(self) -> Step:
        section, started = self.section, perf_counter()
        index, batch = self._given()
        wait = perf_counter() - started
        for parameter in self.parameters:  # as `zero_grad` does, in a third of the time
            parameter.grad = None
        self.buffers.keep()
        scale = 1.0 if self.live.scaler is None else self.live.scaler.scale
        found, batch = self.gradient(self.live.step, batch, scale)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.way.sharded:
            gradients = [sharding.own(each) for each in gradients]
        value, norm, over = self._read(found, gradients)
        rate = learning_rate(self.live.step, section)
        skipped = not (math.isfinite(value) and math.isfinite(norm))
        if not skipped:
            note = self.live.recent.note(
                self.live.step + 1, value, section.spike, index, found.loss
            )
            self.live.recent.add(value)
            self._update(gradients, norm, rate)
        else:
            note = self._leave_out(value, index, batch, found)
        self.live.step += 1
        self.live.ending.after_step(self.live.step, over)
        seconds = perf_counter() - started
        logged = self._due(section.log_every)
        if logged and not skipped:
            self.live.losses.append((self.live.step, value, norm, rate))
        validation = self._validate() if self._due(section.validate_every) else None
        return Step(
            step=self.live.step,
            loss=value,
            grad_norm=norm,
            lr=rate,
            seconds=seconds,
            wait=wait,
            validation=validation,
            crps=self.live.validations.scores[-1][1]
            if validation is not None and self.judge
            else None,
            by_level=by_level.means(self.live.by_level) if logged and self.by_levels else None,
            skipped=skipped,
            notes=() if note is None else (note,),
            improved=validation is not None and self.live.validations.best_step == self.live.step,
            ended=self.live.ending.reason,
            stop=self.stop,
            state=self.live.state,
        )

    def _read(self, found: Losses, gradients: list[Tensor]) -> tuple[float, float, bool]:
        """Loss and gradient norm over all ranks, and whether the time of one is over."""
        flags = [float(self.live.ending.is_over)] if self.live.ending.timed else []
        flags += [float(self.wish())] if self.wish is not None else []
        given, count = (found, gradients, flags), self.section.batch_size
        parts = self.way.sharded
        told = read(*given, rows=self.rows, count=count, ranks=self.ranks, in_parts=parts)
        self.stop = self.wish is not None and bool(told.flags[-1])
        self.errors = told.error
        if told.is_finite:
            added = by_level.sums(told.error, told.log_sigma)
            self.live.by_level = by_level.faded(self.live.by_level, added)
        norm = told.norm if self.live.scaler is None else told.norm / self.live.scaler.scale
        return told.loss, norm, self.live.ending.timed and bool(told.flags[0])

    def _update(self, gradients: list[Tensor], norm: float, rate: float) -> None:
        """Clip, step, average."""
        factor = 1.0
        if self.live.scaler is not None:
            factor, self.live.scaler = (
                1 / self.live.scaler.scale,
                self.live.scaler.after(overflowed=False),
            )
        if norm > self.section.clip:
            factor *= self.section.clip / norm
        if factor != 1:
            torch._foreach_mul_(gradients, factor)
        set_rate(self.live.optimiser, rate)
        self.live.optimiser.step()
        self.live.ema.update()
        self.live.powers.update(self.live.ema.updates)
        self.live.skipped.in_row = 0

    def _leave_out(self, value: float, index: np.ndarray, batch: Batch, found: Losses) -> str:
        """What to say of a batch after which nothing has changed.

        Raises:
            NumericsError: Where such a batch ends the run.
        """
        self.buffers.put_back()
        step, scaler = self.live.step + 1, self.live.scaler
        if scaler is not None and scaler.may_fall and math.isfinite(value):
            self.live.scaler = scaler.after(overflowed=True)
            return self.live.scaler.note(step)
        size, count = self.section.batch_size, len(self.examples)
        whole = _order(self.seed, size, count, slice(None), self.live.step).tolist()
        pairs = zip(whole, self.errors, strict=True)
        elsewhere = [n for n, error in pairs if not math.isfinite(error) and n not in index]
        given = (found.loss, self.denoiser, elsewhere, self.names)
        error = NumericsError(f"training step {step}: {explain(index, batch, *given)}")
        return self.live.skipped.one_more(error, self.section)

    def _due(self, every: int) -> bool:
        return self.live.step % every == 0 or self.live.ending.reason is not None

    def _validate(self) -> float | None:
        if self.valid is None:
            return None
        given = (self.valid, self.section.batch_size, self.device, self.seed, self.ranks)
        losses, score = losses_of(self.live.ema, self.loss, *given), None
        if self.judge is not None:
            score = self._judged(losses.index(min(losses)), self.judge)
        loss = self.live.validations.add(self.live.step, losses, score, self.section.by_crps)
        self.live.ending.after_validation(self.live.validations.since_best)
        return loss

    def _judged(self, which: int, judge: Judge) -> float:
        """The CRPS of one average; the network has its own weights again after it."""
        # Sampling has another batch, and compiling for it takes longer than it saves.
        with self.live.ema.applied(which), self.denoiser.unchanged(), as_written(self.denoiser):
            return judge(self.denoiser, self.section.batch_size, self.ranks)

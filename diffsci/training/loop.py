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
from diffsci.errors import ConfigError
from diffsci.grid import Grid
from diffsci.runtime import Device, as_written
from diffsci.sections import Train
from diffsci.training import augment, by_level, distributed, ending, sharding
from diffsci.training.ema import Ema, Weights, weights_of
from diffsci.training.examples import Examples
from diffsci.training.feeding import Feed
from diffsci.training.finite import Buffers, Skipped, explain
from diffsci.training.gradient import Gradient
from diffsci.training.judging import Judge
from diffsci.training.losses import Loss
from diffsci.training.optimiser import adamw, learning_rate, set_rate
from diffsci.training.order import deterministic, examples_of_step
from diffsci.training.power import Powers
from diffsci.training.reading import read
from diffsci.training.rollout import Stepper
from diffsci.training.scaler import Scaler
from diffsci.training.spikes import Recent
from diffsci.training.state import (
    LossRow,
    RunState,
    optimiser_tensors,
    require_same,
    restore,
    settings_of,
)
from diffsci.training.step import Step as Step
from diffsci.training.validation import Validations, losses_of


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
    ending.check(section, validates=valid is not None)
    distributed.check_batch(section.batch_size, distributed.current(), section.accumulate)
    run = _Run(denoiser, examples, section, objective, seed, device, grid, valid, stepper)
    run.wish, run.judge, run.workers = wish, judge, workers
    if resume is not None:
        require_same(resume.settings, run.settings, allow)
        run.go_on_from(resume)
    return run.steps()


def _order(seed: int, batch_size: int, count: int, rows: slice, step: int) -> np.ndarray:
    """The examples of a step that are this rank's."""
    return examples_of_step(seed, step, batch_size, count)[rows]


class _Run:
    """The live objects of a run; what of them is not derived is in `state`."""

    def __init__(
        self,
        denoiser: Denoiser,
        examples: Examples,
        section: Train,
        objective: Objective,
        seed: int,
        device: Device,
        grid: Grid | None,
        valid: Examples | None,
        stepper: Stepper | None,
    ) -> None:
        self.denoiser, self.examples, self.valid = device.laid_out(denoiser), examples, valid
        self.section, self.grid, self.seed = section, grid, seed
        self.way, self.device = device, next(denoiser.parameters()).device
        self.ranks = distributed.current()
        self.rows = self.ranks.rows(section.batch_size)
        self.wish: Callable[[], bool] | None = None
        self.judge: Judge | None = None
        self.stop = False
        backprop = None if section.rollout is None else section.rollout.backprop
        self.loss = Loss(denoiser, objective, stepper, backprop)
        # Before the average is begun: it makes the weights of all ranks equal, or shares them out.
        self.gradient = Gradient(self.loss, section, grid, seed, device, self.ranks)
        self.parameters = [p for p in denoiser.parameters() if p.requires_grad]
        self.optimiser = adamw(denoiser, section, self.device)
        self.ema = Ema(denoiser, section.ema)
        self.powers = Powers(denoiser, section.ema_lengths)
        self.scaler = Scaler() if device.precision == "fp16" else None
        skips = section.on_bad == "skip" or self.scaler is not None
        self.buffers, self.skipped = Buffers(denoiser, watched=skips), Skipped()
        self.step, self.ending = 0, ending.Ending(section)
        self.by_level, self.by_levels = by_level.NOTHING, not objective.direct
        self.recent, self.losses, self.validations = Recent(), list[LossRow](), Validations()
        self.settings = settings_of(section, objective, seed, device, len(examples))
        self.order = partial(_order, seed, section.batch_size, len(examples), self.rows)
        self.workers = 0

    def state(self) -> RunState:
        validations, whole, live = self.validations, self._whole, sharding.named(self.denoiser)
        moments = optimiser_tensors(self.denoiser, self.optimiser)
        return RunState(
            step=self.step,
            weights=whole(weights_of(self.denoiser), live),
            ema=whole(self.ema.weights, live),
            ema_others=tuple(whole(each, live) for each in self.ema.all[1:]),
            ema_updates=self.ema.updates,
            powers=tuple(whole(each, live) for each in self.powers.all),
            optimiser=whole(moments, moments),
            scaler=self.scaler,
            skipped=self.skipped.total,
            skipped_in_row=self.skipped.in_row,
            best_step=validations.best_step,
            best_loss=validations.best_loss,
            ema_losses=validations.last,
            by_level=self.by_level,
            recent=tuple(self.recent.losses),
            losses=tuple(self.losses),
            validations=tuple(validations.rows),
            scores=tuple(validations.scores),
            seconds=self.ending.seconds,
            ended=self.ending.reason,
            settings=self.settings,
        )

    def _whole(self, parts: Weights, like: Weights) -> Weights:
        """The tensors of a state: live ones, or gathered from all ranks for the first."""
        if not self.way.sharded:
            return parts
        return sharding.gathered(parts, like, keep=self.ranks.is_first)

    def go_on_from(self, state: RunState) -> None:
        restore(state, self.denoiser, self.ema, self.optimiser)
        self.powers.restore(state.powers)
        self.step, self.by_level, self.losses = state.step, state.by_level, list(state.losses)
        self.scaler = self.scaler and (state.scaler or self.scaler)
        self.skipped = Skipped(state.skipped, state.skipped_in_row)
        rows, self.recent = list(state.validations), Recent(state.recent)
        best = (state.best_step, state.best_loss)
        self.validations = Validations(rows, *best, state.ema_losses, list(state.scores))
        self.ending.go_on_from(state.seconds, state.ended)

    def steps(self) -> Iterator[Step]:
        self.feed = Feed(self.examples, self.order, self.section.steps, self.workers)
        with closing(self.feed):
            yield from self._steps()

    def _steps(self) -> Iterator[Step]:
        if self._goes_on and self.gradient.may_fail_alone:
            with deterministic(self.device):
                self.gradient.try_compiled(self.step, self._given()[1])
        while self._goes_on:
            # Entered anew for each step: between two, the switches are as the consumer left them.
            with deterministic(self.device):
                done = self._advance()
            yield done

    @property
    def _goes_on(self) -> bool:
        return self.ending.reason is None and self.step < self.section.steps

    def _given(self) -> tuple[np.ndarray, Batch]:
        """Numbers of the next step's examples of this rank, and what they are."""
        return self.order(self.step), self.feed.take(self.step).to(self.device)

    def _advance(self) -> Step:
        section, started = self.section, perf_counter()
        index, batch = self._given()
        wait = perf_counter() - started
        for parameter in self.parameters:  # as `zero_grad` does, in a third of the time
            parameter.grad = None
        self.buffers.keep()
        scale = 1.0 if self.scaler is None else self.scaler.scale
        found, batch = self.gradient(self.step, batch, scale)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.way.sharded:
            gradients = [sharding.own(each) for each in gradients]
        value, norm, over = self._read(found, gradients)
        rate = learning_rate(self.step, section)
        skipped = not (math.isfinite(value) and math.isfinite(norm))
        if not skipped:
            note = self.recent.note(self.step + 1, value, section.spike, index, found.loss)
            self.recent.add(value)
            self._update(gradients, norm, rate)
        else:
            note = self._leave_out(value, index, batch, found)
        self.step += 1
        self.ending.after_step(self.step, over)
        seconds = perf_counter() - started
        logged = self._due(section.log_every)
        if logged and not skipped:
            self.losses.append((self.step, value, norm, rate))
        validation = self._validate() if self._due(section.validate_every) else None
        return Step(
            step=self.step,
            loss=value,
            grad_norm=norm,
            lr=rate,
            seconds=seconds,
            wait=wait,
            validation=validation,
            crps=self.validations.scores[-1][1] if validation is not None and self.judge else None,
            by_level=by_level.means(self.by_level) if logged and self.by_levels else None,
            skipped=skipped,
            notes=() if note is None else (note,),
            improved=validation is not None and self.validations.best_step == self.step,
            ended=self.ending.reason,
            stop=self.stop,
            state=self.state,
        )

    def _read(self, found: Losses, gradients: list[Tensor]) -> tuple[float, float, bool]:
        """Loss and gradient norm over all ranks, and whether the time of one is over."""
        flags = [float(self.ending.is_over)] if self.ending.timed else []
        flags += [float(self.wish())] if self.wish is not None else []
        given, count = (found, gradients, flags), self.section.batch_size
        parts = self.way.sharded
        told = read(*given, rows=self.rows, count=count, ranks=self.ranks, in_parts=parts)
        self.stop = self.wish is not None and bool(told.flags[-1])
        if told.is_finite:
            added = by_level.sums(told.error, told.log_sigma)
            self.by_level = by_level.faded(self.by_level, added)
        norm = told.norm if self.scaler is None else told.norm / self.scaler.scale
        return told.loss, norm, self.ending.timed and bool(told.flags[0])

    def _update(self, gradients: list[Tensor], norm: float, rate: float) -> None:
        """Clip, step, average."""
        factor = 1.0
        if self.scaler is not None:
            factor, self.scaler = 1 / self.scaler.scale, self.scaler.after(overflowed=False)
        if norm > self.section.clip:
            factor *= self.section.clip / norm
        if factor != 1:
            torch._foreach_mul_(gradients, factor)
        set_rate(self.optimiser, rate)
        self.optimiser.step()
        self.ema.update()
        self.powers.update(self.ema.updates)
        self.skipped.in_row = 0

    def _leave_out(self, value: float, index: np.ndarray, batch: Batch, found: Losses) -> str:
        """What to say of a batch after which nothing has changed.

        Raises:
            NumericsError: Where such a batch ends the run.
        """
        self.buffers.put_back()
        step, scaler = self.step + 1, self.scaler
        if scaler is not None and scaler.may_fall and math.isfinite(value):
            self.scaler = scaler.after(overflowed=True)
            return self.scaler.note(step)
        error = explain(step, index, batch, found.loss, self.denoiser)
        return self.skipped.one_more(error, self.section)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.ending.reason is not None

    def _validate(self) -> float | None:
        if self.valid is None:
            return None
        given = (self.valid, self.section.batch_size, self.device, self.seed, self.ranks)
        losses, score = losses_of(self.ema, self.loss, *given), None
        if self.judge is not None:
            score = self._judged(losses.index(min(losses)), self.judge)
        loss = self.validations.add(self.step, losses, score, self.section.by_crps)
        self.ending.after_validation(self.validations.since_best)
        return loss

    def _judged(self, which: int, judge: Judge) -> float:
        """The CRPS of one average; the network has its own weights again after it."""
        # Sampling has another batch, and compiling for it takes longer than it saves.
        with self.ema.applied(which), self.denoiser.unchanged(), as_written(self.denoiser):
            return judge(self.denoiser, self.section.batch_size, self.ranks)

"""The training loop: a generator of steps that logs nothing and saves nothing; its consumer does.

    for step in train(denoiser, examples, section, objective=..., seed=0, device=..., ...):
        if step.step % section.checkpoint_every == 0:
            checkpoint.save(folder, step.state(), keep=section.keep)

Step k is a pure function of the state after k - 1 steps, the seed and k. So a run may be stopped
anywhere: on the CPU, with as many threads, the resumed run gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import Losses
from diffsci.diffusion.objectives.base import Objective
from diffsci.errors import ConfigError, NumericsError
from diffsci.grid import Grid
from diffsci.runtime import Device, as_written
from diffsci.sections import Train
from diffsci.training import augment, by_level, distributed
from diffsci.training.ema import Ema, weights_of
from diffsci.training.examples import Examples
from diffsci.training.finite import explain
from diffsci.training.losses import Loss
from diffsci.training.optimiser import adamw, learning_rate, set_rate
from diffsci.training.order import Draws, examples_of_step, seed_dropout
from diffsci.training.state import (
    LossRow,
    RunState,
    optimiser_tensors,
    require_same,
    restore,
    settings_of,
)
from diffsci.training.validation import validation_loss


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimiser step that was done.

    Args:
        step: Steps done, this one included.
        loss: Mean over the batch, before the step.
        grad_norm: Before clipping.
        lr: Learning rate used.
        seconds: The whole step, without validation.
        wait: Seconds of it spent waiting for the examples.
        validation: Loss of the averaged weights on the validation set, in steps where it is due.
        by_level: Mean weighted squared error of the last hundred steps or so, by the centre of the
            bin in noise_std / signal_scale, in steps that are logged; see `by_level.py`.
        state: Gives the run after this step; ask before the next one.
    """

    step: int
    loss: float
    grad_norm: float
    lr: float
    seconds: float
    wait: float
    validation: float | None = None
    by_level: dict[float, float] | None = None
    state: Callable[[], RunState] = field(repr=False, compare=False)


def train(
    denoiser: Denoiser,
    examples: Examples,
    section: Train,
    *,
    objective: Objective,
    seed: int,
    device: Device,
    grid: Grid | None = None,
    valid: Examples | None = None,
    resume: RunState | None = None,
) -> Iterator[Step]:
    """Steps of a run from the beginning, or from `resume`, to `section.steps`.

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
        valid: The validation set; of a large one, examples evenly spread.
        resume: A saved state to go on from; a finished one gives no steps.

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
    distributed.check_batch(section.batch_size, distributed.current())
    run = _Run(denoiser, examples, section, objective, seed, device, grid, valid)
    if resume is not None:
        require_same(resume.settings, run.settings)
        run.go_on_from(resume)
    return run.steps()


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
    ) -> None:
        self.denoiser, self.examples, self.valid = device.laid_out(denoiser), examples, valid
        self.section, self.grid, self.seed = section, grid, seed
        self.way, self.device = device, next(denoiser.parameters()).device
        self.ranks = distributed.current()
        self.rows = self.ranks.rows(section.batch_size)
        self.loss = Loss(denoiser, objective)
        # Before the average is begun: wrapping makes the weights of all ranks equal.
        self.averaged_loss = distributed.wrap(self.loss, self.device, self.ranks)
        self.parameters = [p for p in denoiser.parameters() if p.requires_grad]
        self.optimiser = adamw(denoiser, section, self.device)
        self.ema = Ema(denoiser, section.ema)
        self.step, self.best_step = 0, 0
        self.best_loss: float | None = None
        self.by_level, self.by_levels = by_level.NOTHING, not objective.direct
        self.losses: list[LossRow] = []
        self.validations: list[tuple[int, float]] = []
        self.settings = settings_of(section, objective, seed, device, len(examples))

    def state(self) -> RunState:
        return RunState(
            step=self.step,
            weights=weights_of(self.denoiser),
            ema=self.ema.weights,
            ema_updates=self.ema.updates,
            optimiser=optimiser_tensors(self.denoiser, self.optimiser),
            best_step=self.best_step,
            best_loss=self.best_loss,
            by_level=self.by_level,
            losses=tuple(self.losses),
            validations=tuple(self.validations),
            settings=self.settings,
        )

    def go_on_from(self, state: RunState) -> None:
        restore(state, self.denoiser, self.ema, self.optimiser)
        self.step, self.best_step, self.best_loss = state.step, state.best_step, state.best_loss
        self.by_level = state.by_level
        self.losses, self.validations = list(state.losses), list(state.validations)

    def steps(self) -> Iterator[Step]:
        while self.step < self.section.steps:
            # Entered anew for each step: between two, the switches are as the consumer left them.
            with _deterministic(self.device):
                done = self._advance()
            yield done

    def _advance(self) -> Step:
        section, started = self.section, perf_counter()
        index = examples_of_step(self.seed, self.step, section.batch_size, len(self.examples))
        index = index[self.rows]
        batch = self.examples.batch(index).to(self.device)
        wait = perf_counter() - started
        self.optimiser.zero_grad(set_to_none=True)
        with self.way.explaining():
            found, batch = self._losses(batch)
            loss = found.loss.mean()
            loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        # Sums are not finite where one addend is not, so two numbers tell of all. Reading them is
        # the one time in a step that the host waits for the device; the loss by level comes along.
        two = torch.stack([loss.detach(), torch.nn.utils.get_total_norm(gradients)])
        sums = torch.cat([two, by_level.sums(found.error, found.log_sigma).to(two)])
        value, norm, *binned = distributed.total(sums, self.ranks).tolist()
        value, norm = value / self.ranks.world, norm / self.ranks.world
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise explain(self.step + 1, index, batch, found.loss, self.denoiser)
        self.by_level = by_level.faded(self.by_level, binned)
        if norm > section.clip:
            torch._foreach_mul_(gradients, section.clip / norm)
        rate = learning_rate(self.step, section)
        set_rate(self.optimiser, rate)
        self.optimiser.step()
        self.ema.update()
        self.step += 1
        seconds = perf_counter() - started
        logged = self._due(section.log_every)
        if logged:
            self.losses.append((self.step, value, norm, rate))
        return Step(
            step=self.step,
            loss=value,
            grad_norm=norm,
            lr=rate,
            seconds=seconds,
            wait=wait,
            validation=self._validate() if self._due(section.validate_every) else None,
            by_level=by_level.means(self.by_level) if logged and self.by_levels else None,
            state=self.state,
        )

    def _losses(self, batch: Batch) -> tuple[Losses, Batch]:
        """Loss of each example of this rank, and the batch as it was trained on."""
        if not self.denoiser.training:  # a consumer may sample between steps
            self.denoiser.train()
        draws = Draws(
            self.seed, self.step, count=self.section.batch_size, rows=self.rows, device=self.device
        )
        uniform = draws.stratified(batch.target.dtype)
        noise = draws.normal(self.loss.objective.noise_like(batch.target))
        batch = augment.augment(batch, self.section, self.grid, draws)
        seed_dropout(self.device, "dropout", self.seed, self.step, self.ranks.rank)
        found: Losses = self.averaged_loss(batch, uniform, noise)
        return found, batch

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.section.steps

    def _validate(self) -> float | None:
        if self.valid is None:
            return None
        # Its last batch has another size, and compiling for it takes longer than it would save.
        with self.ema.applied(), self.denoiser.unchanged(), as_written(self.denoiser):
            loss = validation_loss(
                self.loss, self.valid, self.section.batch_size, self.device, self.seed, self.ranks
            )
        if not math.isfinite(loss):
            raise NumericsError(
                f"validation after step {self.step}: the loss is not finite; look for such values "
                "in the valid part of the data with `diffsci check`, or lower train.lr"
            )
        self.validations.append((self.step, loss))
        if self.best_loss is None or loss < self.best_loss:
            self.best_step, self.best_loss = self.step, loss
        return loss


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Only deterministic kernels inside the block, on the CPU; some have none on other devices."""
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # its flag is a property that type checkers miss
    filling = memory.fill_uninitialized_memory
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # costs time, and hides no bug of ours
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filling

"""The training stage: consumes the loop's steps, shows them, tracks them, saves checkpoints."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from diffsci.data.windows import Examples
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import PairRow, pair
from diffsci.diffusion.objectives.base import ByLevel, Objective
from diffsci.diffusion.schedules.base import Schedule
from diffsci.files import failpoint, write_json
from diffsci.forecasting.denoiser_of import denoiser_of
from diffsci.networks.base import Ports
from diffsci.runtime import CompileError, Device
from diffsci.sections import Pipeline, Runtime
from diffsci.stages.costs import of_the_training
from diffsci.tracker import Tracker
from diffsci.training import checkpoint, memory
from diffsci.training.cost import NotMeasuredError
from diffsci.training.ema import assign
from diffsci.training.loop import Step, train
from diffsci.training.state import RunState, machine_of

log = logging.getLogger(__name__)

OBJECTIVE = "objective.json"


def build(pipeline: Pipeline, ports: Ports) -> Denoiser:
    """The untrained denoiser of a pipeline: the same weights for the same seed."""
    torch.manual_seed(pipeline.seed)
    return denoiser_of(pipeline, ports)


def write_objective(objective: Objective, schedule: Schedule, file: Path) -> None:
    """Tell what was trained for; where by level, each one's weight, density, and their product."""
    described: dict[str, Any] = {
        "objective": repr(objective),
        "schedule": repr(schedule),
    }
    if isinstance(objective, ByLevel):
        rows = [list(row) for row in pair(objective, schedule)]
        described |= {"columns": list(PairRow._fields), "rows": rows}
    write_json(file, described)


def learn(
    pipeline: Pipeline,
    ports: Ports,
    examples: Examples,
    valid: Examples | None,
    folder: Path,
    device: Device,
    tracker: Tracker,
) -> Denoiser:
    """A trained denoiser with the averaged weights, on the CPU.

    Goes on from the newest whole checkpoint in `folder`, and writes `objective.json` beside it.

    Args:
        pipeline: What to train, and how.
        ports: Channels and grid of the data.
        examples: The training set.
        valid: The validation set.
        folder: The run's `checkpoints/`.
        device: Where and how to compute.
        tracker: Told of losses.

    Raises:
        CompileError: With `compile: true`, where torch cannot; `auto` then goes on without.
    """
    given = (ports, examples, valid, folder)
    try:
        return _learn(pipeline, *given, device, tracker)
    except CompileError as error:
        if pipeline.runtime.compile is True:
            raise
        log.warning("train: %s: going on without", error)
        plain = replace(pipeline, runtime=replace(pipeline.runtime, compile=False))
        return _learn(plain, *given, replace(device, compile=False), tracker)


def _learn(
    pipeline: Pipeline,
    ports: Ports,
    examples: Examples,
    valid: Examples | None,
    folder: Path,
    device: Device,
    tracker: Tracker,
) -> Denoiser:
    section = pipeline.train
    assert section is not None
    state = checkpoint.newest(folder, log.warning)
    denoiser = build(pipeline, ports)
    device = _decided(device, pipeline, ports, state)
    write_objective(section.objective, denoiser.schedule, folder.parent / OBJECTIVE)
    parameters = sum(p.numel() for p in denoiser.parameters())
    begun = 0 if state is None else state.step
    if begun >= section.steps:
        log.info("train: all %d steps are done", section.steps)
    else:
        log.info(
            "train: %s parameters, %d examples, steps %d to %d on %s",
            f"{parameters:,}",
            len(examples),
            begun + 1,
            section.steps,
            device,
        )
    steps = train(
        denoiser,
        examples,
        section,
        objective=section.objective,
        seed=pipeline.seed,
        device=device,
        grid=ports.grid,
        valid=valid,
        resume=state,
    )
    progress = _Progress(begun, section.steps, section.log_every, tracker)
    last: RunState | None = state
    for step in steps:
        progress.show(step)
        failpoint("train.step")
        if step.step % section.checkpoint_every == 0 or step.step == section.steps:
            last = step.state()
            checkpoint.save(folder, last, keep=section.keep)
    progress.close()
    assert last is not None
    assign(denoiser, last.ema)
    return Device().laid_out(denoiser).eval()


def _decided(device: Device, pipeline: Pipeline, ports: Ports, state: RunState | None) -> Device:
    """The device with nothing left `auto`: as the run was begun, else by its work and memory."""
    device = _as_begun(device, pipeline.runtime, state)
    try:
        part, device = of_the_training(pipeline, ports, device)
    except NotMeasuredError as error:
        log.info("train: %s", error)
        return device.compiled_for(0.0).checkpointing_for(0)
    free = memory.free(device.name)
    log.info("%s", part.line(free))
    if (warning := part.warning(free, device)) is not None:
        log.warning("%s", warning)
    return device


def _as_begun(device: Device, runtime: Runtime, state: RunState | None) -> Device:
    """The device in the way of the checkpoint, where it may be chosen; else a warning."""
    begun = {} if state is None else machine_of(state.settings)
    found = device.as_begun(runtime, begun)
    for name in ("precision", "compile", "memory_format"):
        before, now = begun.get(name), getattr(found, name)
        if before is None or (before == now and before == getattr(device, name)):
            continue
        if before == now:
            log.info("train: going on with %s %s, with which this run was begun", name, before)
        else:
            log.warning(
                "train: the checkpoint was made with %s %s, going on with %s: the numbers may "
                "differ",
                name,
                before,
                now,
            )
    return found


class _Progress:
    """A bar in a terminal, a line every `every` steps elsewhere, and the tracker's metrics."""

    def __init__(self, begun: int, steps: int, every: int, tracker: Tracker) -> None:
        self.every, self.steps, self.tracker = every, steps, tracker
        self.bar = tqdm(
            total=steps, initial=begun, unit="step", disable=not sys.stderr.isatty(), desc="train"
        )
        self.begun, self.started = begun, time.monotonic()
        self.loss: float | None = None
        self.validation: float | None = None

    def show(self, step: Step) -> None:
        """Tell of one step."""
        # Single losses jump with the noise level drawn; the eye wants their trend.
        self.loss = step.loss if self.loss is None else 0.98 * self.loss + 0.02 * step.loss
        self.bar.update(1)
        if step.validation is not None:
            self.validation = step.validation
            self.tracker.metrics({"val/loss": step.validation}, step.step)
        if step.step % self.every and step.step != self.steps:
            return
        rate = (step.step - self.begun) / max(1e-9, time.monotonic() - self.started)
        by_level = step.by_level or {}
        self.tracker.metrics(
            {
                "train/loss": step.loss,
                "train/grad_norm": step.grad_norm,
                "train/lr": step.lr,
                "train/steps_per_second": rate,
            }
            | {f"train/loss_by_level/{centre:.3g}": loss for centre, loss in by_level.items()},
            step.step,
        )
        valid = "" if self.validation is None else f", validation {self.validation:.4f}"
        self.bar.set_postfix_str(f"loss {self.loss:.4f}{valid}")
        if self.bar.disable:
            left = (self.steps - step.step) / max(1e-9, rate)
            log.info(
                "train: step %d of %d, loss %.4f%s, %.1f steps/s, %.0f s left",
                step.step,
                self.steps,
                self.loss,
                valid,
                rate,
                left,
            )

    def close(self) -> None:
        """Leave the terminal tidy."""
        self.bar.close()

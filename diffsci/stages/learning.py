"""The training stage: consumes the loop's steps, shows them, tracks them, saves checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from diffsci import stopping
from diffsci.data.windows import Examples
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import PairRow, pair
from diffsci.diffusion.objectives.base import ByLevel, Objective
from diffsci.diffusion.schedules.base import Schedule
from diffsci.files import failpoint, write_json
from diffsci.forecasting.denoiser_of import denoiser_of
from diffsci.networks.base import Ports
from diffsci.runtime import CompileError, Device
from diffsci.sections import Pipeline, Runtime, Train
from diffsci.stages.choosing import choose, judge_of
from diffsci.stages.costs import of_the_training
from diffsci.stages.progress import Progress
from diffsci.stages.rolling import stepper_of
from diffsci.tracker import Tracker
from diffsci.training import checkpoint, distributed, memory
from diffsci.training.cost import NotMeasuredError
from diffsci.training.distributed import Ranks
from diffsci.training.frozen import freeze
from diffsci.training.loop import train
from diffsci.training.power import snapshot_steps
from diffsci.training.state import RunState, machine_of
from diffsci.training.step import Step
from diffsci.training.writer import Writer

log = logging.getLogger(__name__)

OBJECTIVE = "objective.json"

READY_SECONDS = 1800.0
"""The first of several processes waits so long for the others to read the data."""


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
    *,
    allow: Sequence[str] = (),
    begin: Callable[[Denoiser], str | None] | None = None,
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
        allow: Keys of settings that may differ from those of the checkpoint.
        begin: Puts first weights of another model into a new denoiser, and gives their digest; none
            where they are not there any more.

    Raises:
        CompileError: With `compile: true`, where torch cannot; `auto` then goes on without.
    """
    given = (ports, examples, valid, folder)
    try:
        return _learn(pipeline, *given, device, tracker, allow, begin)
    except CompileError as error:
        if pipeline.runtime.compile is True or distributed.current().world > 1:
            raise
        log.warning("train: %s: going on without", error)
        plain = replace(pipeline, runtime=replace(pipeline.runtime, compile=False))
        return _learn(plain, *given, replace(device, compile=False), tracker, allow, begin)


def _learn(
    pipeline: Pipeline,
    ports: Ports,
    examples: Examples,
    valid: Examples | None,
    folder: Path,
    device: Device,
    tracker: Tracker,
    allow: Sequence[str],
    begin: Callable[[Denoiser], str | None] | None,
) -> Denoiser:
    section = pipeline.train
    assert section is not None
    ranks = distributed.current()
    state = _unended(_resumed(folder, ranks), section)
    denoiser = build(pipeline, ports)
    if begin is not None:
        # The run's numbers depend on those weights, wherever they lie.
        saved = None if state is None else state.settings.get("train.from")
        section = replace(section, from_=begin(denoiser) or saved)
    freeze(denoiser, section.freeze)
    device = _decided(device, pipeline, ports, state)
    if ranks.is_first:
        write_objective(section.objective, denoiser.schedule, folder.parent / OBJECTIVE)
    distributed.meet("training", READY_SECONDS)
    parameters = sum(p.numel() for p in denoiser.parameters())
    begun = 0 if state is None else state.step
    tracker.go_on_from(begun)
    if begun >= section.steps:
        log.info("train: all %d steps are done", section.steps)
    elif state is not None and state.ended:
        log.info("train: ended after step %d by train.%s", begun, state.ended)
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
        stepper=stepper_of(pipeline, examples),
        valid=valid,
        judge=judge_of(pipeline, valid),
        resume=state,
        allow=(*allow, *(("training examples",) if "data" in _heads(allow) else ())),
        wish=None if ranks.world == 1 else lambda: stopping.wanted() != 0,
    )
    if not ranks.is_first:
        _follow(steps)
        return denoiser
    last = _consume(steps, section, folder, Progress(begun, section, tracker)) or state
    assert last is not None
    choose(denoiser, last, section, folder, valid, pipeline.seed)
    return Device().laid_out(denoiser).eval()


def _resumed(folder: Path, ranks: Ranks) -> RunState | None:
    """The state that all ranks go on from: rank 0 takes the newest, the others the same one."""
    if ranks.is_first:
        state = checkpoint.newest(folder, log.warning)
        distributed.tell("step", str(0 if state is None else state.step))
        return state
    step = int(distributed.hear("step") or 0)
    return checkpoint.at(folder, step) if step else None


def _heads(keys: Sequence[str]) -> set[str]:
    return {key.split(".")[0] for key in keys}


def _unended(state: RunState | None, section: Train) -> RunState | None:
    """The state, going on where what ended it was changed since, as far as that is allowed."""
    if state is None or state.ended is None:
        return state
    before = state.settings.get(f"train.{state.ended}")
    return state if getattr(section, state.ended) == before else replace(state, ended=None)


def _consume(
    steps: Iterator[Step], section: Train, folder: Path, progress: Progress
) -> RunState | None:
    """Show and save; the state after the last step, none where there was no step to do.

    Raises:
        Stopped: After a step that is saved, when a signal asked for it.
    """
    last: RunState | None = None
    kept = snapshot_steps(section.steps, section.snapshots) if section.ema_lengths else ()
    with Writer(folder, keep=section.keep) as writer, closing(progress), stopping.patiently():
        for step in steps:
            progress.show(step)
            failpoint("train.step")
            if step.improved and section.keep_best:
                writer.save_best(step.state())
            if step.step in kept or (kept and step.ended):
                writer.save_snapshot(step.state())
            stop, due = _agreed(step), step.step % section.checkpoint_every == 0
            if due or stop or step.ended:
                last = step.state()
                progress.tracker.saved()
                writer.save(last)
            if stop:
                writer.wait()
                distributed.tell("saved", "")
            stopping.boundary(f"train: stopped after step {step.step}, which is saved", stop)
    return last


def _follow(steps: Iterator[Step]) -> None:
    """Do the steps with rank 0, which shows and saves them.

    Raises:
        Stopped: After a step that rank 0 has saved, when a signal reached any rank.
    """
    with stopping.patiently():
        for step in steps:
            failpoint("train.step")
            if stop := _agreed(step):
                distributed.hear("saved")
                stopping.boundary(f"train: stopped after step {step.step}", stop)


def _agreed(step: Step) -> int:
    """The exit code that a signal asked for, of this process or, agreed on, of any rank."""
    if distributed.current().world == 1:
        return stopping.wanted()
    return distributed.largest(stopping.wanted()) if step.stop else 0


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

"""The training stage: consumes the loop's steps, shows them, tracks them, saves checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from diffsci.data.examples.windows import Examples
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import PairRow, pair
from diffsci.diffusion.objectives.base import ByLevel, Objective
from diffsci.diffusion.schedules.base import Schedule
from diffsci.files import failpoint, write_json
from diffsci.forecasting.denoiser_of import denoiser_of
from diffsci.networks.base import Ports
from diffsci.running import stopping
from diffsci.runtime import CompileError, Device
from diffsci.sections import Pipeline, Train
from diffsci.stages.training.choosing import choose, judge_of
from diffsci.stages.training.deciding import agreed, decided
from diffsci.stages.training.other_network import told_by_key
from diffsci.stages.training.progress import Progress
from diffsci.stages.training.rolling import stepper_of
from diffsci.tracking.tracker import Tracker
from diffsci.training import checkpoint, distributed
from diffsci.training.distributed import Ranks
from diffsci.training.finite import Names
from diffsci.training.frozen import freeze
from diffsci.training.loop import train
from diffsci.training.power import snapshot_steps
from diffsci.training.state import RunState
from diffsci.training.step import Step
from diffsci.training.writer import Unwritten, Writer

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


@dataclass(frozen=True, kw_only=True)
class Training:
    """All that training takes.

    Args:
        pipeline: What to train, and how.
        ports: Channels and grid of the data.
        examples: The training set.
        valid: The validation set.
        folder: The run's `checkpoints/`.
        device: Where and how to compute.
        tracker: Told of losses.
        allow: Keys of settings that may differ from those of the checkpoint.
        names: What examples are, to tell of those that are not finite.
        weights: How much each channel of the target counts; none for all alike.
        begin: Puts first weights of another model into a new denoiser, and gives their digest; none
            where they are not there any more.
        ready: Called when the first step may come: nothing of the settings is refused any more.
    """

    pipeline: Pipeline
    ports: Ports
    examples: Examples
    valid: Examples | None
    folder: Path
    device: Device
    tracker: Tracker
    allow: Sequence[str] = ()
    names: Names | None = None
    weights: tuple[float, ...] | None = None
    begin: Callable[[Denoiser], str | None] | None = None
    ready: Callable[[], None] | None = None

    def plain(self) -> Training:
        """The same without compiling."""
        runtime = replace(self.pipeline.runtime, compile=False)
        pipeline = replace(self.pipeline, runtime=runtime)
        return replace(self, pipeline=pipeline, device=replace(self.device, compile=False))


def learn(training: Training) -> Denoiser:
    """A trained denoiser with the averaged weights, on the CPU.

    Goes on from the newest whole checkpoint in its folder, and writes `objective.json` beside it.

    Raises:
        CompileError: With `compile: true`, where torch cannot; `auto` then goes on without, on all
            processes together.
    """
    try:
        return _learn(training)
    except CompileError as error:
        alone = distributed.current().world == 1
        if training.pipeline.runtime.compile is True or not (alone or error.by_all):
            raise
        log.warning("train: %s: going on without", error)
    # Here, where the error and with it the first network are gone.
    return _learn(training.plain())


def _learn(training: Training) -> Denoiser:
    pipeline, ports, folder = training.pipeline, training.ports, training.folder
    section, ranks = pipeline.train, distributed.current()
    assert section is not None
    state = _unended(_resumed(folder, ranks), section)
    denoiser = build(pipeline, ports)
    if training.begin is not None:
        # The run's numbers depend on those weights, wherever they lie.
        saved = None if state is None else state.settings.get("train.from")
        section = replace(section, from_=training.begin(denoiser) or saved)
    freeze(denoiser, section.freeze)
    device = decided(training.device, pipeline, ports, state)
    if ranks.is_first:
        write_objective(section.objective, denoiser.schedule, folder.parent / OBJECTIVE)
    distributed.meet("training", READY_SECONDS)
    if ranks.world > 1:
        device = agreed(device)
    begun = 0 if state is None else state.step
    training.tracker.go_on_from(begun)
    _say_what(state, section, denoiser, len(training.examples), device)
    with told_by_key(training.allow):
        steps = _steps(training, denoiser, section, device, state)
    if training.ready is not None:
        training.ready()
    if not ranks.is_first:
        _consume(steps, section, None, None)
        return denoiser
    spent = 0.0 if state is None else state.seconds
    progress = Progress(begun, section, training.tracker, spent)
    last = _consume(steps, section, folder, progress) or state
    assert last is not None
    if device.sharded:  # the whole weights, in one process again
        denoiser = device.laid_out(build(pipeline, ports))
    choose(denoiser, last, section, folder, training.valid, pipeline.seed, training.weights)
    return Device().laid_out(denoiser).eval()


def _steps(
    training: Training,
    denoiser: Denoiser,
    section: Train,
    device: Device,
    state: RunState | None,
) -> Iterator[Step]:
    """The steps that are left."""
    pipeline, ranks = training.pipeline, distributed.current()
    return train(
        denoiser,
        training.examples,
        section,
        objective=section.objective,
        seed=pipeline.seed,
        device=device,
        grid=training.ports.grid,
        stepper=stepper_of(pipeline, training.examples),
        valid=training.valid,
        judge=judge_of(pipeline, training.valid),
        resume=state,
        allow=_allowed(training.allow),
        names=training.names,
        weights=training.weights,
        wish=None if ranks.world == 1 else lambda: stopping.wanted() != 0,
        workers=pipeline.runtime.workers if training.examples.on_disk else 0,
    )


def _say_what(
    state: RunState | None, section: Train, denoiser: Denoiser, examples: int, device: Device
) -> None:
    begun = 0 if state is None else state.step
    if begun >= section.steps:
        log.info("train: all %d steps are done", section.steps)
    elif state is not None and state.ended:
        log.info("train: ended after step %d by train.%s", begun, state.ended)
    else:
        parameters = sum(p.numel() for p in denoiser.parameters())
        log.info(
            "train: %s parameters, %d examples, steps %d to %d on %s",
            f"{parameters:,}",
            examples,
            begun + 1,
            section.steps,
            device,
        )


def _allowed(keys: Sequence[str]) -> tuple[str, ...]:
    """The same, as the loop calls them."""
    heads = {key.split(".")[0] for key in keys}
    return (*keys, *(("training examples",) if "data" in heads else ()))


def _resumed(folder: Path, ranks: Ranks) -> RunState | None:
    """The state that all ranks go on from: rank 0 takes the newest, the others the same one."""
    if ranks.is_first:
        state = checkpoint.newest(folder, log.warning)
        distributed.tell("step", str(0 if state is None else state.step))
        return state
    step = int(distributed.hear("step") or 0)
    return checkpoint.at(folder, step) if step else None


def _unended(state: RunState | None, section: Train) -> RunState | None:
    """The state, going on where what ended it was changed since, as far as that is allowed."""
    if state is None or state.ended is None:
        return state
    before = state.settings.get(f"train.{state.ended}")
    return state if getattr(section, state.ended) == before else replace(state, ended=None)


def _consume(
    steps: Iterator[Step], section: Train, folder: Path | None, progress: Progress | None
) -> RunState | None:
    """Show and save; the state after the last step, none where there was no step to do.

    All processes ask for the same states, since they may have to be gathered from all of them.

    Args:
        steps: Of this process.
        section: When to save.
        folder: The run's `checkpoints/`; none for a process that does not save.
        progress: Told of each step; none likewise.

    Raises:
        Stopped: After a step that is saved, when a signal asked for it.
    """
    last: RunState | None = None
    kept = snapshot_steps(section.steps, section.snapshots) if section.ema_lengths else ()
    with ExitStack() as stack:
        writer: Writer | Unwritten = Unwritten()
        if folder is not None:
            writer = stack.enter_context(Writer(folder, keep=section.keep))
        if progress is not None:
            stack.enter_context(closing(progress))
        stack.enter_context(stopping.patiently())
        for step in steps:
            if progress is not None:
                progress.show(step)
            failpoint("train.step")
            if step.improved and section.keep_best:
                writer.save_best(step.state())
            if step.step in kept or (kept and step.ended):
                writer.save_snapshot(step.state())
            stop, due = _agreed(step), step.step % section.checkpoint_every == 0
            if due or stop or step.ended:
                last = step.state()
                if progress is not None:
                    progress.tracker.saved()
                writer.save(last)
            if stop:
                _wait_for(writer)
            stopping.boundary(f"train: stopped after step {step.step}, which is saved", stop)
    return last


def _wait_for(writer: Writer | Unwritten) -> None:
    """Return when the first process has saved."""
    if isinstance(writer, Writer):
        writer.wait()
        distributed.tell("saved", "")
    else:
        distributed.hear("saved")


def _agreed(step: Step) -> int:
    """The exit code that a signal asked for, of this process or, agreed on, of any rank."""
    if distributed.current().world == 1:
        return stopping.wanted()
    return distributed.largest(stopping.wanted()) if step.stop else 0

"""How a training computes: what is left `auto` in `runtime`, decided before it begins."""

from __future__ import annotations

import logging
from dataclasses import replace

from diffsci.errors import FieldError
from diffsci.networks.base import Ports
from diffsci.running import stopping
from diffsci.runtime import Device
from diffsci.sections import Pipeline, Runtime
from diffsci.stages.costs import of_the_training
from diffsci.training import distributed, memory
from diffsci.training.cost import NotMeasuredError
from diffsci.training.state import RunState, machine_of

log = logging.getLogger(__name__)


def check_processes(pipeline: Pipeline) -> None:
    """Refuse what so many processes cannot do, as far as no data is needed to know it.

    Raises:
        ConfigError: Naming the key.
    """
    runtime, train, ranks = pipeline.runtime, pipeline.train, distributed.current()
    if train is not None:
        distributed.check_batch(train.batch_size, ranks, train.accumulate)
    if runtime.sharding != "none" and ranks.world == 1:
        expected = "none: a single process has nobody to share with; start several by torchrun"
        raise FieldError("runtime.sharding", runtime.sharding, expected)


def agreed(device: Device) -> Device:
    """The device as all processes take it: compiled where all of them can."""
    return replace(device, compile=not distributed.largest(int(not device.compiles)))


def decided(device: Device, pipeline: Pipeline, ports: Ports, state: RunState | None) -> Device:
    """The device with nothing left `auto`: as the run was begun, else by its work and memory.

    Raises:
        Stopped: After the work is counted, when a signal asked for it.
    """
    device = _as_begun(device, pipeline.runtime, state)
    try:
        # An exception of a handler within torch's tracing would abort the process.
        with stopping.patiently():
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
    begun = {"sharded": False} | begun if begun else begun
    for name in ("precision", "compile", "memory_format", "sharded"):
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

"""Where a run computes, recorded in its folder; one that goes on elsewhere says so."""

from __future__ import annotations

import logging

from diffsci.messages import counted
from diffsci.running.folder import RunFolder
from diffsci.runtime import Device
from diffsci.sections import Runtime
from diffsci.training import distributed

log = logging.getLogger(__name__)


def placed(runtime: Runtime, folder: RunFolder) -> Device:
    """The device of a run, as it was begun where that may be chosen.

    Raises:
        FieldError: For a device, or a way to compute, that this machine does not have.
    """
    device = Device.of(runtime)
    before = folder.record.get("device", {})
    if folder.holds_products:
        device = device.as_begun(runtime, before)
    now = device.record()
    changed = [
        f"{key} {before[key]} -> {now[key]}"
        for key in now
        if key in before and before[key] != now[key]
    ]
    if changed and folder.holds_products:
        log.warning("going on with %s: last bits of the numbers may differ", ", ".join(changed))
    folder.record["device"] = now
    _count_processes(folder)
    return device


def _count_processes(folder: RunFolder) -> None:
    """Record how many processes train; another number than before moves last bits."""
    before, now = folder.record.get("processes", 1), distributed.current().world
    trained = folder.record["stages"].get("train", {}).get("status") == "done"
    if before != now and folder.holds_products and not trained:
        log.warning(
            "going on with %s, begun with %d: the same samples in the same order, but sums are "
            "rounded otherwise, and dropout draws other numbers",
            counted(now, "process", "processes"),
            before,
        )
    if not trained:
        folder.record["processes"] = now

"""Blocks of a data set that is being prepared: a shard of each variable, done by one worker.

A worker opens the source itself, reads its block, scans, sums and writes it, and notes what it
found in a file of its own: what is noted is done.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from diffsci.data import reader, stacking
from diffsci.data.catalog import Entry
from diffsci.data.checks import streaming
from diffsci.data.checks.problems import Report
from diffsci.data.checks.scanning import Scan
from diffsci.data.domains.base import Domain
from diffsci.data.prepared import shards
from diffsci.data.prepared.numbered import opened
from diffsci.data.sums import Sums
from diffsci.errors import DiffsciError
from diffsci.sections import Part

NOTES = ".prepare"
"""Folder of the notes, in the store that is being written."""

LEADS = ("sample", "time")

STACKS = ("level", "channel")
"""Dims whose items are channels of their own."""

_MOST_STEPS = 512


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be written.

    Args:
        entry: The source.
        domain: What it is read as.
        train: The part whose statistics are taken; none takes all.
        variables: Take only these; empty takes all.
        target: The store.
        workers: Processes.
        memory: Bytes that all workers together may hold, about.
        dask: Address of a scheduler; none starts processes here.
    """

    entry: Entry
    domain: Domain
    target: Path
    train: Part | None = None
    variables: tuple[str, ...] = ()
    workers: int = 1
    memory: int = 2**30
    dask: str | None = None


@dataclass(frozen=True, kw_only=True)
class Box:
    """One block: a range of samples and one of times.

    Args:
        number: Place in the order.
        samples: First and one after the last; none where there are no samples.
        times: The same of times.
    """

    number: int
    samples: tuple[int, int] | None
    times: tuple[int, int] | None

    def of(self, dims: Sequence[object]) -> dict[str, slice]:
        """The selection, for a variable with these dims."""
        told = {"sample": self.samples, "time": self.times}
        return {d: slice(*r) for d, r in told.items() if r is not None and d in dims}


def boxes_of(canonical: xr.Dataset, plan: Plan) -> list[Box]:
    """Blocks whose values, three times over, fit into a worker's share of the memory."""
    sizes = {dim: canonical.sizes.get(dim, 0) for dim in LEADS}
    count = max(1, sizes["sample"]) * max(1, sizes["time"])
    one = max(1, streaming.size(canonical) // count)
    steps = max(1, min(plan.memory // (3 * max(1, plan.workers)) // one, _MOST_STEPS))
    row = max(1, sizes["time"])
    found: list[tuple[tuple[int, int] | None, tuple[int, int] | None]] = []
    if steps >= row and sizes["sample"]:
        for first in range(0, sizes["sample"], steps // row):
            last = min(first + steps // row, sizes["sample"])
            found.append(((first, last), (0, sizes["time"]) if sizes["time"] else None))
    else:
        for sample in range(max(1, sizes["sample"])):
            for first in range(0, sizes["time"], steps):
                of_sample = (sample, sample + 1) if sizes["sample"] else None
                found.append((of_sample, (first, min(first + steps, sizes["time"]))))
    return [Box(number=n, samples=s, times=t) for n, (s, t) in enumerate(found)]


def write_block(
    plan: Plan, partial: Path, box: Box, trained: tuple[tuple[int, int] | None, ...]
) -> int:
    """Read, scan, sum and write one block, and note it; its number.

    Args:
        plan: The whole.
        partial: The store.
        box: The block.
        trained: Samples and times whose statistics are taken.
    """
    canonical = _canonical(plan)
    note = {
        name: _write_one(canonical[name], name, partial, box, trained)
        for name in streaming.names(canonical)
    }
    path = partial / NOTES / f"{box.number}.json"
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(note))
    fresh.rename(path)
    return box.number


_begun: list[Callable[[Box], int]] = []


def begun(plan: Plan, partial: Path, trained: tuple[tuple[int, int] | None, ...]) -> None:
    """What a process does first: data in memory comes once to each process, not with each block.

    It is here, and not where the processes are begun, since they need nothing of what is imported
    there, such as torch.
    """
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    _begun[:] = [lambda box: write_block(plan, partial, box, trained)]


def _end_with_the_command() -> None:
    """End this process when the one that prepares is gone, however it went.

    It would wait for work for good, and the server that forked it lives as long as it does.
    """
    command = multiprocessing.parent_process()
    assert command is not None
    command.join()
    os._exit(1)


def done(box: Box) -> int:
    """`write_block` in a process that has begun."""
    return _begun[0](box)


def _canonical(plan: Plan) -> xr.Dataset:
    """The source, opened once by each process: thousands of files take long to open."""
    key = (os.getpid(), f"prepare {plan.target}")
    if key not in opened:
        raw = reader.open_raw(plan.entry)
        try:
            found = plan.domain.canonical(raw, plan.entry, Report("", []), plan.variables)
        except DiffsciError:
            raw.close()
            raise
        found.set_close(raw.close)
        opened[key] = found
    canonical: xr.Dataset = opened[key]
    return canonical


def closed(plan: Plan) -> None:
    """Close the source where this process had it open."""
    found = opened.pop((os.getpid(), f"prepare {plan.target}"), None)
    if found is not None:
        found.close()


def _write_one(
    variable: xr.DataArray,
    name: str,
    partial: Path,
    box: Box,
    trained: tuple[tuple[int, int] | None, ...],
) -> dict[str, Any]:
    chosen = box.of(variable.dims)
    part = variable.isel(chosen)
    with np.errstate(over="ignore"):
        raw = stacking.physical(np.asarray(part.values), variable.attrs)
        values = raw.astype(np.float32, copy=False)
    scan = Scan.of(name, variable.attrs)
    lead = [dim for dim in LEADS if dim not in part.dims]
    labelled = part.copy(data=values).expand_dims(lead).transpose(*LEADS, ...)
    scan.add(labelled.values, labelled)
    _write_shard(partial / name, values, chosen)
    inside: dict[str, slice] = {}
    for dim, span in zip(LEADS, trained, strict=True):
        if span is not None and dim in chosen:
            first = chosen[dim].start
            inside[dim] = slice(max(span[0] - first, 0), max(span[1] - first, 0))
    used = labelled.isel(inside)
    stacked = next((dim for dim in STACKS if dim in used.dims), None)
    parts = (
        [used] if stacked is None else [used.isel({stacked: i}) for i in range(used.sizes[stacked])]
    )
    sums = [
        # Field by field: what is summed with what does not depend on the size of a block.
        Sums.merged(map(Sums.of, each.values.reshape(-1, *each.shape[len(LEADS) :]))).to_dict()
        for each in parts
    ]
    return {"sums": sums, "scan": scan.to_dict()}


def _write_shard(folder: Path, values: np.ndarray, chosen: dict[str, slice]) -> None:
    """The block as a shard of its variable: one that is full, or the last along a dim."""
    room = zarr.open_array(folder, mode="r").shards
    assert room is not None
    lead = tuple(room[: len(chosen)])
    cell = [each.start // size for each, size in zip(chosen.values(), lead, strict=True)]
    path = folder / "c" / "/".join(map(str, [*cell, *[0] * (values.ndim - len(lead))]))
    places = np.indices(values.shape[: len(lead)]).reshape(len(lead), -1)
    numbers = np.zeros(1, dtype=np.int64)
    if lead:
        numbers = np.atleast_1d(np.ravel_multi_index(tuple(places), lead))
    fields = values.reshape(len(numbers), *values.shape[len(lead) :])
    shards.write(path, fields, numbers, int(np.prod(lead)))

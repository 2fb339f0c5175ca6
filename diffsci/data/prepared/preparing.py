"""Preparing: one pass over a data set that checks it, measures it, and writes it for training.

The store is the canonical data set as Zarr v3: a field to a chunk, hundreds of them to a shard,
each with its crc32c, so that any reader of Zarr opens it, and the usual one gives the tensors of
the source. A block is a shard of each variable: it is read, scanned, summed and written by one
task, of a process here or of a dask cluster, and noted when it is done, so that a stopped run goes
on. Sums of blocks are exact: numbers do not depend on how many workers there were, nor on memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr
import zarr

from diffsci.data import opening, reader, stacking
from diffsci.data.checks import streaming
from diffsci.data.checks.problems import Report
from diffsci.data.checks.scanning import Scan
from diffsci.data.prepared import blocks, processes
from diffsci.data.prepared.blocks import LEADS, NOTES, Box, Plan, boxes_of, closed, write_block
from diffsci.data.recognising import ORDER
from diffsci.data.sums import Sums
from diffsci.errors import DataError, StorageError

log = logging.getLogger(__name__)


def prepare(plan: Plan) -> Path:
    """The prepared store, written now as far as it is not there yet.

    Raises:
        DataError: For data that a check would refuse; nothing is left then.
        StorageError: For a target that is something else.
    """
    if plan.target.exists():
        return _known(plan)
    if plan.workers > 1 and plan.dask is None:
        processes.begin([type(plan.domain).__module__])
    raw = reader.open_raw(plan.entry)
    try:
        canonical = plan.domain.canonical(raw, plan.entry, None, plan.variables)
        plan.domain.fields(streaming.hollow(canonical), plan.entry.name)
        boxes = boxes_of(canonical, plan)
        partial = plan.target.with_name(f".{plan.target.name}.partial")
        mark = _mark(plan, canonical, boxes)
        _template(canonical, partial, mark, boxes, plan)
        trained = _trained(canonical, plan)
    finally:
        raw.close()
    done = {box.number for box in boxes if (partial / NOTES / f"{box.number}.json").exists()}
    left = [box for box in boxes if box.number not in done]
    if done:
        log.info("prepare: %d of %d blocks are there already", len(done), len(boxes))
    try:
        for count, _ in enumerate(_done(plan, partial, left, trained), start=1):
            if count % max(1, len(left) // 10) == 0 or count == len(left):
                log.info("prepare: %d of %d blocks", len(done) + count, len(boxes))
    finally:
        closed(plan)
    return _finished(plan, partial, boxes, trained)


def _known(plan: Plan) -> Path:
    """The store that is there, if it is one of these."""
    try:
        told = dict(zarr.open_group(plan.target, mode="r").attrs)
    except (OSError, ValueError, KeyError, TypeError):
        told = {}
    if "prepared_from" not in told:
        raise StorageError(f"{plan.target}: is there, and no prepared store; name another --out")
    log.info("prepare: %s is there already", plan.target)
    return plan.target


def _mark(plan: Plan, canonical: xr.Dataset, boxes: list[Box]) -> str:
    """What the store depends on, so that only blocks of the same plan are kept."""
    told = [
        plan.entry.location,
        repr(plan.domain),
        repr(plan.train),
        [[name, str(canonical[name].sizes)] for name in streaming.names(canonical)],
        [asdict(box) for box in boxes],
        sorted(Sums().to_dict()),  # What is noted of a block: an older version noted other sums.
        [str(value) for value in canonical["time"].values[:1]] if "time" in canonical.coords else 0,
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _template(
    canonical: xr.Dataset, partial: Path, mark: str, boxes: list[Box], plan: Plan
) -> None:
    """The store without values; kept where it is that of the same plan."""
    notes = partial / NOTES
    if (notes / "plan").exists() and (notes / "plan").read_text() == mark:
        return
    shutil.rmtree(partial, ignore_errors=True)
    fields = streaming.names(canonical)
    plain = opening.told(canonical.drop_vars(fields)).assign_attrs(
        opening.told(canonical).attrs, prepared_from=plan.entry.location, **{ORDER: fields}
    )
    partial.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Zarr v3 has no text for consolidated metadata yet.
        plain.to_zarr(partial, mode="w", zarr_format=3, consolidated=False)
    first = boxes[0]
    for name in fields:
        variable = canonical[name]
        shape = {dim: s.stop - s.start for dim, s in first.of(variable.dims).items()}
        attributes = {
            k: v
            for k, v in opening.told(canonical[[name]])[name].attrs.items()
            if k not in stacking.INNER
        }
        zarr.create_array(
            store=partial,
            name=name,
            shape=variable.shape,
            dtype="float32",
            chunks=tuple(1 if d in shape else n for d, n in variable.sizes.items()),
            shards=tuple(shape.get(str(d), n) for d, n in variable.sizes.items()),
            filters=None,
            compressors=(zarr.codecs.Crc32cCodec(),),
            fill_value=float("nan"),
            dimension_names=[str(dim) for dim in variable.dims],
            attributes=attributes,
            config={"write_empty_chunks": True},
        )
    notes.mkdir()
    (notes / "plan").write_text(mark)


def _trained(canonical: xr.Dataset, plan: Plan) -> tuple[tuple[int, int] | None, ...]:
    """First and last sample and time of the training part; none is all."""
    if plan.train is None:
        return (None, None)
    chosen = reader.select(canonical, plan.train, plan.entry)
    span: tuple[int, int] | None = None
    if plan.train.time is not None:
        times = list(canonical["time"].values)
        first = times.index(chosen["time"].values[0])
        span = (first, first + chosen.sizes["time"])
    return (plan.train.samples, span)


def _done(
    plan: Plan, partial: Path, boxes: list[Box], trained: tuple[tuple[int, int] | None, ...]
) -> Iterator[int]:
    """The blocks as they are done."""
    if plan.dask is not None:
        yield from _remote(plan.dask, [(plan, partial, box, trained) for box in boxes])
        return
    if plan.workers == 1:
        for box in boxes:
            yield write_block(plan, partial, box, trained)
        return
    context = multiprocessing.get_context("forkserver")
    left = [box.number for box in boxes]
    try:
        with ProcessPoolExecutor(
            plan.workers, context, blocks.begun, (plan, partial, trained)
        ) as pool:
            tasks = [pool.submit(blocks.done, box) for box in boxes]
            try:
                for task in as_completed(tasks):
                    left.remove(task.result())
                    yield len(boxes) - len(left)
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool as error:
        # Blocks are begun in their order: one in the hand of each worker, and one that waits.
        numbers = ", ".join(map(str, left[: 2 * plan.workers]))
        raise StorageError(
            f"{plan.target}: a worker ended by itself, with blocks {numbers} in hand (memory, or a "
            "script without `if __name__ == '__main__':`); the same command goes on: lower "
            "--workers or --memory"
        ) from error


def _remote(address: str, arguments: list[tuple[Any, ...]]) -> Iterator[int]:
    try:
        from distributed import Client
        from distributed import as_completed as completed
    except ImportError as error:
        raise StorageError(
            f"--dask {address}: pip install 'diffsci[cluster]' to use a dask scheduler"
        ) from error
    try:
        client = Client(address, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise StorageError(
            f"--dask {address}: no scheduler answers ({type(error).__name__}); start one, or leave "
            "the option out"
        ) from error
    with client:
        tasks = [client.submit(write_block, *each, pure=False) for each in arguments]
        for future in completed(tasks):  # type: ignore[no-untyped-call]
            yield int(future.result())


def _rows(
    boxes: list[Box], trained: tuple[tuple[int, int] | None, ...]
) -> dict[str, tuple[int, int]]:
    """First and one after the last sample and time whose statistics were taken."""
    found = {}
    for dim, span in zip(LEADS, trained, strict=True):
        spans = [s for s in (box.of(LEADS).get(dim) for box in boxes) if s is not None]
        if spans:
            found[dim] = span or (0, max(each.stop for each in spans))
    return found


def _finished(
    plan: Plan, partial: Path, boxes: list[Box], trained: tuple[tuple[int, int] | None, ...]
) -> Path:
    """The store under its name, with the statistics of the training part."""
    notes = [json.loads((partial / NOTES / f"{box.number}.json").read_text()) for box in boxes]
    problems: list[Any] = []
    report = Report(plan.entry.location, problems)
    statistics = {}
    for name in notes[0]:
        Scan.merged(name, [note[name]["scan"] for note in notes]).tell(report)
        channels = [
            Sums.merged([Sums(**note[name]["sums"][number]) for note in notes])
            for number in range(len(notes[0][name]["sums"]))
        ]
        told = [sums.statistics() for sums in channels]
        statistics[name] = Sums.merged(channels).statistics() | {"channels": told}
    if any(not problem.warning for problem in problems):
        shutil.rmtree(partial)
        raise DataError("\n".join(str(problem) for problem in problems))
    group = zarr.open_group(partial, mode="r+")
    group.attrs["statistics"] = statistics
    group.attrs["statistics_rows"] = _rows(boxes, trained)
    shutil.rmtree(partial / NOTES)
    partial.rename(plan.target)
    return plan.target

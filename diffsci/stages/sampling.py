"""The sampling stage: the ensemble and its truth as labelled stores, going on after a stop."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float
from tqdm import tqdm

from diffsci import stopping
from diffsci.data.fields import Cases
from diffsci.forecasting.conditions import Given
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.store import Growing, blocks_of, write_whole
from diffsci.forecasting.surrogate import Surrogate
from diffsci.forecasting.tiles import Tiling

log = logging.getLogger(__name__)


def some(given: Given, first: int, after: int) -> Given:
    """The cases from `first` to the one before `after`."""
    part = slice(first, after)
    cases = given.cases
    taken = replace(
        cases,
        rows=cases.rows[part],
        keys=cases.keys[part],
        trajectories=cases.trajectories[part],
        times=cases.times[part],
        labels={name: values[part] for name, values in cases.labels.items()},
    )
    return Given(
        cases=taken,
        known=None if given.known is None else given.known[part],
        scalars=None if given.scalars is None else given.scalars[part],
        observed=None if given.observed is None else given.observed.take(part),
    )


def write_ensemble(
    model: Surrogate,
    engine: Engine,
    given: Given,
    *,
    members: int,
    seed: int,
    batch: int,
    store: Path,
    digest: str,
) -> None:
    """All members of all cases, written block by block.

    Args:
        model: What samples.
        engine: Where it computes.
        given: The cases.
        members: Members of each case.
        seed: Of the noise.
        batch: Rows that a block of the store may hold; the results do not depend on it.
        store: The forecast store; it takes this name when it is whole.
        digest: Of all that it is made from; only a store of the same digest is gone on with.
    """
    cases = given.cases
    leads = max(1, len(cases.leads))
    blocks = _blocks(model, cases, members, batch)
    growing = Growing(path=store, case_dim=_case_dim(model, cases), blocks=blocks, digest=digest)
    numbers = np.arange(members)

    def template() -> xr.Dataset:
        shape = (len(cases), members, leads, len(model.channels), *model.grid.sizes)
        empty = np.broadcast_to(np.float32(np.nan), shape)
        return model.label(empty, cases, numbers)

    growing.begin(template)
    todo = growing.missing()
    if len(todo) < len(blocks):
        log.info(
            "sample: going on, %d of %d blocks are there", len(blocks) - len(todo), len(blocks)
        )
    calls = engine.calls
    log.info(
        "sample: %d cases x %d members%s, %d network calls each",
        len(cases),
        members,
        f" x {leads} leads" if cases.leads else "",
        calls * leads,
    )
    _say_tiles(engine.tiles)
    bar = tqdm(total=len(todo), unit="block", disable=not sys.stderr.isatty(), desc="sample")
    started = last = time.monotonic()
    drawn = in_turn(model, engine, given, todo, members, seed)
    with closing(bar), stopping.patiently():
        for done, (block, values) in enumerate(drawn, start=1):
            growing.write(block, model.label(values, some(given, *block).cases, numbers))
            bar.update(1)
            now = time.monotonic()
            if bar.disable and (now - last > 10 or done == len(todo)):
                last = now
                left = (now - started) / done * (len(todo) - done)
                log.info("sample: block %d of %d, %.0f s left", done, len(todo), left)
            stopping.boundary(f"sample: stopped after block {done} of {len(todo)}, which is saved")
    growing.finish()


def _say_tiles(tiling: Tiling | None) -> None:
    if tiling is None:
        return
    log.info("sample: each field is computed in %d tiles", tiling.count)
    if tiling.warning is not None:
        log.warning("%s", tiling.warning)


def in_turn(
    model: Surrogate,
    engine: Engine,
    given: Given,
    blocks: Sequence[tuple[int, int]],
    members: int,
    seed: int,
) -> Iterator[tuple[tuple[int, int], Float[np.ndarray, "case member lead channel *space"]]]:
    """Each block with its values; the engine's batches run on over the borders of blocks.

    Often a block of one case has fewer rows than a batch of the network. Filled up by itself, it
    would waste the rest; so only the last batch of all is filled up.
    """
    pairs = [
        (case, member)
        for first, after in blocks
        for case in range(first, after)
        for member in range(members)
    ]
    waiting = iter(blocks)
    block = next(waiting, None)
    made: list[np.ndarray] = []
    for start in range(0, len(pairs), engine.compute_batch):
        made.append(model.drawn(engine, given, pairs[start : start + engine.compute_batch], seed))
        while block is not None and sum(map(len, made)) >= (block[1] - block[0]) * members:
            rows, count = np.concatenate(made), block[1] - block[0]
            values = rows[: count * members].reshape(count, members, *rows.shape[1:])
            made = [rows[count * members :]]
            yield block, values
            block = next(waiting, None)


def _blocks(
    model: Surrogate, cases: Cases, members: int, batch: int
) -> tuple[tuple[int, int], ...]:
    """Blocks of cases: handy chunks of the largest variable, and no more rows than `batch`."""
    levels = max(Counter(channel.variable for channel in model.channels).values())
    fields = members * max(1, len(cases.leads)) * levels
    size = fields * int(np.prod(model.grid.sizes)) * np.dtype(np.float32).itemsize
    return blocks_of(len(cases), size, max(1, batch // members))


def write_truth(
    model: Surrogate, cases: Cases, truth: np.ndarray, store: Path, *, members: int, batch: int
) -> None:
    """What the ensemble is scored against, in the same layout without `number`.

    Args:
        model: Labels it.
        cases: What the case axis is.
        truth: Physical units, `[case, lead, channel, *space]`.
        store: Its place.
        members: Of the ensemble, whose chunks along the cases it shares.
        batch: As in `write_ensemble`.
    """
    labelled = model.label(truth[:, None], cases, None)
    of_the_model = ("diffsci_sampler", "diffsci_seed", "diffsci_seed_scheme", "diffsci_model")
    kept = {name: value for name, value in labelled.attrs.items() if name not in of_the_model}
    kept["title"] = f"{model.pipeline.name}: truth that the ensemble is scored against"
    blocks = _blocks(model, cases, members, batch)
    chunk = max(after - first for first, after in blocks)
    told = labelled.drop_attrs(deep=False).assign_attrs(kept)
    write_whole(store, told, _case_dim(model, cases), chunk)


def _case_dim(model: Surrogate, cases: Cases) -> str:
    """The store's dimension along which cases lie: the first one of every variable."""
    shape = (len(cases), 1, max(1, len(cases.leads)), len(model.channels), *model.grid.sizes)
    empty = np.broadcast_to(np.float32(0), shape)
    labelled = model.label(empty, cases, np.arange(1))
    return str(next(iter(labelled.data_vars.values())).dims[0])

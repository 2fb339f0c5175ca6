"""The sampling stage: the ensemble and its truth as labelled stores, going on after a stop."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from tqdm import tqdm

from diffsci.data.fields import Cases
from diffsci.forecasting.conditions import Given
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.store import Growing, blocks_of, write_whole
from diffsci.forecasting.surrogate import Surrogate

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
        batch: Rows to have at once; the results do not depend on it.
        store: The forecast store; it takes this name when it is whole.
        digest: Of all that it is made from; only a store of the same digest is gone on with.
    """
    cases = given.cases
    leads = max(1, len(cases.leads))
    cells = int(np.prod(model.grid.sizes))
    levels = len(model.channels)
    blocks = blocks_of(len(cases), members * leads * levels * cells * 4, max(1, batch // members))
    growing = Growing(path=store, case_dim=_case_dim(model, cases), blocks=blocks, digest=digest)
    numbers = np.arange(members)

    def template() -> xr.Dataset:
        shape = (len(cases), members, leads, levels, *model.grid.sizes)
        empty = np.broadcast_to(np.float32(np.nan), shape)
        return model.label(empty, cases, numbers)

    growing.begin(template)
    todo = growing.missing()
    if len(todo) < len(blocks):
        log.info(
            "sample: going on, %d of %d blocks are there", len(blocks) - len(todo), len(blocks)
        )
    calls = engine.sampler.calls * (engine.guidance.calls_per_step if engine.guidance else 1)
    log.info(
        "sample: %d cases x %d members%s, %d network calls each",
        len(cases),
        members,
        f" x {leads} leads" if cases.leads else "",
        calls * leads,
    )
    bar = tqdm(total=len(todo), unit="block", disable=not sys.stderr.isatty(), desc="sample")
    started = last = time.monotonic()
    for done, block in enumerate(todo, start=1):
        part = some(given, *block)
        values = model.values(engine, part, range(members), seed)
        growing.write(block, model.label(values, part.cases, numbers))
        bar.update(1)
        now = time.monotonic()
        if bar.disable and (now - last > 10 or done == len(todo)):
            last = now
            left = (now - started) / done * (len(todo) - done)
            log.info("sample: block %d of %d, %.0f s left", done, len(todo), left)
    bar.close()
    growing.finish()


def write_truth(model: Surrogate, cases: Cases, truth: np.ndarray, store: Path) -> None:
    """What the ensemble is scored against, in the same layout without `number`."""
    labelled = model.label(truth[:, None], cases, None)
    of_the_model = ("diffsci_sampler", "diffsci_seed", "diffsci_seed_scheme", "diffsci_model")
    kept = {name: value for name, value in labelled.attrs.items() if name not in of_the_model}
    kept["title"] = f"{model.pipeline.name}: truth that the ensemble is scored against"
    write_whole(store, labelled.drop_attrs(deep=False).assign_attrs(kept))


def _case_dim(model: Surrogate, cases: Cases) -> str:
    """The store's dimension along which cases lie: the first one of every variable."""
    shape = (len(cases), 1, max(1, len(cases.leads)), len(model.channels), *model.grid.sizes)
    empty = np.broadcast_to(np.float32(0), shape)
    labelled = model.label(empty, cases, np.arange(1))
    return str(next(iter(labelled.data_vars.values())).dims[0])

"""Several processes that sample one store: rank 0 decides and puts together, all compute units."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from diffsci import config
from diffsci.errors import DataError
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given
from diffsci.forecasting.opening import read_surrogate
from diffsci.forecasting.store.ledger import Ledger, conditions_of
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.template import Template
from diffsci.forecasting.store.units import Unit
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running.folder import RunFolder
from diffsci.runtime import Device
from diffsci.sections import Runtime
from diffsci.sections.storing import Storing
from diffsci.stages.ensembles.growing import Growth
from diffsci.stages.ensembles.hands import Alone, Hands, Workers
from diffsci.stages.ensembles.job import Job, cutting_of
from diffsci.stages.prepare import prepare
from diffsci.training import distributed

log = logging.getLogger(__name__)

WORD = "sample"

Opened = tuple[Surrogate, Engine, Given]
"""What a process needs to sample with rank 0."""


def hands_of(runtime: Runtime) -> Hands:
    """Dask's workers where they are asked for, else the processes of this run."""
    if runtime.dask is not None:
        return Workers(runtime.dask)
    return Ranks() if distributed.current().world > 1 else Alone()


def taken(units: list[Unit]) -> Iterator[Unit]:
    """Those that this process takes of several, until none is left."""
    while (number := distributed.take("unit")) < len(units):
        yield units[number]


class Ranks(Hands):
    """All processes of a run, of which this is rank 0."""

    def do(self, job: Job, units: list[Unit]) -> None:
        """See `Hands.do`.

        Raises:
            RankError: When another process ended by an error.
        """
        ranks = distributed.current()
        distributed.tell(WORD, json.dumps(_plan(job, units)))
        log.info("sample: shared by %d processes", ranks.world)
        job.run(taken(units), len(units))
        for rank in range(1, ranks.world):
            _await(rank)
        # What a process had in hand that died is still to be done.
        left = job.growth.anew().missing
        if left.any():
            rest = job.cutting.units(left)
            job.run(iter(rest), len(rest))


def _await(rank: int) -> None:
    """Wait for a process that has units in hand, as long as it is heard of."""
    patience = distributed.timeout_seconds()
    beat, since = None, time.monotonic()
    while distributed.told(f"sampled/{rank}") is None:
        found = distributed.told(f"beat/{rank}")
        if found != beat:
            beat, since = found, time.monotonic()
        if time.monotonic() - since > patience:
            log.warning("sample: rank %d is not heard of any more; its units are done here", rank)
            return
        time.sleep(0.05)


@contextmanager
def _beating(rank: int) -> Iterator[None]:
    """A block in which rank 0 hears every second that this process lives."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(1.0):
            count += 1
            with suppress(RuntimeError):  # rank 0, which hosts the store, has ended
                distributed.tell(f"beat/{rank}", str(count))

    thread = threading.Thread(target=beat, name="heart", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _plan(job: Job, units: list[Unit]) -> dict[str, Any]:
    return {
        "store": job.growth.store.address,
        "target": job.growth.target.to_dict(),
        "storing": job.growth.template.storing.to_dict(),
        "seed": job.seed,
        "batch": job.cutting.batch,
        "units": [astuple(unit) for unit in units],
    }


def follow_run(loaded: config.Loaded, folder: Path) -> None:
    """Sample the test cases of a run with rank 0, where it samples.

    Args:
        loaded: The pipeline.
        folder: The run folder, with the trained model.
    """

    def opened(_: list[str]) -> Opened:
        pipeline = loaded.pipeline
        assert pipeline.sample is not None
        model = read_surrogate(folder / "model", pipeline)
        device = Device.of(pipeline.runtime).as_begun(pipeline.runtime, _device(folder))
        evaluation = prepare(pipeline, loaded.roots).evaluation
        return model, model.engine(device), Given.of_tests(evaluation, pipeline.sample.observed)

    follow(opened)


def _device(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = RunFolder.read(folder).record.get("device", {})
    return found


def follow(opened: Callable[[list[str]], Opened]) -> None:
    """Sample with rank 0, where it samples.

    Args:
        opened: The model, its engine and these cases by their keys, as rank 0 has them.

    Raises:
        DataError: When this process reads other data than rank 0.
    """
    word = distributed.hear(WORD)
    if word is None:
        return
    plan = json.loads(word)
    store = Place(plan["store"])
    target = Ledger.of(plan["target"], store)
    model, engine, given = opened(list(target.cases))
    if conditions_of(given) != target.cases:
        raise DataError("rank 0 reads other data than this process: all need the same files")
    units = [Unit(first=a, after=b, start=c, stop=d) for a, b, c, d in plan["units"]]
    template = Template(
        model=model, cases=given.cases, members=target.members, storing=Storing(**plan["storing"])
    )
    job = Job(
        model=model,
        engine=engine,
        given=given,
        seed=plan["seed"],
        cutting=cutting_of(model, engine, plan["batch"]),
        growth=Growth(store, target, template, given, None),
    )
    rank = distributed.current().rank
    with _beating(rank):
        job.run(taken(units), len(units))
    distributed.tell(f"sampled/{rank}", "")

"""Hands: who computes the units of a store. One process by default; here is how they are given out.

Whoever is free takes the next unit, so that slow hands do less. A unit that was begun and not
committed, since its process died, is missing and is done by the next call of the same command.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any

from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given
from diffsci.forecasting.store.units import Unit
from diffsci.forecasting.store.work import Writing
from diffsci.forecasting.store.writing import Writer
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running import stopping
from diffsci.stages.cluster import connected
from diffsci.stages.ensembles.job import Job, compute, some

log = logging.getLogger(__name__)


class Hands(ABC):
    """Whoever gets units done."""

    @abstractmethod
    def do(self, job: Job, units: list[Unit]) -> None:
        """Have all units computed and committed.

        Args:
            job: What computing one takes.
            units: All that is missing.
        """


class Alone(Hands):
    """This process, one unit after the other."""

    def do(self, job: Job, units: list[Unit]) -> None:
        """See `Hands.do`."""
        job.run(iter(units), len(units))


class Workers(Hands):
    """The workers of a dask cluster; they and this process see the store under the same address.

    Args:
        address: Of its scheduler, or `local` for workers on this machine.
        seconds: To wait for its answer.
    """

    def __init__(self, address: str, seconds: float = 10.0) -> None:
        self.address, self.seconds = address, seconds

    def do(self, job: Job, units: list[Unit]) -> None:
        """See `Hands.do`.

        Raises:
            ConfigError: When there is no scheduler, or dask's distributed part is not installed.
        """
        with connected(self.address, self.seconds) as client, stopping.patiently():
            import distributed

            finished: Any = distributed.as_completed
            log.info("sample: %d dask workers", len(client.scheduler_info()["workers"]))
            shared = client.scatter([job.model, job.engine], broadcast=True)
            waiting = [
                client.submit(_done, *shared, *_parts(job, unit), pure=False) for unit in units
            ]
            for done, future in enumerate(finished(waiting), start=1):
                future.result()
                log.info("sample: unit %d of %d", done, len(units))
                if stopping.wanted():
                    client.cancel(waiting)
                stopping.boundary(f"sample: stopped after unit {done} of {len(units)}")


def _parts(job: Job, unit: Unit) -> tuple[Given, list[tuple[int, int]], int, int, Writing]:
    """What a worker needs of a unit beside the model: its own cases alone."""
    window = job.cutting.window(unit, max(1, len(job.given.cases.leads)))
    given = some(job.given, unit.first, unit.after)
    pairs = [(case - unit.first, member) for case, member in unit.pairs]
    return given, pairs, job.seed, window, job.growth.writing(unit, window)


def _done(
    model: Surrogate,
    engine: Engine,
    given: Given,
    pairs: list[tuple[int, int]],
    seed: int,
    window: int,
    writing: Writing,
) -> None:
    """A unit, on a worker."""
    with Writer() as writer:
        compute(model, engine, given, pairs, seed, window, writing, writer)

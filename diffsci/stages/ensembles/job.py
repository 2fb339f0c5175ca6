"""The job of sampling one store: how a unit of it is computed, by whoever gets it."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from tqdm import tqdm

from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given
from diffsci.forecasting.rollout import Rollout
from diffsci.forecasting.store.template import part_of
from diffsci.forecasting.store.units import Cutting, Unit
from diffsci.forecasting.store.work import Writing
from diffsci.forecasting.store.writing import Writer
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running import stopping
from diffsci.stages.ensembles.growing import Growth

log = logging.getLogger(__name__)


def some(given: Given, first: int, after: int) -> Given:
    """The cases from `first` to the one before `after`."""
    part = slice(first, after)
    return replace(
        given,
        cases=part_of(given.cases, part),
        known=None if given.known is None else given.known[part],
        scalars=None if given.scalars is None else given.scalars[part],
        observed=None if given.observed is None else given.observed.take(part),
        kept=None if given.kept is None else given.kept[part],
        edges=None if given.edges is None else given.edges[part],
    )


def cutting_of(model: Surrogate, engine: Engine, batch: int) -> Cutting:
    """How the model's work is cut."""
    state = 4 * len(model.channels) * math.prod(model.grid.sizes)
    return Cutting(compute_batch=engine.compute_batch, batch=batch, state_bytes=state)


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that computing a unit takes.

    Args:
        model: What samples.
        engine: Where it computes.
        given: The cases that units count in.
        seed: Of the noise.
        cutting: How long a window of leads is.
        growth: Where units go.
    """

    model: Surrogate
    engine: Engine
    given: Given
    seed: int
    cutting: Cutting
    growth: Growth

    def run(self, units: Iterator[Unit], count: int) -> int:
        """Compute units one after the other, and write each while the next is computed.

        Args:
            units: As they are handed out.
            count: How many there are in all, for the bar.

        Returns:
            How many were done here.

        Raises:
            Stopped: After a unit is committed, when a signal asked for it.
        """
        bar = tqdm(total=count, unit="unit", disable=not sys.stderr.isatty(), desc="sample")
        started = last = time.monotonic()
        done = 0
        with closing(bar), stopping.patiently(), Writer() as writer:
            for unit in units:
                self._compute(unit, writer)
                done += 1
                bar.update(1)
                now = time.monotonic()
                if bar.disable and (now - last > 10 or done == count):
                    last = now
                    left = (now - started) / done * (count - done)
                    log.info("sample: unit %d of %d, %.0f s left", done, count, left)
                if stopping.wanted():
                    writer.flush()
                stopping.boundary(f"sample: stopped after unit {done} of {count}, which is saved")
        return done

    def _compute(self, unit: Unit, writer: Writer) -> None:
        leads = max(1, len(self.given.cases.leads))
        window = self.cutting.window(unit, leads)
        writing = self.growth.writing(unit, window)
        compute(self.model, self.engine, self.given, unit.pairs, self.seed, window, writing, writer)


def compute(
    model: Surrogate,
    engine: Engine,
    given: Given,
    pairs: list[tuple[int, int]],
    seed: int,
    window: int,
    writing: Writing,
    writer: Writer,
) -> None:
    """Compute some members, and have them written and committed.

    Args:
        model: What samples.
        engine: Where it computes.
        given: The cases.
        pairs: Place of the case in `given`, and number of the member, of each.
        seed: Of the noise.
        window: Leads that are held at a time.
        writing: Where they go.
        writer: By whom.
    """
    leads = max(1, len(given.cases.leads))
    rollout = Rollout(engine, model.rows(given, pairs), leads, seed)
    for first in range(0, leads, window):
        states = rollout.next(min(window, leads - first))
        writer.put(writing.write, first, given.with_kept(pairs, model.physical(states)))
    writer.put(writing.commit, rollout.failures.all())

"""Before learning: the parts of the data, statistics of the training part, the cases."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffsci.data import generated
from diffsci.data.catalog import Entry, load_entry
from diffsci.data.checks.leaks import assert_no_leak
from diffsci.data.examples.cases import Evaluation, cases_given
from diffsci.data.examples.parts import read_part
from diffsci.data.examples.windows import Examples
from diffsci.data.fields import Cases, Fields
from diffsci.data.fitting import fit_statistics
from diffsci.data.prepared.holding import mebibytes
from diffsci.data.statistics import Statistics
from diffsci.forecasting.denoiser_of import ports_of
from diffsci.networks.base import Ports
from diffsci.sections import Part, Pipeline, Runtime
from diffsci.sections.rolling import rolled_leads
from diffsci.solvers.base import Solver
from diffsci.stages.alike import Known, require_alike
from diffsci.training import memory

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The data of a run.

    Args:
        name: Entry or file that the run is about.
        train: Training part, physical units.
        test: Test part.
        statistics: Of the training part.
        examples: The training part as batches.
        valid: The validation part as batches.
        evaluation: The test cases.
        ports: Channels and grid for the network.
        digests: Digest of each part.
        solver: What made the test part, where a solver did.
    """

    name: str
    train: Fields
    test: Fields
    statistics: Statistics
    examples: Examples
    valid: Examples | None
    evaluation: Evaluation
    ports: Ports
    digests: dict[str, str]
    solver: Solver | None = None

    @property
    def lead_unit(self) -> str:
        """Unit of leads in tables and plots: hours, days, or that of the data's time."""
        step = self.evaluation.cases.step
        if step is None:
            return ""
        if isinstance(step, np.timedelta64):
            return "h"
        return "time units" if self.train.time_unit == "1" else self.train.time_unit

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Of the training part."""
        return tuple(channel.name for channel in self.train.channels)

    def step(self) -> float | None:
        """One step of the data: nanoseconds for dates, else in the unit of its time."""
        step = self.evaluation.cases.step
        if isinstance(step, np.timedelta64):
            return float(step / np.timedelta64(1, "ns"))
        return None if step is None else float(step)

    def leads(self) -> list[float] | None:
        """Lead of each forecast step in `lead_unit`; none where there is no lead axis."""
        return leads_of(self.evaluation.cases)

    def labels(self) -> np.ndarray | None:
        """Class of each test case, where the data has classes."""
        return self.evaluation.cases.labels.get("label")

    def train_labels(self, windows: np.ndarray) -> np.ndarray | None:
        """Class of each of some training windows, where the data has classes."""
        names = self.train.scalar_names
        if self.train.scalars is None or not names or not names[0].startswith("label="):
            return None
        classes: np.ndarray = self.train.scalars.argmax(axis=1)[windows[:, 0]]
        return classes


def leads_of(cases: Cases) -> list[float] | None:
    """Leads as numbers: hours for dates, else in the unit of the data's time."""
    if not cases.leads or cases.step is None:
        return None
    if isinstance(cases.step, np.timedelta64):
        hours = float(cases.step / np.timedelta64(1, "h"))
        return [hours * lead for lead in cases.leads]
    # Steps are differences of stored times; ten digits hide their rounding.
    return [float(f"{float(cases.step) * lead:.10g}") for lead in cases.leads]


def prepare(pipeline: Pipeline, roots: tuple[Path, ...]) -> Prepared:
    """Read, check and describe the data of a pipeline.

    Raises:
        DataError: For anything wrong with the data, or a test field that equals a training field.
    """
    data, sample, leads = pipeline.data, pipeline.sample, rolled_leads(pipeline)
    name = str(data.entry or data.source)

    room = _Room(pipeline.runtime)

    def part(chosen: Part, copies: int) -> Fields:
        return room.take(read_part(data, chosen, roots, room.free // copies), copies)

    # Examples hold their states once more, normalised.
    train, test = part(data.split.train, 2), part(data.split.test, 1)
    valid = part(data.split.valid, 2) if data.split.valid else None
    room.say(name)
    given = Known.of(train)
    for other, word in ((test, "test"), (valid, "valid")):
        if other is not None:
            require_alike(given, other, word, steps=data.task.has_leads)
            assert_no_leak(train, other)
    data.task.check(train)
    forcings = data.domain.forcings
    statistics = fit_statistics(train, data.task, forcings)
    made_by = (data.task, statistics, forcings, leads)
    examples = Examples(train, *made_by)
    evaluation = cases_given(
        test,
        data.task,
        data.domain,
        statistics,
        leads=sample.leads if sample else 1,
        every=sample.every if sample else 1,
        cases=sample.cases if sample else None,
    )
    evaluation.tell_fewer(sample.cases if sample else None)
    log.info(
        "data: %s; %d training examples, %s test cases; %s; %s",
        name,
        len(examples),
        len(evaluation),
        ", ".join(f"{channel.name} ({channel.unit})" for channel in train.channels[:6]),
        " x ".join(f"{d} {n}" for d, n in zip(train.grid.dims, train.grid.sizes, strict=True)),
    )
    ports = ports_of(pipeline, train.channels, examples.parameters, train.grid)
    digests = {"train": train.digest, "test": test.digest}
    if valid is not None:
        digests["valid"] = valid.digest
    return Prepared(
        name=Path(name).name,
        train=train,
        test=test,
        statistics=statistics,
        examples=examples,
        valid=None if valid is None else Examples(valid, *made_by),
        evaluation=evaluation,
        ports=ports,
        digests=digests,
        solver=_solver(load_entry(data.split.test.entry or name, roots)),
    )


class _Room:
    """Memory for data: what may be held, and what is.

    Args:
        runtime: Says how much.
    """

    def __init__(self, runtime: Runtime) -> None:
        asked = runtime.memory
        self.free = memory.free("cpu") // 2 if asked == "auto" else int(asked * 2**30)
        self.why = "half of what is free" if asked == "auto" else "runtime.memory"
        self.all = self.free

    def take(self, fields: Fields, copies: int) -> Fields:
        """The fields, once their place in memory is counted."""
        if not fields.on_disk:
            self.free -= copies * fields.values.nbytes
        return fields

    def say(self, name: str) -> None:
        """Tell where the data is, and why."""
        held = f"{mebibytes(self.all - self.free)} of {name} are held in memory"
        allowed = f"{mebibytes(self.all)} may be ({self.why})"
        log.info("data: %s; %s", held, allowed)


def _solver(entry: Entry) -> Solver | None:
    return None if entry.source.generator is None else generated.solver(entry)

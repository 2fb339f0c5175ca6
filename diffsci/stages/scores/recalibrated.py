"""The calibrated ensemble: a store that is made of the raw one beside it, and grows with it.

Raw members are kept, since the centre of a case is a mean of them and a rollout's members could not
be had back: `f.zarr` is what was asked for, `f-raw.zarr` what the model drew. Only the raw one is
sampled into; the other is a pure map of it, made anew whenever it lacks something.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.diffusion.basis import Basis
from diffsci.errors import StorageError
from diffsci.evaluation.blocks import Values
from diffsci.forecasting.bounds import Bounds
from diffsci.forecasting.calibration.calibrated import given_cells, recalibration
from diffsci.forecasting.calibration.recalibration import Recalibration
from diffsci.forecasting.constraining import bounds_of
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given
from diffsci.forecasting.store.compaction import Compaction, with_failures
from diffsci.forecasting.store.disk import open_store, quiet
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.template import Template
from diffsci.forecasting.store.work import Committed, Work
from diffsci.forecasting.surrogate import Surrogate
from diffsci.sections import Pipeline, Sample
from diffsci.stages.ensembles.growing import is_same
from diffsci.stages.prepare import Prepared
from diffsci.stages.scores.interval_group import INTERVALS, intervals_of, write_intervals
from diffsci.stages.scores.scoring import Before
from diffsci.stages.scores.stored import Layout

log = logging.getLogger(__name__)

KEY = "calibration"
"""Of a ledger's identity: digest of what made a store of another one."""


def raw_of(store: Place) -> Place:
    """Where the raw members of a calibrated store lie."""
    return store.beside(f"{store.name.removesuffix('.zarr')}-raw.zarr")


def is_calibrated(ledger: Ledger | None) -> bool:
    """Whether a store was made of raw members."""
    return ledger is not None and KEY in ledger.identity


@dataclass(frozen=True, kw_only=True)
class Mapped(Committed):
    """The members of a raw store, calibrated where they are looked at.

    Args:
        model: Whose channels, grid and domain they have.
        by: What they are brought to.
    """

    model: Surrogate
    by: Recalibration

    @classmethod
    def of(cls, raw: Place, model: Surrogate, by: Recalibration) -> Mapped:
        """All that a raw store holds.

        Raises:
            StorageError: When it is not there, or has no ledger.
        """
        ledger = Ledger.read(raw)
        if ledger is None:
            raise StorageError(f"{raw}: has no ledger; remove it, and sample again")
        return cls(
            place=raw,
            cases=tuple(ledger.cases),
            conditions=tuple(ledger.cases.values()),
            start=0,
            stop=ledger.members,
            leads=ledger.leads,
            failed=ledger.failed,
            model=model,
            by=by,
        )

    def values(
        self, row: int, leads: slice, channels: list[int]
    ) -> Float[np.ndarray, "member lead channel *space"]:
        """Calibrated members of one case."""
        members = self.raw(slice(row, row + 1), leads, channels)
        made = self.by.part(leads, channels)(members, self._basis)
        given = given_cells(self.model, self._opened, {self._dims[0]: row})
        made = made if given is None else np.where(given, members, made)
        pairs = tuple(self._bounds.pairs[i] for i in channels)
        return Bounds(pairs=pairs).physical(made[0])

    def intervals(
        self, rows: slice, leads: slice = slice(None)
    ) -> Float[np.ndarray, "level bound case lead channel *space"]:
        """Ends of the intervals of some cases."""
        channels = list(range(len(self.model.channels)))
        ends = self.by.part(leads, channels).intervals(self.raw(rows, leads, channels))
        flat = self._bounds.physical(ends.reshape(-1, *ends.shape[3:]))
        return flat.reshape(ends.shape)

    def raw(
        self, rows: slice, leads: slice, channels: Sequence[int]
    ) -> Float[np.ndarray, "case member lead channel *space"]:
        """Members as they were drawn."""
        block = self._read(rows.start, rows.stop, leads.start, leads.stop, tuple(channels))
        return block

    @cached_property
    def _bounds(self) -> Bounds:
        section = self.model.pipeline.sample
        return bounds_of(section.constraints if section else (), self.model.channels)

    @cached_property
    def _basis(self) -> Basis | None:
        return Basis.of(self.model.grid) if self.by.edges else None

    @cached_property
    def _opened(self) -> xr.Dataset:
        return open_store(str(self.place))

    @cached_property
    def _dims(self) -> tuple[str, str | None]:
        """Names of the dims of cases and of leads."""
        dims = [str(dim) for dim in next(iter(self._opened.data_vars.values())).dims]
        return dims[0], dims[2] if self.model.pipeline.data.task.has_leads else None

    def _read(
        self, first: int, after: int, low: int | None, high: int | None, channels: tuple[int, ...]
    ) -> np.ndarray:
        case, lead = self._dims
        part = {case: slice(first, after)} | ({lead: slice(low, high)} if lead else {})
        own = tuple(self.model.channels[i] for i in channels)
        values: np.ndarray = self.model.pipeline.data.domain.unlabel(
            self._opened.isel(part), own, self.model.grid
        )
        return values


def write(template: Template, asked: Ledger, raw: Place, by: Recalibration, store: Place) -> Ledger:
    """Make a calibrated store of its raw one, unless it is there; what it holds then.

    Args:
        template: Of what is asked for.
        asked: The same, as a raw store would hold it.
        raw: The raw store, which has all of it.
        by: What members are brought to.
        store: Where it goes.

    Raises:
        StorageError: When something else stands there, or it cannot be written.
    """
    target = replace(asked, identity=asked.identity | {KEY: by.digest})
    mapped = Mapped.of(raw, template.model, by)
    found = Ledger.read(store) if store.has_store() else None
    if found is not None:
        found.require_same(target, store)
        if found.digest == target.digest:
            return found
    target = with_failures(target, [mapped], None)
    log.info("sample: %s is %s, calibrated", store, raw.name)
    Work(store).begin(target.identity | {"layout": target.layout})
    rows, leads = {key: row for row, key in enumerate(mapped.cases)}, slice(0, template.leads)

    def ends_of(key: str) -> np.ndarray:
        return mapped.intervals(slice(rows[key], rows[key] + 1), leads)

    def beside(whole: Place) -> None:
        if by.levels:
            write_intervals(ends_of, by.levels, template, whole)

    told = {"diffsci_calibration": f"{by.digest}: spread and mean fitted on {by.cases} cases"}
    model = replace(template.model, provenance=template.model.provenance | told)
    Compaction(
        store=store,
        target=target,
        template=replace(template, model=model, members=target.members),
        units=[mapped],
        old=None,
        beside=beside,
    ).run()
    return target


@contextmanager
def before(pipeline: Pipeline, prepared: Prepared, store: Path) -> Iterator[Before | None]:
    """What a run's ensemble was before it was calibrated, read block by block; none if it was not.

    Args:
        pipeline: Of the run.
        prepared: Its data.
        store: Its ensemble.
    """
    place = Place.of(store)
    if not is_calibrated(Ledger.read(place)):
        yield None
        return
    domain, channels, grid = pipeline.data.domain, prepared.train.channels, prepared.train.grid
    with ExitStack() as stack:
        made = stack.enter_context(open_store(store))
        drawn = stack.enter_context(open_store(raw_of(place).path))
        layout = Layout.of(drawn, domain, channels, grid)
        raw = layout.values(drawn.isel(number=slice(made.sizes["number"])))
        levels: tuple[float, ...] = ()
        ends: list[Values] = []
        if place.has(INTERVALS):
            with quiet():
                ds = stack.enter_context(intervals_of(place)).rename(bound="number")
            levels = tuple(float(level) for level in ds["confidence"].values)
            ends = [layout.values(ds.isel(confidence=i)) for i in range(len(levels))]
        yield Before(raw=raw, ends=ends, levels=levels)


def settle(store: Path, calibrated: bool) -> None:
    """Name what a run has by what it is, after its `calibrate` section came or went.

    Args:
        store: The run's ensemble.
        calibrated: Whether it is to be so.
    """
    place = Place.of(store)
    raw = raw_of(place).path
    if calibrated and not raw.exists():
        found = Ledger.read(place) if store.exists() else None
        if found is not None and not is_calibrated(found):
            store.rename(raw)
    elif not calibrated and raw.exists():
        place.remove()
        raw.rename(store)


def kept(model: Surrogate, engine: Engine, given: Given, sample: Sample, store: Path) -> float:
    """Share of the members that a run has drawn which stay, and so do the seconds they took.

    Args:
        model: Of the run, with its calibration.
        engine: How it samples now.
        given: The test cases.
        sample: The section.
        store: The run's ensemble.
    """
    place = Place.of(store)
    drawn = raw_of(place) if raw_of(place).has_store() else place
    if not drawn.has_store() or not is_same(model, engine, given, sample, str(drawn)):
        return 0.0
    held = Ledger.read(drawn)
    # More leads are made anew from their start; of fewer members or cases the rest is removed.
    if held is None or held.leads < max(1, len(given.cases.leads)):
        return 0.0
    have, asked = held.members * len(held.cases), sample.members * len(given.cases)
    return min(1.0, asked / have)


def clear(model: Surrogate, engine: Engine, given: Given, sample: Sample, store: Path) -> None:
    """Remove what a run has of settings that were then changed.

    Args:
        model: Of the run, with its calibration.
        engine: How it samples now.
        given: The test cases.
        sample: The section.
        store: The run's ensemble.
    """
    by = recalibration(model, engine, max(1, len(given.cases.leads)))
    place = Place.of(store)
    drawn = place if by is None else raw_of(place)
    if drawn.has_store() and not is_same(model, engine, given, sample, str(drawn)):
        drawn.remove()
    if by is not None and place.has_store():
        found = Ledger.read(place)
        if found is None or found.identity.get(KEY) != by.digest or not drawn.has_store():
            place.remove()

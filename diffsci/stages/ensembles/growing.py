"""Growth of a store: what it has, what is asked for, and what that leaves to compute."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from diffsci.errors import ConfigError, StorageError
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.failing import Failure
from diffsci.forecasting.given import Given
from diffsci.forecasting.store.carrying import Old
from diffsci.forecasting.store.compaction import Compaction, recover, with_failures
from diffsci.forecasting.store.disk import require_name
from diffsci.forecasting.store.ledger import Ledger, conditions_of, identity_of
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.template import Template
from diffsci.forecasting.store.units import Unit
from diffsci.forecasting.store.work import Committed, Work, Writing
from diffsci.forecasting.surrogate import Surrogate
from diffsci.messages import counted
from diffsci.running.changes import Change
from diffsci.sections import Pipeline, Sample
from diffsci.sections.storing import Storing

log = logging.getLogger(__name__)

FROM = "diffsci_from"
"""Attribute of a store: name of the file that its cases are of."""

MOST_MEMBERS = 100_000_000
"""Members of all cases that a store is planned for: a byte of memory each, and many units."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How much of an ensemble is wanted.

    Args:
        members: Of each case; a store that has more keeps them.
        seed: Of the noise.
        batch: Rows that are held while a window of leads is made; the results do not depend on it.
        exact: Whether the store is to hold what is asked for and nothing else.
    """

    members: int
    seed: int
    batch: int
    exact: bool = False

    @classmethod
    def of(cls, pipeline: Pipeline, *, exact: bool = False) -> Wanted:
        """What a pipeline asks for."""
        section = pipeline.sample
        assert section is not None
        batch = pipeline.runtime.batch
        return cls(members=section.members, seed=section.seed, batch=batch, exact=exact)


def existing(store: Place) -> Ledger | None:
    """What a store holds that is there; none where there is none.

    Raises:
        StorageError: For a store that diffsci did not make.
    """
    recover(store)
    if not store.has_store():
        return None
    found = Ledger.read(store)
    if found is None:
        raise StorageError(
            f"{store}: exists, and has no ledger, by which it could grow; choose another name with "
            "--out, or remove it"
        )
    return found


def is_same(
    model: Surrogate, engine: Engine, given: Given, sample: Sample, store: Path | str
) -> bool:
    """Whether a store that is there was made from what is asked for, however much of it."""
    try:
        asked = asked_of(
            Template(model=model, cases=given.cases, members=sample.members, storing=sample.store),
            engine,
            given,
            sample.seed,
        )
        found = existing(Place.of(store))
        if found is not None:
            found.require_same(asked, str(store))
    except StorageError:
        return False
    return found is not None


def asked_of(template: Template, engine: Engine, given: Given, seed: int) -> Ledger:
    """What a store of this layout is to hold."""
    offsets = {name: kept.offset for name, kept in template.kept.items() if kept.accuracy}
    return Ledger(
        identity=identity_of(template.model, engine, seed),
        layout=template.storing.to_dict() | {"offsets": offsets},
        cases=conditions_of(given),
        members=template.members,
        leads=template.leads,
    )


@dataclass(frozen=True)
class Growth:
    """One store on its way to what is asked for.

    Args:
        store: The store.
        target: What it is to hold.
        template: In which layout.
        given: What is known of the cases of the target, in its order.
        old: What is there.
    """

    store: Place
    target: Ledger
    template: Template
    given: Given
    old: Old | None

    @classmethod
    def of(
        cls, model: Surrogate, engine: Engine, given: Given, wanted: Wanted, store: Place
    ) -> Growth:
        """The growth of a store by what is asked for.

        Raises:
            ConfigError: For more members than a store can be planned for.
            StorageError: When it was made from something else, or holds cases that are not given.
        """
        require_name(store)
        section = model.pipeline.sample
        storing = section.store if section else Storing()
        template = Template(model=model, cases=given.cases, members=wanted.members, storing=storing)
        asked = asked_of(template, engine, given, wanted.seed)
        found = existing(store)
        if found is not None:
            found.require_same(asked, store, told_of_tuning(model, found.differences(asked)))
            if not wanted.exact:
                asked = _union(found, asked, store, model)
        _require_planned(asked, model)
        old = None if found is None else Old(store, found)
        template = replace(template, members=asked.members)
        growth = cls(store, asked, template, given, old)
        if not growth.is_done and Work(store).begin(asked.identity | {"layout": asked.layout}):
            log.info("%s: what was begun is of something else, and is removed", store)
        return growth

    def anew(self) -> Growth:
        """The same, looking again at what is committed."""
        return replace(self)

    @property
    def is_done(self) -> bool:
        """Whether the store is there as it is to be."""
        return self.old is not None and self.old.ledger.digest == self.target.digest

    @property
    def rows(self) -> int:
        """Members of cases in all."""
        return len(self.target.cases) * self.target.members

    @property
    def units(self) -> list[Committed]:
        """Those that are committed and fit: of the same conditions, with all leads."""
        known = self.target.cases
        return [
            unit
            for unit in Work(self.store).committed()
            if unit.leads >= self.target.leads
            and all(known.get(k, d) == d for k, d in zip(unit.cases, unit.conditions, strict=True))
        ]

    @cached_property
    def missing(self) -> Bool[np.ndarray, "case member"]:
        """What is neither in the store nor committed."""
        rows = {key: row for row, key in enumerate(self.target.cases)}
        missing = np.ones((len(rows), self.target.members), dtype=bool)
        if self.old is not None and self.old.ledger.leads >= self.target.leads:
            for key in self.old.ledger.cases:
                if key in rows:
                    missing[rows[key], : self.old.ledger.members] = False
        for unit in self.units:
            for key in unit.cases:
                if key in rows:
                    missing[rows[key], unit.start : unit.stop] = False
        return missing

    def writing(self, unit: Unit, window: int) -> Writing:
        """A unit of the target, to be written.

        Args:
            unit: Which.
            window: Leads that are written at a time.
        """
        model, keys = self.template.model, list(self.target.cases)[unit.first : unit.after]
        return Work(self.store).unit(
            {key: self.target.cases[key] for key in keys},
            range(unit.start, unit.stop),
            self.target.leads,
            window,
            (len(model.channels), *model.grid.sizes),
        )

    def finish(self) -> None:
        """Put all together, and give it its name."""
        Compaction(
            store=self.store,
            target=with_failures(self.target, self.units, self.old),
            template=self.template,
            units=self.units,
            old=self.old,
        ).run()

    @property
    def failed(self) -> tuple[Failure, ...]:
        """Members that failed, of the store that is there."""
        found = Ledger.read(self.store)
        return () if found is None else found.failed


def told_of_tuning(model: Surrogate, found: Sequence[Change]) -> str:
    """That `diffsci tune` chose the sampler that is asked for, where another one made a store."""
    if "diffsci_tuned" in model.provenance and any(each.key == "sampler" for each in found):
        return ", since `diffsci tune` chose another sampler"
    return ""


def _union(found: Ledger, asked: Ledger, store: Place, model: Surrogate) -> Ledger:
    """What is asked for, and what is there; both have the cases of what is given."""
    lost = [key for key in found.cases if key not in asked.cases]
    if lost:
        raise StorageError(_told_of_lost(lost, found, asked, store, model))
    if found.leads > asked.leads:
        raise StorageError(
            f"{store}: has {found.leads} leads, and {asked.leads} are asked for; ask for as many, "
            "or choose another name with --out"
        )
    return replace(asked, members=max(found.members, asked.members))


def _told_of_lost(
    lost: list[str], found: Ledger, asked: Ledger, store: Place, model: Surrogate
) -> str:
    """Which cases of a store are not given, why that may be, and what to do."""
    file = model.provenance.get(FROM)
    where = "the test part (data.split.test)" if file is None else f"the file {file}"
    why, way = "", f"give all of them in {where}"
    if asked.leads > found.leads:
        why = (
            f"; {asked.leads} leads are asked for where it has {found.leads}, and from its late "
            f"starts so many run past the end of {where}"
        )
        way = f"ask for {found.leads} leads, give data that reaches further"
    return (
        f"{store}: holds {counted(len(lost), 'case')} that cannot be given now (the first is "
        f"{lost[0]}){why}; {way}, or choose another name with --out"
    )


def _require_planned(asked: Ledger, model: Surrogate) -> None:
    """Refuse what no list of units could be made for, before anything is made."""
    rows = len(asked.cases) * asked.members
    if rows > MOST_MEMBERS:
        size = 4 * rows * asked.leads * len(model.channels) * math.prod(model.grid.sizes)
        raise ConfigError(
            f"sample.members: {asked.members:,} members of {counted(len(asked.cases), 'case')} and "
            f"{counted(asked.leads, 'lead')} are {size / 1e9:,.0f} GB, and {rows:,} members in "
            f"all; a store holds at most {MOST_MEMBERS:,}: ask for fewer members (--members), or "
            "fewer cases"
        )

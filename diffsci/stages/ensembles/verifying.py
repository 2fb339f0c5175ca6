"""Verification: chunks of a store by their checksums, and members by computing them again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffsci import config
from diffsci.errors import ConfigError, DataError, NumericsError, StorageError
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given, together
from diffsci.forecasting.rollout import Rollout
from diffsci.forecasting.store import checksums, differing
from diffsci.forecasting.store.carrying import Old
from diffsci.forecasting.store.disk import open_store
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.template import Template, part_of
from diffsci.forecasting.surrogate import Surrogate
from diffsci.stages.ensembles.from_files import Request, asked_of_file, model_of, starts_of
from diffsci.stages.ensembles.growing import FROM, asked_of, told_of_tuning
from diffsci.stages.ensembles.job import some
from diffsci.stages.ensembles.resampling import chosen, opened, tests_of
from diffsci.stages.scores import recalibrated

log = logging.getLogger(__name__)


Origin = Callable[[Ledger], tuple[Surrogate, Given]]
"""The model of a store, and all its cases that there are now."""


def verify(
    loaded: config.Loaded,
    run: Path,
    store: Path | str | None,
    members: Sequence[int],
    cases: Sequence[str],
) -> str:
    """Check a store of a run's test cases: all its chunks, and some members bit by bit.

    Args:
        loaded: The model's pipeline, with what was different when the store was made.
        run: The run folder.
        store: The store; none takes the run's own.
        members: Numbers of those to compute again; none at all takes the first.
        cases: Keys of the cases to do that for; none at all takes the first.

    Returns:
        What was checked, as a sentence.

    Raises:
        ConfigError: For a member or a case that the store does not have.
        DataError: When a case is not in the data now.
        NumericsError: When a member comes out otherwise.
        StorageError: With each damaged chunk; or when the store is of another model or run.
    """

    def origin(ledger: Ledger) -> tuple[Surrogate, Given]:
        model, test = opened(loaded, run)
        model = _of_as_many_leads(model, ledger.leads)
        section = model.pipeline.sample
        assert section is not None
        there = chosen(tests_of(model, test, ledger.cases), list(ledger.cases))
        return model, Given.of_tests(there, section.observed)

    return _verify(Place.of(store or run / "forecast.zarr"), origin, members, cases)


def verify_from(
    folder: Path, request: Request, store: Path | str, members: Sequence[int], cases: Sequence[str]
) -> str:
    """Check a store that was made from a user's file.

    Args:
        folder: Run folder, or model folder.
        request: The file, and the settings that the store was made with; its starts and leads are
            those of the store.
        store: The store.
        members: Numbers of those to compute again; none at all takes the first.
        cases: Keys of the cases to do that for; none at all takes the first.

    Returns:
        What was checked, as a sentence.

    Raises:
        ConfigError: For a member or a case that the store does not have.
        DataError: When the file lacks a case, or does not fit the model.
        NumericsError: When a member comes out otherwise.
        StorageError: With each damaged chunk; or when the store is of another model or run.
    """

    def origin(ledger: Ledger) -> tuple[Surrogate, Given]:
        starts = starts_of(list(ledger.cases))
        lead = str(ledger.leads) if model_of(folder).pipeline.data.task.has_leads else None
        model, given, _ = asked_of_file(folder, replace(request, starts=starts, lead=lead))
        return model, given

    return _verify(Place.of(store), origin, members, cases)


def _verify(place: Place, origin: Origin, members: Sequence[int], cases: Sequence[str]) -> str:
    if not place.has_store():
        raise StorageError(f"{place}: no such store; name one that is there with --store")
    ledger = Ledger.read(place)
    if ledger is None:
        raise StorageError(
            f"{place}: has no ledger, so that nothing says what it should be; give an ensemble of "
            "diffsci with --store"
        )
    _require_whole(place, ledger)
    if recalibrated.is_calibrated(ledger):
        drawn = _verify(recalibrated.raw_of(place), origin, members, cases)
        return f"{drawn}; {_of_calibrated(place, ledger, origin)}"
    keys, numbers = _wanted(ledger, members, cases)
    model, given = origin(ledger)
    again, part = _Again(place, ledger, model, model.engine()), _cases_of(given, keys, place)
    chunks, size = checksums.count(place)
    otherwise = again.otherwise(part)
    if otherwise and (members or cases):
        raise StorageError(
            f"{place}: its {chunks} chunks are whole, and no member can be compared: {otherwise}"
        )
    if otherwise:
        return (
            f"{place}: {chunks} chunks ({size:,} bytes) are whole; no member was computed again: "
            f"{otherwise}"
        )
    again.compare(part, numbers)
    names = ", ".join(map(str, numbers))
    return (
        f"{place}: {chunks} chunks ({size:,} bytes) are whole, and member {names} of "
        f"{', '.join(keys)} comes out the same, bit by bit"
    )


def _cases_of(given: Given, keys: Sequence[str], place: Place) -> Given:
    """Some cases of a store, of those that there are.

    Raises:
        DataError: For a case that is not there.
    """
    there = list(given.cases.keys)
    for key in keys:
        if key not in there:
            file = open_store(str(place)).attrs.get(FROM)
            way = (
                "give the part that it was made from (data.split.test)"
                if file is None
                else f"it was made from the file {file}: give that with --from"
            )
            raise DataError(
                f"{place}: its case {key} is not in the test part of the data now, so that it "
                f"cannot be computed again; {way}"
            )
    return together([some(given, there.index(key), there.index(key) + 1) for key in keys])


def _of_calibrated(place: Place, ledger: Ledger, origin: Origin) -> str:
    """Make the first case of a calibrated store again from its raw one."""
    model, given = origin(ledger)
    by, section = model.calibration, model.pipeline.sample
    assert section is not None
    if by is None or by.digest != ledger.identity[recalibrated.KEY]:
        raise StorageError(
            f"{place}: was made by another calibration than the one that the model has now; "
            "`diffsci run` makes the run's own anew, `diffsci sample` others under another name"
        )
    key = next(iter(ledger.cases))
    cases = _cases_of(given, [key], place).cases
    mapped = recalibrated.Mapped.of(recalibrated.raw_of(place), model, by)
    every = list(range(len(model.channels)))
    values = mapped.values(mapped.cases.index(key), slice(0, ledger.leads), every)
    template = Template(model=model, cases=cases, members=ledger.members, storing=section.store)
    labelled = template.label(values[None, : ledger.members], cases, model.channels)
    old = Old(place, ledger)
    for name in template.dims:
        made = template.kept[name].encode(name, labelled[name].values)
        stored = old.stored(name, (slice(old.rows[key], old.rows[key] + 1),), key)
        _require_equal(made, stored, f"{place}: {name} of case {key}")
    chunks, _ = checksums.count(place)
    return f"{place}: {chunks} chunks are whole, and case {key} is what it makes of them"


def _of_as_many_leads(model: Surrogate, leads: int) -> Surrogate:
    """The model, whose test cases reach as far as a store that has grown does."""
    section = model.pipeline.sample
    assert section is not None
    longer = replace(section, leads=max(leads, section.leads))
    return replace(model, pipeline=replace(model.pipeline, sample=longer))


def _require_whole(place: Place, ledger: Ledger) -> None:
    found = list(checksums.damages(place, ledger))
    if found:
        listed = "\n".join(f"  {each}" for each in found)
        raise StorageError(
            f"{place}: {len(found)} of {checksums.count(place)[0]} chunks are missing or damaged; "
            f"restore them from a copy, or remove the store and sample it again\n{listed}"
        )


def _wanted(
    ledger: Ledger, members: Sequence[int], cases: Sequence[str]
) -> tuple[list[str], list[int]]:
    """Cases and members to compute, all of them in the store."""
    for member in members:
        if not 0 <= member < ledger.members:
            raise ConfigError(
                f"--member {member}: the store has {ledger.members}, 0 to {ledger.members - 1}"
            )
    for case in cases:
        if case not in ledger.cases:
            shown = ", ".join(list(ledger.cases)[:3])
            raise ConfigError(f"--case {case}: the store has none of that name; it has {shown} ...")
    return list(cases) or list(ledger.cases)[:1], sorted(set(members)) or [0]


@dataclass(frozen=True)
class _Again:
    """Members of a store, computed again."""

    place: Place
    ledger: Ledger
    model: Surrogate
    engine: Engine

    def _template(self, given: Given, members: int) -> Template:
        section = self.model.pipeline.sample
        assert section is not None
        return Template(model=self.model, cases=given.cases, members=members, storing=section.store)

    def otherwise(self, given: Given) -> str:
        """What the store was made with that is not asked for now, and how to ask; empty if nothing.

        Raises:
            StorageError: For other data of a case, where nothing else differs.
        """
        # Its seed is known, so that it need not be given.
        seed = int(self.ledger.identity["seed"])
        asked = asked_of(self._template(given, 1), self.engine, given, seed)
        found = self.ledger.differences(asked)
        if not found:
            self.ledger.require_same_cases(asked, self.place)
            return ""
        texts = differing.overrides(found)
        way = f"; to compute a member again, give {texts}" if texts else ""
        note = told_of_tuning(self.model, found)
        return f"the store was made from something else ({differing.listed(found)}){note}{way}"

    def compare(self, given: Given, members: list[int]) -> None:
        """Refuse what comes out otherwise than it is stored."""
        template = self._template(given, len(members))
        seed = int(self.ledger.identity["seed"])
        pairs = [(case, member) for case in range(len(given.cases)) for member in members]
        rollout = Rollout(self.engine, self.model.rows(given, pairs), self.ledger.leads, seed)
        old = Old(self.place, self.ledger)
        failed = {(each.case, each.member) for each in self.ledger.failed}
        for lead in range(self.ledger.leads):
            values = given.with_kept(pairs, self.model.physical(rollout.next(1)))
            for row, (case, member) in enumerate(pairs):
                key = given.cases.keys[case]
                if (key, member) in failed:
                    values[row] = np.nan
                part = part_of(given.cases, slice(case, case + 1), slice(lead, lead + 1))
                labelled = template.label(values[row][None, None], part, self.model.channels)
                for name in template.dims:
                    made = template.kept[name].encode(name, labelled[name].values)
                    leads = [slice(lead, lead + 1)] if template.lead_dim else []
                    index = (slice(old.rows[key], old.rows[key] + 1), slice(member, member + 1))
                    stored = old.stored(name, (*index, *leads), key)
                    what = f"{self.place}: {name} of case {key}, member {member}, step {lead + 1}"
                    _require_equal(made, stored, what)


def _require_equal(made: np.ndarray, stored: np.ndarray, what: str) -> None:
    same = np.array_equal(made, stored, equal_nan=made.dtype.kind == "f")
    if not same:
        wide = np.abs(made.astype(np.float64) - stored.astype(np.float64))
        raise NumericsError(
            f"{what}: {int((made != stored).sum())} of {made.size} values come out otherwise, by "
            f"{np.nanmax(wide):.3g} at most; the store was changed, or made by another device, "
            "number of threads or version of torch (run.json names them)"
        )

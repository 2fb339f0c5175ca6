"""Compaction: units that are committed, and what a store had before, become the canonical layout.

It works beside the store and takes its place at the end; so until then the store is what it was. A
kill at any instruction loses at most one block of cases. Values that were in the store before are
carried over as they are stored, whole blocks of them as files (see `carrying.py`), those of units
are encoded now: two stores that were asked for the same come out the same, byte for byte, however
they grew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import zarr

from diffsci.files import failpoint
from diffsci.forecasting.store.carrying import Old
from diffsci.forecasting.store.disk import quiet
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.template import Template, part_of
from diffsci.forecasting.store.work import Committed, Work, work_place
from diffsci.running import stopping

_WHOLE, _HEAD, _READY, _DONE = "whole.zarr", "whole.json", "publish.json", "published.json"


def recover(store: Place) -> None:
    """End what a killed compaction had begun, as far as it was ready; call it before anything else.

    Raises:
        StorageError: When a file cannot be written.
    """
    place = work_place(store)
    if place.has(_READY):
        if not place.has(_DONE) and place.inside(_WHOLE).has_store():
            store.publish(place.inside(_WHOLE))
        _remove(store)
    store.restore()


def _remove(store: Place) -> None:
    place = work_place(store)
    place.write(_DONE, b"{}\n")
    place.remove()


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """The canonical layout of all that is there.

    Args:
        store: Where it goes.
        target: What it is to hold.
        template: Its layout.
        units: Those that are committed.
        old: What stands there.
        beside: Writes what else is to be in the store, when all values are.
    """

    store: Place
    target: Ledger
    template: Template
    units: list[Committed]
    old: Old | None
    beside: Callable[[Place], None] | None = None

    @property
    def _place(self) -> Place:
        return Work(self.store).place

    @property
    def _whole(self) -> Place:
        return self._place.inside(_WHOLE)

    def run(self) -> None:
        """Write it, and give it its name.

        Raises:
            StorageError: When something cannot be read or written.
            Stopped: After a block of cases, when a signal asked for it.
        """
        with stopping.patiently():
            self._begin()
            for number, (first, after) in enumerate(self._blocks):
                record = f"block-{number:08d}.json"
                if self._place.has(record):
                    continue
                self._write_block(number, first, after)
                failpoint("compact.block")
                self._place.write(record, b"{}\n")
                stopping.boundary("sample: stopped while the store was put together")
            self._end()

    def _end(self) -> None:
        """Give the whole store its name."""
        if self.beside is not None:
            self.beside(self._whole)
        with self._whole.errors():
            self.target.write(self._whole, self.template.storing.format)
        self._whole.secure(name for name in self._whole.files() if name.startswith("ledger/"))
        failpoint("compact.ledger")
        self._place.write(_READY, b"{}\n")
        failpoint("compact.ready")
        self.store.publish(self._whole)
        _remove(self.store)

    def _begin(self) -> None:
        """Write the template, or find that of an interrupted compaction of the same."""
        wanted = {"target": self.target.to_dict()}
        if self._place.has(_HEAD) and json.loads(self._place.read(_HEAD)) == wanted:
            return
        self._place.remove_file(_HEAD)
        for name in self._place.names():
            if name.startswith("block-"):
                self._place.remove_file(name)
        self._whole.remove()
        self.template.write(self._whole, self.target.failed)
        self._whole.secure(self._whole.files())
        failpoint("compact.template")
        self._place.write(_HEAD, json.dumps(wanted).encode())

    @property
    def _blocks(self) -> list[tuple[int, int]]:
        count, size = len(self.target.cases), self.template.cases_in_chunk
        return [(first, min(first + size, count)) for first in range(0, count, size)]

    @cached_property
    def _keys(self) -> list[str]:
        return list(self.target.cases)

    @cached_property
    def _arrays(self) -> zarr.Group:
        with quiet():
            return zarr.open_group(self._whole.address, mode="r+")

    @cached_property
    def _of_case(self) -> dict[str, list[tuple[Committed, int]]]:
        """Units that hold members of a case, with its row in them."""
        found: dict[str, list[tuple[Committed, int]]] = {}
        for unit in self.units:
            if unit.leads >= self.target.leads:
                for row, key in enumerate(unit.cases):
                    found.setdefault(key, []).append((unit, row))
        return found

    @cached_property
    def _failed(self) -> set[tuple[str, int]]:
        return {(each.case, each.member) for each in self.target.failed}

    def _write_block(self, number: int, first: int, after: int) -> None:
        """All values of some cases: whole chunks."""
        keys = self._keys[first:after]
        for name in self.template.dims:
            array: Any = self._arrays[name]
            if self.old is None or not self.old.carry(self._whole, name, array, number, keys):
                with self._whole.errors(), quiet():
                    for index, stored in self._chunks(name, first, after):
                        array[index] = stored
            self._secure(name, number)

    def _secure(self, name: str, number: int) -> None:
        """Flush the chunks of a block to the disk."""
        if self._whole.is_remote:
            return
        folder = self._whole.path / name
        found = [*folder.glob(f"{number}.*"), *(folder / "c" / str(number)).rglob("*")]
        root = self._whole.path
        self._whole.secure(str(path.relative_to(root)) for path in found if path.is_file())

    def _chunks(
        self, name: str, first: int, after: int
    ) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
        """Where to write, and what, as it is stored."""
        template = self.template
        dims, chunks, sizes = template.dims[name], template.chunks(name), template.sizes(name)
        known = {template.case_dim, "number", template.lead_dim, *template.model.grid.dims}
        stacked = [dim for dim in dims if dim not in known]
        own = [i for i, each in enumerate(template.model.channels) if each.variable == name]
        group = chunks[stacked[0]] if stacked else len(own)
        window = chunks[template.lead_dim] if template.lead_dim else 1
        for low in range(0, template.leads, window):
            leads = slice(low, min(low + window, template.leads))
            for at in range(0, len(own), group):
                region = {dim: slice(0, sizes[dim]) for dim in dims}
                region[template.case_dim] = slice(first, after)
                if template.lead_dim:
                    region[template.lead_dim] = leads
                if stacked:
                    region[stacked[0]] = slice(at, at + len(own[at : at + group]))
                stored = self._stored(name, region, own[at : at + group], leads)
                yield tuple(region.values()), stored

    def _stored(
        self, name: str, region: dict[str, slice], channels: list[int], leads: slice
    ) -> np.ndarray:
        """What goes into a region."""
        cases = region[self.template.case_dim]
        keys = self._keys[cases]
        values = self._values(keys, leads, channels)
        part = part_of(self.template.cases, cases, leads)
        of = tuple(self.template.model.channels[i] for i in channels)
        labelled = self.template.label(values, part, of)[name]
        stored = self.template.kept[name].encode(name, labelled.values)
        if self.old is not None and self.old.ledger.leads >= self.target.leads:
            count = min(self.old.ledger.members, self.target.members)
            for row, key in enumerate(keys):
                place = self.old.rows.get(key)
                if place is not None:
                    rest = list(region.values())[2:]
                    index: tuple[slice | int, ...] = (place, slice(0, count), *rest)
                    stored[row, :count] = self.old.stored(name, index, key)
        return stored

    def _values(self, keys: list[str], leads: slice, channels: list[int]) -> np.ndarray:
        """Of units, in physical units; NaN where a member failed, or is not of a unit."""
        count = leads.stop - leads.start
        shape = (len(keys), self.target.members, count, len(channels))
        values = np.full((*shape, *self.template.model.grid.sizes), np.nan, dtype=np.float32)
        for row, key in enumerate(keys):
            for unit, place in self._of_case.get(key, ()):
                stop = min(unit.stop, self.target.members)
                if stop > unit.start:
                    found = unit.values(place, leads, channels)
                    values[row, unit.start : stop] = found[: stop - unit.start]
            for case, member in self._failed:
                if case == key:
                    values[row, member] = np.nan
        return values


def with_failures(target: Ledger, units: list[Committed], old: Old | None) -> Ledger:
    """The target with the members that failed, of units and of what was there before."""
    found = {each for unit in units for each in unit.failed if unit.leads >= target.leads}
    if old is not None and old.ledger.leads >= target.leads:
        found |= set(old.ledger.failed)
    kept = [e for e in found if e.case in target.cases and e.member < target.members]
    kept = [each for each in kept if each.step <= target.leads]
    return replace(target, failed=tuple(sorted(kept)))

"""Work in hand: units that were computed for a store, beside it, until they are in it.

    .f.zarr.work/head.json            what all of this is made from
    .f.zarr.work/unit-<id>.zarr       values of a unit: [case, member, lead, channel, *space]
    .f.zarr.work/unit-<id>.json       its commit record, written after its values are on the disk
    .f.zarr.work/whole.zarr, ...      the canonical layout that is made of it all: `compaction.py`

A unit without a record counts as not there. Records name cases by their keys, so that units
outlive a change of mind: killed while it grew from 8 to 16 members and then asked for 50, a store
keeps what is committed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float
from zarr.codecs import Crc32cCodec

from diffsci.errors import StorageError
from diffsci.files import failpoint
from diffsci.forecasting.failing import Failure
from diffsci.forecasting.store.disk import quiet
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.units import chunk_shape

_HEAD = "head.json"


@dataclass(frozen=True, kw_only=True)
class Committed:
    """A unit that is there.

    Args:
        place: Of its values.
        cases: Keys of its cases.
        conditions: Digest of what is known of each.
        start: Its first member.
        stop: The one after its last.
        leads: Forecast steps it has.
        failed: Members that are to be NaN.
    """

    place: Place
    cases: tuple[str, ...]
    conditions: tuple[str, ...]
    start: int
    stop: int
    leads: int
    failed: tuple[Failure, ...] = ()

    @cached_property
    def array(self) -> Any:  # noqa: ANN401  zarr has no types
        """Its values, read where they are looked at."""
        with quiet():
            return zarr.open_array(self.place.address, mode="r")

    def values(
        self, row: int, leads: slice, channels: list[int]
    ) -> Float[np.ndarray, "member lead channel *space"]:
        """Those of one case.

        Raises:
            StorageError: For a damaged chunk.
        """
        part = slice(min(channels), max(channels) + 1)
        try:
            found = np.asarray(self.array[row, :, leads, part])
        except (ValueError, RuntimeError, OSError) as error:
            raise StorageError(
                f"{self.place}: values of a unit that was committed are damaged ({error}); remove "
                f"{self.place.name.replace('.zarr', '.json')} beside it, and run the command again"
            ) from error
        return found[:, :, [channel - part.start for channel in channels]]


@dataclass(frozen=True)
class Work:
    """The folder beside a store in which it grows.

    Args:
        store: The store.
    """

    store: Place

    @property
    def place(self) -> Place:
        """Where."""
        return work_place(self.store)

    def begin(self, identity: dict[str, Any]) -> bool:
        """Make ready for what is made from `identity`; whether anything else was thrown away."""
        wanted = {"identity": identity}
        if self.place.has(_HEAD):
            if json.loads(self.place.read(_HEAD)) == wanted:
                return False
            self.place.remove()
            self._head(wanted)
            return True
        # A kill before the head was written leaves nothing that counts.
        self.place.remove()
        self._head(wanted)
        return False

    def _head(self, wanted: dict[str, Any]) -> None:
        self.place.write(_HEAD, json.dumps(wanted, indent=1).encode())
        failpoint("store.begun")

    def committed(self) -> list[Committed]:
        """The units that are there, in the order of their names."""
        found = []
        for name in self.place.names():
            if name.startswith("unit-") and name.endswith(".json"):
                plain = json.loads(self.place.read(name))
                place = self.place.inside(name.replace(".json", ".zarr"))
                lists = {key: tuple(plain[key]) for key in ("cases", "conditions")}
                lists["failed"] = tuple(Failure(**each) for each in plain["failed"])
                found.append(Committed(**(plain | lists), place=place))
        return found

    def drop(self, unit: Committed) -> None:
        """Remove a unit; first its record."""
        record = unit.place.name.replace(".zarr", ".json")
        self.place.remove_file(record)
        unit.place.remove()

    def unit(
        self, cases: dict[str, str], members: range, leads: int, window: int, state: Sequence[int]
    ) -> Writing:
        """A unit to be written.

        Args:
            cases: Digest of what is known of each case, by its key.
            members: Of each case.
            leads: Forecast steps.
            window: How many are written at a time.
            state: Shape of a state, channels first.
        """
        told = json.dumps([list(cases.items()), members.start, members.stop, leads])
        name = f"unit-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        shape = (len(cases), len(members), leads, *state)
        return Writing(self, name, cases, members, leads, shape, chunk_shape(shape, window))


def work_place(store: Place) -> Place:
    """Where a store grows."""
    return store.beside(f".{store.name}.work")


@dataclass(frozen=True)
class Writing:
    """A unit that is being written.

    Args:
        work: Where.
        name: Of its files.
        cases: Digest of what is known of each case, by its key.
        members: Of each case.
        leads: Forecast steps.
        shape: Of its values.
        chunks: Of its values.
    """

    work: Work
    name: str
    cases: dict[str, str]
    members: range
    leads: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]

    @cached_property
    def _array(self) -> Any:  # noqa: ANN401  zarr has no types
        with quiet():
            return zarr.create_array(
                store=self._place.address,
                shape=self.shape,
                chunks=self.chunks,
                dtype="float32",
                # It lives for hours and is read once: checked, not compressed.
                compressors=(Crc32cCodec(),),
                fill_value=float("nan"),
                overwrite=True,
                config={"write_empty_chunks": True},
            )

    @property
    def _place(self) -> Place:
        return self.work.place.inside(f"{self.name}.zarr")

    def write(self, first: int, values: Float[np.ndarray, "row lead channel *space"]) -> None:
        """Some leads of all rows, from lead `first` on.

        Raises:
            StorageError: When they cannot be written.
        """
        block = values.reshape(*self.shape[:2], *values.shape[1:])
        with self._place.errors(values.nbytes):
            self._array[:, :, first : first + values.shape[1]] = block

    def commit(self, failed: Sequence[Failure] = ()) -> None:
        """Write the record, when all values are on the disk.

        Args:
            failed: Members that left the finite numbers or their bounds.
        """
        self._place.secure(self._place.files())
        failpoint("store.chunks")
        record = {
            "cases": list(self.cases),
            "conditions": list(self.cases.values()),
            "start": self.members.start,
            "stop": self.members.stop,
            "leads": self.leads,
            "failed": [each.to_dict() for each in failed],
        }
        self.work.place.write(f"{self.name}.json", json.dumps(record, indent=1).encode())
        failpoint("store.block")

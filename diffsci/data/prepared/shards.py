"""Shards: the layout of Zarr's sharding codec, read and written as plain bytes.

A shard holds chunks anywhere in the file, each a field with its crc32c, and at its end an index of
their places, with a checksum of its own. What is written here any reader of Zarr opens.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
from jaxtyping import Float32, Int

from diffsci.data.prepared.numbered import DamagedError, States

_ENTRY = 16
"""Bytes of one chunk in a shard's index: its place and its length."""

_SUM = 4

_NONE = 2**64 - 1
"""Place and length of a chunk that is not there."""


def write(
    path: Path,
    fields: Float32[np.ndarray, "field ..."],
    places: Int[np.ndarray, " field"],
    count: int,
) -> None:
    """Write a shard, under a temporary name first.

    Args:
        path: Of the shard.
        fields: One for each chunk.
        places: Number of each in the shard.
        count: Chunks that the shard has room for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    index = np.full((count, 2), _NONE, dtype="<u8")
    length = 4 * int(np.prod(fields.shape[1:])) + _SUM
    index[places, 0], index[places, 1] = length * np.arange(len(fields)), length
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(fresh, "wb") as file:
        for field in fields:
            body = field.astype("<f4", copy=False).tobytes()
            file.write(body)
            file.write(google_crc32c.value(body).to_bytes(_SUM, "little"))
        told = index.tobytes()
        file.write(told + google_crc32c.value(told).to_bytes(_SUM, "little"))
    fresh.rename(path)


@dataclass(frozen=True, kw_only=True)
class Shards(States):
    """Chunks of a prepared store straight from its shards, each held to its checksum.

    The layout is that of Zarr's sharding codec: chunks anywhere in the file, and at its end an
    index of their places with a checksum of its own.
    """

    shards: tuple[int, ...]

    def read(self, rows: Int[np.ndarray, "row lead"]) -> Float32[np.ndarray, "row variable *field"]:
        """See `States.read`."""
        made = np.empty((len(rows), len(self.variables), *self.shape[self.leads :]), np.float32)
        for place, row in enumerate(rows):
            for number, name in enumerate(self.variables):
                made[place, number] = self._field(name, tuple(int(i) for i in row))
        return made

    def _field(self, name: str, row: tuple[int, ...]) -> np.ndarray:
        lead = self.shards[: self.leads]
        cell = [i // n for i, n in zip(row, lead, strict=True)]
        inside = int(np.ravel_multi_index([i % n for i, n in zip(row, lead, strict=True)], lead))
        rest = ["0"] * (len(self.shape) - self.leads)
        path = self.store / name / "c" / "/".join([*map(str, cell), *rest])
        index = _ENTRY * int(np.prod(lead)) + _SUM
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise self._broken(name, row, "its shard is missing") from error
        try:
            end = os.fstat(handle).st_size - index
            places = os.pread(handle, index, end)
            if google_crc32c.value(places[:-_SUM]) != int.from_bytes(places[-_SUM:], "little"):
                raise self._broken(name, row, "the checksum of its shard's index does not fit")
            start, length = struct.unpack_from("<QQ", places, _ENTRY * inside)
            wanted = 4 * int(np.prod(self.shape[self.leads :]))
            if length != wanted + _SUM or start + length > end:
                raise self._broken(name, row, "its place in the shard is damaged")
            chunk = os.pread(handle, length, start)
        except OSError as error:
            raise self._broken(name, row, "its shard is cut off") from error
        finally:
            os.close(handle)
        body = chunk[:-_SUM]
        if google_crc32c.value(body) != int.from_bytes(chunk[-_SUM:], "little"):
            raise self._broken(name, row, "its checksum does not fit")
        return np.frombuffer(body, "<f4").reshape(self.shape[self.leads :])

    def _broken(self, name: str, row: tuple[int, ...], why: str) -> DamagedError:
        fix = "delete the store and run `diffsci prepare` again"
        return DamagedError.of(self.store, name, row, why, fix)

"""Leaks: test fields that a model has seen in training, found bit for bit."""

from __future__ import annotations

import hashlib

import numpy as np

from diffsci.data.canonical import times as stamps
from diffsci.data.fields import Fields
from diffsci.data.prepared.stored import frames
from diffsci.errors import DataError

BYTES = 16
"""Of the hash of a field: two of 1e9 fields have the same one by chance once in 1e20 times."""


def assert_no_leak(train: Fields, test: Fields) -> None:
    """Refuse a test part that holds a field of the training part, bit for bit.

    Raises:
        DataError: Naming both, how many fields, and the first of them.
    """
    known = set(_keys(train).ravel().tolist()) - {bytes(BYTES)}
    leaked = [
        (trajectory, time)
        for trajectory, row in enumerate(_keys(test).tolist())
        for time, each in enumerate(row)
        if each in known
    ]
    if not leaked:
        return
    first, last = (_name(test, *place) for place in (leaked[0], leaked[-1]))
    raise DataError(
        f"{test.source}: {len(leaked)} of {len(test.trajectories) * len(test.times)} test fields "
        f"equal a training field of {train.source} bit for bit, the first at {first}, the last at "
        f"{last}; choose another `data.split.test`"
    )


def _name(fields: Fields, trajectory: int, time: int) -> str:
    words = [f"sample {fields.trajectories[trajectory]}"] if len(fields.trajectories) > 1 else []
    if len(fields.times) > 1 or not words:
        words.append(f"time {stamps.name(fields.times[time])}")
    return ", ".join(words)


def key(state: np.ndarray) -> bytes:
    """Hash of a field; zeros for a constant one, which says nothing."""
    if not np.nanmin(state) < np.nanmax(state):
        return bytes(BYTES)
    return hashlib.blake2b(np.ascontiguousarray(state).data, digest_size=BYTES).digest()


def _keys(fields: Fields) -> np.ndarray:
    """Those that the reader made, else made now: `[trajectory, time]`."""
    if fields.keys is not None:
        return fields.keys
    found = np.zeros(fields.values.shape[:2], dtype=f"V{BYTES}")
    for trajectory, first, block in frames(fields.values):
        for time, state in enumerate(block, start=first):
            found[trajectory, time] = key(state)
    return found

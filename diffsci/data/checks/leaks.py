"""Leaks: test fields that a model has seen in training, found bit for bit."""

from __future__ import annotations

import hashlib

import numpy as np

from diffsci.data.canonical import times as stamps
from diffsci.data.fields import Fields
from diffsci.data.prepared.stored import frames
from diffsci.errors import DataError


def assert_no_leak(train: Fields, test: Fields) -> None:
    """Refuse a test part that holds a field of the training part, bit for bit.

    Raises:
        DataError: Naming both, how many fields, and the first of them.
    """
    known = set(_hashes(train))
    leaked = [place for key, place in _hashes(test).items() if key in known]
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


def _hashes(fields: Fields) -> dict[bytes, tuple[int, int]]:
    """Hash of each field that is not constant, and where it is."""
    found = {}
    for trajectory, first, block in frames(fields.values):
        for time, state in enumerate(block, start=first):
            if np.nanmin(state) < np.nanmax(state):
                key = hashlib.blake2b(np.ascontiguousarray(state).data, digest_size=16).digest()
                found[key] = (trajectory, time)
    return found

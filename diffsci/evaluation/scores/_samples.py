"""Samples as points: whole fields in a space where distance is the root mean square difference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores.base import Pairs

_BLOCK = 1 << 22
"""Distances held at once: 32 MiB."""


def points(
    pairs: Pairs,
) -> tuple[Float[np.ndarray, "case member cell"], Float[np.ndarray, "case cell"]]:
    """Members and truth, each cell times the root of its share of the area, about a common mean."""
    cases, count = pairs.members.shape[:2]
    root = np.sqrt(pairs.weights / pairs.weights.size).reshape(-1)
    truth = pairs.truth.reshape(cases, -1) * root
    # The mean goes first: it would cost digits in the products below.
    centre = truth.mean(axis=0)
    members = pairs.members.reshape(cases, count, -1) * root
    return members - centre, truth - centre


def distances(
    one: Float[np.ndarray, "point cell"], other: Float[np.ndarray, "point2 cell"]
) -> Iterator[tuple[slice, Float[np.ndarray, "rows point2"]]]:
    """Squared distances of some points to all others, block by block."""
    square = (other**2).sum(axis=1)
    rows = max(1, _BLOCK // max(1, len(other)))
    for start in range(0, len(one), rows):
        block = one[start : start + rows]
        # |a - b|^2 by one matrix product; rounding may leave copies slightly below zero.
        found = (block**2).sum(axis=1)[:, None] + square - 2 * block @ other.T
        yield slice(start, start + len(block)), np.maximum(found, 0.0)


def radii(given: Float[np.ndarray, "point cell"], neighbours: int) -> Float[np.ndarray, " point"]:
    """Squared distance of each point to its k-th nearest other one."""
    found = np.empty(len(given))
    place = min(neighbours, len(given) - 1)
    for rows, squared in distances(given, given):
        # A point is its own nearest: the k-th other has the place k.
        found[rows] = np.partition(squared, place, axis=1)[:, place]
    return found


def covered(
    asked: Float[np.ndarray, "point cell"],
    centres: Float[np.ndarray, "centre cell"],
    reach: Float[np.ndarray, " centre"],
) -> Float[np.ndarray, " point"]:
    """1 for a point within the squared radius of some centre, else 0."""
    found = np.empty(len(asked))
    for rows, squared in distances(asked, centres):
        found[rows] = (squared <= reach).any(axis=1)
    return found

"""Several trainings of one problem as one table: medians, and how far trainings differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median


def merged(trainings: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """One table of several, which differ by the seed of training alone.

    Rows of trained models have the median of each number over the trainings that have them, and
    `trainings`, how many those are; with `time` also `time_range`, the least and the most. Rows
    without training are those of the first table: they are the same in all, but for times.
    """
    first = trainings[0]
    names = list(dict.fromkeys(name for each in trainings for name in _rows(each)))
    rows = {}
    for name in names:
        found = [_rows(each)[name] for each in trainings if name in _rows(each)]
        if len(found) == 1 or not _trained(name, found[0], first):
            rows[name] = found[0]
            continue
        rows[name] = {**middle(found), "trainings": len(found)}
        if "time" in found[0]:
            times = [row["time"] for row in found]
            rows[name]["time_range"] = [min(times), max(times)]
    return {**first, "rows": rows}


def middle(found: Sequence[object]) -> object:
    """The median of numbers, item by item of mappings and sequences; NaN where one is."""
    first = found[0]
    if isinstance(first, Mapping):
        keys = [key for key in first if all(key in each for each in found)]
        return {key: middle([each[key] for each in found]) for key in keys}
    if isinstance(first, list):
        return [middle(items) for items in zip(*found, strict=True)]
    return math.nan if any(number != number for number in found) else median(found)


def _rows(made: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
    return made["rows"]


def _trained(name: str, row: Mapping[str, object], made: Mapping[str, object]) -> bool:
    """Whether a row is a model's, or made of one's forecasts: `NAME, dressed`."""
    return "calls" in row or "calls" in _rows(made).get(name.partition(",")[0], {})

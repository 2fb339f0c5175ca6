"""Standing: whether a field stays as it is, from time to time and from trajectory to trajectory.

Such a field passes for data, with a mean and a spread over its cells, and yet there is nothing to
learn in it: its change is 0, and so is its spread at each cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data.checks import streaming
from diffsci.data.checks.problems import Report
from diffsci.data.fields import Fields

Learnt = Literal["", "values", "states", "times"]
"""Between what a variable must differ to be learnt; see `Task.varies_by`. Nothing asks nothing."""

Stands = Literal["", "times", "states"]
"""What a field is the same at: all times of each trajectory, or all states that there are."""


def of_fields(fields: Fields) -> list[Stands]:
    """What each channel is the same at."""
    found: list[Stands] = []
    for number in range(len(fields.channels)):
        trajectories = fields.values[:, :, number]
        found.append(stands([states] for states in trajectories))
    return found


def of_variable(canonical: xr.Dataset, name: str) -> Stands:
    """What a variable on disk is the same at; it is read as far as the first difference.

    Args:
        canonical: The data set it is of.
        name: Its name.
    """
    return stands(_blocks(canonical, name)) if name in canonical else ""


def _blocks(canonical: xr.Dataset, name: str) -> Iterator[Iterator[np.ndarray]]:
    variable = canonical[name]
    # A field without one of these dims is repeated along it: two of many tell as much.
    leads = {dim: min(2, canonical.sizes.get(dim, 1)) for dim in ("sample", "time")}
    lacking = {dim: size for dim, size in leads.items() if dim not in variable.dims}
    whole = variable.expand_dims(lacking).transpose("sample", "time", ...)
    for number in range(whole.sizes["sample"]):
        one = whole.isel(sample=number)
        yield (np.asarray(block.values) for block in streaming.blocks(one))


def stands(trajectories: Iterable[Iterable[Float[np.ndarray, "time *space"]]]) -> Stands:
    """What states are the same at; one state alone is no sign of anything.

    Args:
        trajectories: Each in blocks along time.
    """
    first: np.ndarray | None = None
    alike, times, states = True, 0, 0
    for trajectory in trajectories:
        start: np.ndarray | None = None
        length = 0
        for block in trajectory:
            start = block[0] if start is None else start
            if not _same(block, start):
                return ""
            length += len(block)
        first = start if first is None else first
        alike = alike and start is not None and first is not None and _same(start, first)
        times, states = max(times, length), states + length
        if not alike and times < 2:
            return ""
    if states < 2 or first is None or not np.isfinite(first).any():
        return ""
    return "states" if alike else "times"


def _same(block: np.ndarray, state: np.ndarray) -> bool:
    equal = block == state
    return bool(equal.all()) or bool((equal | (np.isnan(block) & np.isnan(state))).all())


def tell(found: Iterable[tuple[str, Stands]], learnt: Learnt, report: Report) -> None:
    """Tell of what stays as it is, as a fault where that leaves nothing to learn.

    Args:
        found: Names of variables, and what each is the same at.
        learnt: Between what they must differ.
        report: Where faults are told.
    """
    words = {"states": "it is the same in all states", "times": "no trajectory of it moves in time"}
    for name, kind in found:
        if not kind or not learnt:
            continue
        fault = learnt == "times" or (learnt == kind == "states")
        report.add(
            "constant" if fault else "still",
            words[kind] + ("" if fault else ", so that a forecast has nothing to learn"),
            "leave it out by `variables:`, there is nothing to learn"
            if fault
            else "leave it out by `variables:`, unless it is to be made all the same",
            variable=name,
        )

"""Edges: what lies beyond each side of a space dim, by the entry, else by the file."""

from __future__ import annotations

import json
from typing import cast, get_args

import numpy as np
import xarray as xr

from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report
from diffsci.errors import FieldError
from diffsci.families import did_you_mean
from diffsci.grid import Boundary, Geometry, Grid

_FIX = "write `boundary: {x: periodic}` or `{y: [wall, open]}`, say, in the catalog entry"


def told(
    raw: xr.Dataset, entry: Entry, space: tuple[str, ...], report: Report
) -> dict[str, tuple[Boundary, Boundary]]:
    """Low and high side of each space dim that entry or file speak of; `*` is every other dim.

    A file says it by the attribute `boundary` (a word, or JSON of dim to word or words), or by
    `boundary_x` for one dim.

    Raises:
        DataError: For what is neither one word nor two, or an entry's dim that is not there.
    """
    said = raw.attrs.get("boundary", {})
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except json.JSONDecodeError:
            said = {"*": said}
    found = {str(dim): sides for dim, sides in said.items()} if isinstance(said, dict) else {}
    found |= {
        str(key).removeprefix("boundary_"): value
        for key, value in raw.attrs.items()
        if str(key).startswith("boundary_")
    }
    for dim in entry.boundary:
        if dim not in space:
            report.add(
                "boundary",
                f"`boundary: {dim}`: there is no such space dim{did_you_mean(dim, space)}",
                f"there are {', '.join(space)}; correct {entry.yaml}",
                coordinate=dim,
            )
    found |= entry.boundary
    return {dim: _sides(dim, sides, report) for dim, sides in found.items() if dim in (*space, "*")}


def _sides(dim: str, sides: object, report: Report) -> tuple[Boundary, Boundary]:
    words = [sides, sides] if isinstance(sides, str) else sides
    words = words.tolist() if isinstance(words, np.ndarray) else words
    known = get_args(Boundary)
    if isinstance(words, list | tuple) and len(words) == 2 and all(w in known for w in words):
        return cast(tuple[Boundary, Boundary], tuple(words))
    report.stop(
        "boundary",
        f"got {sides!r}, expected one word or two of {', '.join(known)}",
        _FIX,
        coordinate=f"boundary of {dim}",
    )


def grid(
    ds: xr.Dataset,
    space: tuple[str, ...],
    sides: dict[str, tuple[Boundary, Boundary]],
    report: Report,
    geometry: Geometry = "flat",
) -> Grid:
    """The grid of a canonical data set.

    Args:
        ds: With a coordinate for each space dim.
        space: In array order.
        sides: Of each dim, or of `*`; an edge that nothing is said of is open.
        report: Where faults are told.
        geometry: Of the grid.
    """
    other: tuple[Boundary, Boundary] = sides.get("*", ("open", "open"))
    try:
        return Grid(
            dims=space,
            coordinates=tuple(
                tuple(np.asarray(ds[dim].values, dtype=np.float64).tolist()) for dim in space
            ),
            units=tuple(str(ds[dim].attrs.get("units", "1")) for dim in space),
            boundary=tuple(sides.get(dim, other) for dim in space),
            geometry=geometry,
        )
    except FieldError as error:
        report.stop("boundary", str(error), _FIX, coordinate="boundary")

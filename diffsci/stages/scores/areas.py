"""Areas of cells that a file has beside latitudes and longitudes: told where they are others.

Cells of such grids weigh by their exact areas, between half-way edges on the sphere. An area that
the file declares (`cell_measures`, `cell_area`) is compared with those, and is not used.
"""

from __future__ import annotations

import logging

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data.canonical import axes
from diffsci.data.checks.problems import Problem, Report
from diffsci.grid import Grid

log = logging.getLogger(__name__)

_NAMES = ("cell_area", "areacella", "areacello")
_OFF = 0.03
"""Areas of cells on the ellipsoid are within 0.01 of those on the sphere."""


def told(raw: xr.Dataset, source: str) -> tuple[str, ...]:
    """That an area of the file is not used, where it differs by more than 3 % from the exact one.

    Args:
        raw: As the file has it.
        source: For messages.
    """
    for name in _named(raw):
        area = raw[name]
        grid = _grid(area, source)
        if grid is None:
            continue
        off = _difference(np.asarray(area.values, np.float64), grid.cell_weights)
        if off <= _OFF:
            log.info("%s: cells weigh by their exact areas, with which %s agrees", source, name)
            return ()
        text = (
            f"cells weigh by their exact areas on the sphere; {name} of {source} differs from them "
            f"by up to {off:.0%} and is not used"
        )
        log.warning("%s", text)
        return (text,)
    return ()


def _named(raw: xr.Dataset) -> list[str]:
    """Variables of areas, those first that a field declares."""
    said = []
    for variable in raw.data_vars.values():
        words = str(variable.attrs.get("cell_measures", "")).split()
        said += [name for word, name in zip(words, words[1:], strict=False) if word == "area:"]
    said += [
        str(name)
        for name, variable in raw.variables.items()
        if variable.attrs.get("standard_name") == "cell_area" or str(name).lower() in _NAMES
    ]
    return [name for name in dict.fromkeys(said) if name in raw.variables]


def _grid(area: xr.DataArray, source: str) -> Grid | None:
    """The grid of latitudes and longitudes of an area, in its own order; none of any other."""
    problems: list[Problem] = []
    report = Report(source, problems)
    here = area.to_dataset(name="area")
    kinds = {axes.find(here, kind, report): kind for kind in ("latitude", "longitude")}
    order = [kinds.get(str(dim)) for dim in area.dims]
    if sorted(map(str, order)) != ["latitude", "longitude"]:
        return None
    at = tuple(tuple(area[dim].values.astype(np.float64).tolist()) for dim in area.dims)
    steps = [np.diff(values) for values in at]
    if not all((each > 0).all() or (each < 0).all() for each in steps):
        return None
    return Grid(
        dims=tuple(str(kind) for kind in order),
        coordinates=at,
        units=("degrees", "degrees"),
        boundary=(("open", "open"), ("open", "open")),
        geometry="sphere",
    )


def _difference(area: Float[np.ndarray, "*space"], exact: Float[np.ndarray, "*space"]) -> float:
    """Largest relative difference of shares of the whole, where the file has an area."""
    there = np.isfinite(area) & (area > 0) & (exact > 0)
    if not there.any():
        return 0.0
    one, two = (each[there] / each[there].sum() for each in (area, exact))
    return float(np.abs(one / two - 1).max())

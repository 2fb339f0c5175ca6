"""Grids of users' fields beside the model's: whether they are the same, else the way there."""

from __future__ import annotations

import numpy as np

from diffsci.grid import Grid

CELL_SHARE = 1e-3
"""How far a coordinate may be off, as a share of a cell: stored coordinates are rounded."""

COARSE_SHARE = 0.05
"""The same for coarse grids: plain means of coordinates differ from area-weighted ones."""


def same_place(found: Grid, wanted: Grid, share: float = CELL_SHARE) -> bool:
    """Whether two grids have the same cells, to a share of a cell."""
    if found.dims != wanted.dims or found.sizes != wanted.sizes:
        return False
    for one, other in zip(found.coordinates, wanted.coordinates, strict=True):
        cell = abs(other[1] - other[0]) if len(other) > 1 else 1.0
        if np.abs(np.subtract(one, other)).max() > share * cell:
            return False
    return True


def describe(grid: Grid) -> str:
    """Size and ends of each dim."""
    return ", ".join(
        f"{dim} {len(at)} from {at[0]:g} to {at[-1]:g}"
        for dim, at in zip(grid.dims, grid.coordinates, strict=True)
    )


def way_to(found: Grid, wanted: Grid) -> str:
    """What to do to fields of another grid."""
    if found.dims != wanted.dims:
        return f"bring it to the dims {', '.join(wanted.dims)} of the model"
    pairs = list(zip(wanted.dims, found.coordinates, wanted.coordinates, strict=True))
    lies_within = all(min(have) <= min(need) and max(need) <= max(have) for _, have, need in pairs)
    if not lies_within:
        short = [dim for dim, have, need in pairs if min(have) > min(need) or max(need) > max(have)]
        return f"it does not reach as far along {', '.join(short)}: take data of the model's region"
    cells = ", ".join(
        f"{dim}=numpy.linspace({at[0]:g}, {at[-1]:g}, {len(at)})"
        if np.allclose(np.diff(at), (at[-1] - at[0]) / max(1, len(at) - 1), rtol=1e-3)
        else f"{dim}=MODEL.{dim}"
        for dim, _, at in pairs
    )
    told = " (MODEL: the run's forecast.zarr)" if "MODEL" in cells else ""
    return f"bring it to the model's, such as by `ds.interp({cells})`{told}"

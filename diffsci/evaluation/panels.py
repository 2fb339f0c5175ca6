"""Panels: one map each, on the plane that the grid's geometry asks for."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

from diffsci.evaluation.canvas import FAINT, INK, degrees, edges, with_unit
from diffsci.evaluation.projections import Sheet, sheet_of
from diffsci.grid import Grid

_LABEL = 7
_ROOM = 22.0
"""Points between a map and what is written beside it, for degrees."""


def norm(look: ScalarMappable) -> Normalize:
    """Of a look that has limits."""
    assert isinstance(look.norm, Normalize)
    return look.norm


def extent(grid: Grid) -> tuple[float, float]:
    """Height and width of a map, in one unit; equal where the axes have units of their own."""
    sheet = sheet_of(grid)
    if sheet is not None:
        return sheet.extent
    spans = [abs(float(np.ptp(edges(values)))) for values in grid.coordinates]
    if grid.units[-1] != grid.units[-2]:
        return 1.0, 1.0
    return spans[0], spans[1]


def panel(
    axes: Axes, field: np.ndarray, grid: Grid, look: ScalarMappable, *, left: bool, bottom: bool
) -> QuadMesh | None:
    """One map, with the labels of its outer sides; its cells, unless it has no value."""
    sheet = sheet_of(grid)
    sides = (edges(grid.coordinates[-1]), edges(grid.coordinates[-2]))
    x, y = sides if sheet is None else (sheet.x, sheet.y)
    mesh = None
    if np.isfinite(field).any():
        mesh = axes.pcolormesh(x, y, field, cmap=look.get_cmap(), norm=norm(look), rasterized=True)
    else:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=FAINT)
    axes.set_xlim(float(np.nanmin(x)), float(np.nanmax(x)))
    axes.set_ylim(float(np.nanmin(y)), float(np.nanmax(y)))
    if sheet is not None:
        _on_the_globe(axes, sheet, left=left, bottom=bottom)
        return mesh
    high, wide = extent(grid)
    spans = [abs(float(np.ptp(values))) for values in reversed(sides)]
    axes.set_aspect((high / wide) * (spans[1] / spans[0]))
    axes.spines[:].set_visible(True)
    for axis, unit, shown, dim in (
        (axes.yaxis, grid.units[-2], left, grid.dims[-2]),
        (axes.xaxis, grid.units[-1], bottom, grid.dims[-1]),
    ):
        axis.set_major_locator(MaxNLocator(3, steps=[1, 2, 3, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: degrees(value, unit)))
        axis.set_tick_params(length=2.5, labelsize=_LABEL, label1On=shown)
        if shown and not unit.startswith("degrees"):
            axis.set_label_text(with_unit(dim, unit))
    return mesh


def _on_the_globe(axes: Axes, sheet: Sheet, *, left: bool, bottom: bool) -> None:
    """Outline, round degrees and, where they are at hand, coastlines."""
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.yaxis.labelpad = _ROOM
    for x, y in ((sheet.x, sheet.y), (sheet.x.T, sheet.y.T)):
        if np.allclose(x[0], x[-1]) and np.allclose(y[0], y[-1]):
            continue  # A ring closes there.
        for row in (0, -1):
            axes.plot(x[row], y[row], color=FAINT, linewidth=0.8, clip_on=False)
    for line in sheet.graticule:
        axes.plot(*line.T, color=INK, linewidth=0.4, alpha=0.35)
    for line in sheet.coast():
        axes.plot(*line.T, color=INK, linewidth=0.6)
    for value, dim, place in sheet.labels:
        side = dim == "latitude"
        if left if side else bottom:
            axes.annotate(
                degrees(value, "degrees_north" if side else "degrees_east"),
                place,
                xytext=(-2.5, 0) if side else (0, -2.5),
                textcoords="offset points",
                ha="right" if side else "center",
                va="center" if side else "top",
                fontsize=_LABEL,
                annotation_clip=False,
            )

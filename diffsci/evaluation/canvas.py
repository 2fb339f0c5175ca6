"""Canvas: what all figures share. Object API only: pyplot's global state is never touched.

Colours are those of Okabe and Ito, told apart by colour-blind readers; each forecast has a line
style and a marker of its own as well. Colour maps are perceptually uniform, diverging for
differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from diffsci.data.fields import Channel
from diffsci.grid import Grid

DPI = 110
INK, FAINT = "#222222", "#8a8a8a"
TRUTH = "#000000"
VALUES, SPREAD, DIFFERENCE = "viridis", "cividis", "RdBu_r"
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "axes.grid": False,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "figure.facecolor": "white",
    "axes.unicode_minus": True,
}
"""Settings of matplotlib while figures are drawn."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P")


_DECADES = 3.5
"""Of an axis whose ticks are written as plain numbers."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What there is to draw.

    Args:
        forecasts: Name -> members in physical units; `model` is the first.
        truth: Same units.
        given: What each case was given, on the full grid: the last frame, or the coarse field.
        channels: What each channel is.
        grid: Where the values sit.
        leads: Lead of each forecast step; none where there is no lead axis.
        lead_unit: Unit of the leads, such as `h`.
        keys: Names of the cases.
        labels: Class of each case.
        parameters: Name -> value of each case, where the data has parameters.
        thinned: Whether these are some of the cells, leads and cases.
    """

    forecasts: Mapping[str, Float[np.ndarray, "case member lead channel *space"]]
    truth: Float[np.ndarray, "case lead channel *space"]
    given: Float[np.ndarray, "case channel *space"] | None
    channels: tuple[Channel, ...]
    grid: Grid
    leads: tuple[float, ...] | None
    lead_unit: str = ""
    keys: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    thinned: bool = False

    @property
    def model(self) -> np.ndarray:
        """Members of the model."""
        return self.forecasts["model"]

    def key(self, case: int) -> str:
        """Name of a case, midnight and whole minutes left away."""
        if not self.keys:
            return f"case {case}"
        key = self.keys[case].removesuffix("T00:00:00")
        return key.removesuffix(":00") if "T" in key else key


def figure(width: float, height: float) -> Figure:
    """An empty figure in inches that lays itself out without overlaps."""
    made = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(made: Figure, path: Path) -> Path:
    """The figure as a PNG without time stamps, so that equal figures are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def colour(index: int) -> str:
    """Colour of the n-th forecast or run; the model is the first."""
    return _COLOURS[index % len(_COLOURS)]


def line(index: int, points: int) -> dict[str, Any]:
    """Line settings of the n-th forecast: told apart without colour too, and up to the 36th."""
    # Once colours begin again, each comes with another line and marker.
    look = index + index // len(_COLOURS)
    return {
        "color": colour(index),
        "linestyle": _LINES[look % len(_LINES)],
        "marker": _MARKERS[look % len(_MARKERS)] if points <= 24 else None,
        "markersize": 4.5,
        "linewidth": 2.2 if index == 0 else 1.5,
        "zorder": 10 - index,
    }


def score_words(score: str) -> str:
    """`CRPS`, `RMSE`, or the name with spaces."""
    return score.upper() if len(score) <= 4 and score != "bias" else score.replace("_", " ")


def with_unit(name: str, unit: str) -> str:
    """`air temperature (K)`; a name alone where there is no unit."""
    words = name.replace("_", " ")
    return words if unit in ("", "1") else f"{words} ({unit})"


def ticks_at(axes: Axes, leads: Sequence[float]) -> None:
    """Ticks at the leads themselves, where they are few and lie apart."""
    at = sorted(set(leads))
    gaps = [after - before for before, after in pairwise(at)]
    if 2 <= len(at) <= 8 and min(gaps) >= (at[-1] - at[0]) / 12:
        axes.set_xticks(at, [f"{lead:g}" for lead in at])


def degrees(value: float, unit: str) -> str:
    """`105°W` for 255 degrees_east, `30°N`, or the plain number of another unit."""
    if unit == "degrees_east":
        turned = (value + 180) % 360 - 180
        return f"{abs(turned):g}°{'' if turned in (0, -180) else 'E' if turned > 0 else 'W'}"
    if unit == "degrees_north":
        return f"{abs(value):g}°{'' if value == 0 else 'N' if value > 0 else 'S'}"
    return f"{value:g}"


def edges(values: Sequence[float]) -> np.ndarray:
    """Cell edges around points: midpoints, and half a step beyond each end."""
    points = np.asarray(values, dtype=np.float64)
    if len(points) == 1:
        return np.array([points[0] - 0.5, points[0] + 0.5])
    middle = (points[1:] + points[:-1]) / 2
    return np.concatenate([[2 * points[0] - middle[0]], middle, [2 * points[-1] - middle[-1]]])


def legend_below(made: Figure, *panels: Axes) -> None:
    """One legend for the whole figure, under it, of what any of these panels has."""
    both = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    found = dict(reversed([(name, handle) for handle, name in both]))
    names = list(dict.fromkeys(name for _, name in both))
    handles = [found[name] for name in names]
    for columns in range(min(len(names), 4), 0, -1):
        legend = made.legend(handles, names, loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= made.bbox.width:
            return
        legend.remove()


def plain_ticks(axes: Axes) -> None:
    """On axes that are logarithmic: 0.5, 1, 2, 5, 10 as far as they fit, else powers of ten."""
    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if scale != "log":
            continue
        low, high = axis.get_view_interval()
        decades = float(np.log10(high / low))
        if decades > _DECADES:
            continue
        if decades < 0.7:
            axis.set_major_locator(MaxNLocator(6))
        else:
            subs = (1.0, 2.0, 5.0) if decades > 1.2 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
            axis.set_major_locator(LogLocator(subs=subs, numticks=99))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def spread_cases(count: int, wanted: int) -> list[int]:
    """Up to `wanted` cases spread evenly over all of them, first and last included."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, wanted))})

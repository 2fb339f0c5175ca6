"""Gallery: samples that answer to no single truth, beside real examples of their class."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from diffsci.evaluation.canvas import FAINT, TRUTH, VALUES, Results, colour, figure, with_unit

REAL, DRAWN, ROWS = 3, 9, 10


def gallery(results: Results, channel: int) -> Figure:
    """One row a class: real examples on the left, samples on the right, in one colour range."""
    classes: list[object] = [None] * 4
    if results.labels is not None:
        classes = list(np.unique(results.labels)[:ROWS])
    wide = results.grid.sizes[-1] / results.grid.sizes[0] if len(results.grid.sizes) > 1 else 1.5
    size = 0.68 if results.labels is not None else 0.9
    made = figure(size * wide * (REAL + DRAWN) + 1.2, size * len(classes) + 0.9)
    layout = made.add_gridspec(
        len(classes) + 1,
        REAL + DRAWN + 1,
        width_ratios=[1.0] * REAL + [0.35] + [1.0] * DRAWN,
        height_ratios=[1.0] * len(classes) + [0.12],
    )
    truth = results.truth[:, 0, channel]
    low, high = float(np.nanmin(truth)), float(np.nanmax(truth))
    look: dict[str, Any] = {
        "cmap": "gray" if _is_image(results) else VALUES,
        "vmin": low,
        "vmax": high,
    }
    last = None
    for row, kind in enumerate(classes):
        real, drawn = _examples(results, channel, kind, row)
        fields = [*enumerate(real), *enumerate(drawn, start=REAL + 1)]
        for column, field in fields:
            axes = made.add_subplot(layout[row, column])
            last = _thumbnail(axes, field, results, look) or last
            if field.ndim == 1:
                item = results.channels[channel]
                _scale(axes, results, with_unit(item.name, item.unit), first=column + row == 0)
            if column == 0 and kind is not None:
                axes.set_ylabel(str(kind), rotation=0, labelpad=10, va="center", fontsize=10)
            if row == 0 and column in (REAL // 2, REAL + 1 + DRAWN // 2):
                axes.set_title("real" if column < REAL else "sampled by the model", fontsize=10)
    item = results.channels[channel]
    if last is not None:
        bar = made.add_subplot(layout[-1, REAL + 1 :])
        made.colorbar(
            last, cax=bar, orientation="horizontal", label=with_unit(item.name, item.unit)
        )
    return made


def _is_image(results: Results) -> bool:
    return not any(unit.startswith("degrees") for unit in results.grid.units)


def _examples(
    results: Results, channel: int, kind: object, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Real and sampled fields of one class; different cases before further members of one."""
    model, truth = results.model[:, :, 0, channel], results.truth[:, 0, channel]
    if kind is None:
        members = model.swapaxes(0, 1).reshape(-1, *model.shape[2:])
        return truth[row * REAL :][:REAL], members[row * DRAWN :][:DRAWN]
    chosen = np.asarray(results.labels) == kind
    members = model[chosen].swapaxes(0, 1).reshape(-1, *model.shape[2:])
    return truth[chosen][:REAL], members[:DRAWN]


def _thumbnail(
    axes: Axes, field: np.ndarray, results: Results, look: dict[str, Any]
) -> AxesImage | None:
    axes.set_xticks([])
    axes.set_yticks([])
    if field.ndim == 1:
        axes.plot(results.grid.coordinates[0], field, color=colour(0), linewidth=1)
        margin = 0.05 * (look["vmax"] - look["vmin"]) or 1.0
        axes.set_ylim(look["vmin"] - margin, look["vmax"] + margin)
        return None
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(FAINT if look["cmap"] == "gray" else TRUTH)
    # Images have their first row on top; maps have north there, whichever way they are stored.
    up = not _is_image(results) and results.grid.coordinates[0][0] < results.grid.coordinates[0][-1]
    return axes.imshow(field, origin="lower" if up else "upper", interpolation="nearest", **look)


def _scale(axes: Axes, results: Results, words: str, *, first: bool) -> None:
    """Ticks of the first panel of lines: all have its range."""
    if not first:
        return
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.tick_params(labelsize=7, length=2.5)
    axes.set_ylabel(words, fontsize=8)
    axes.xaxis.set_ticks_position("top")
    axes.tick_params(axis="x", labeltop=True, labelbottom=False)
    grid = results.grid
    axes.set_xlabel(with_unit(grid.dims[0], grid.units[0]), fontsize=8)
    axes.xaxis.set_label_position("top")

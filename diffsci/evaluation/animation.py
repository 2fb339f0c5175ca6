"""Animation: members beside the truth, lead after lead, as one picture that moves (GIF).

One range of colours for all, so that the eye follows what moves and not what is scaled. Of three
space dims the middle slice is shown, as in the maps.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from diffsci.evaluation.canvas import TRUTH, Results, colour, figure, with_unit
from diffsci.evaluation.maps import sliced, value_range
from diffsci.evaluation.panels import panel
from diffsci.files import write_bytes

_MEMBERS = 3
_MOST_FRAMES = 40
_FEWEST_FRAMES = 3
_MILLISECONDS = 350
_LONGEST_PAUSE = 4
"""The last frame stays so many times as long."""


def animate(results: Results, channel: int, path: Path) -> Path | None:
    """Write the animation of the middle case of one channel; none where there are too few leads.

    Args:
        results: What there is to draw.
        channel: Which.
        path: The GIF.

    Raises:
        StorageError: When it cannot be written.
    """
    count = 0 if results.leads is None else len(results.leads)
    if count < _FEWEST_FRAMES:
        return None
    results = sliced(results)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_FRAMES)).round().astype(int))
    drawn = _maps if len(results.grid.dims) == 2 else _curves
    frames = drawn(results, channel, chosen.tolist())
    held = [_MILLISECONDS] * (len(frames) - 1) + [_LONGEST_PAUSE * _MILLISECONDS]
    first, *rest = _one_palette(frames)
    held_in = io.BytesIO()
    first.save(held_in, "GIF", save_all=True, append_images=rest, duration=held, loop=0)
    write_bytes(path, held_in.getvalue())
    return path


def _one_palette(frames: list[Image.Image]) -> list[Image.Image]:
    """The frames in 256 colours, the same for all: colours must not flicker."""
    some = [np.asarray(frames[place]) for place in {0, len(frames) // 2, len(frames) - 1}]
    palette = Image.fromarray(np.concatenate(some)).quantize(256)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _fields(results: Results, channel: int) -> tuple[list[str], list[np.ndarray]]:
    """Titles, and what is shown of the middle case, `[lead, *space]` each."""
    case = len(results.truth) // 2
    members = results.model[case, :, :, channel]
    some = members[:_MEMBERS]
    titles = ["truth", "ensemble mean", *(f"member {m + 1}" for m in range(len(some)))]
    mean = members.mean(axis=0, dtype=np.float64)
    return titles, [results.truth[case, :, channel], mean, *some]


def _maps(results: Results, channel: int, leads: list[int]) -> list[Image.Image]:
    """One map each, their colours changed from frame to frame."""
    titles, shown = _fields(results, channel)
    palette, low, high = value_range(shown[0])
    look = ScalarMappable(Normalize(low, high), palette)
    made = figure(1.9 * len(titles) + 0.9, 2.6)
    meshes = []
    panels = made.subplots(1, len(titles), squeeze=False)[0]
    for column, (axes, title, fields) in enumerate(zip(panels, titles, shown, strict=True)):
        drawn = panel(axes, fields[leads[0]], results.grid, look, left=column == 0, bottom=True)
        axes.set_title(title)
        meshes.append(drawn)
    item = results.channels[channel]
    made.colorbar(look, ax=list(panels), label=with_unit(item.name, item.unit), shrink=0.8)

    def to(lead: int) -> None:
        for mesh, fields in zip(meshes, shown, strict=True):
            if mesh is not None:
                mesh.set_array(fields[lead])

    return _pictures(made, results, leads, to)


def _curves(results: Results, channel: int, leads: list[int]) -> list[Image.Image]:
    """Lines along the one space dim."""
    titles, shown = _fields(results, channel)
    made = figure(7.5, 2.8)
    axes = made.subplots()
    space = results.grid.coordinates[0]
    looks: list[dict[str, Any]] = [
        {"color": TRUTH, "linewidth": 2.0, "zorder": 5},
        {"color": colour(0), "linewidth": 1.8},
        *({"color": colour(0), "linewidth": 0.8, "alpha": 0.6} for _ in shown[2:]),
    ]
    lines = [
        axes.plot(space, fields[leads[0]], label=title, **look)[0]
        for title, fields, look in zip(titles, shown, looks, strict=True)
    ]
    low, high = (float(f(fields)) for f, fields in ((np.min, shown[0]), (np.max, shown[0])))
    room = 0.15 * (high - low or 1.0)
    axes.set_ylim(low - room, high + room)
    item = results.channels[channel]
    axes.set_ylabel(with_unit(item.name, item.unit))
    axes.set_xlabel(with_unit(results.grid.dims[0], results.grid.units[0]))
    made.legend(handles=lines[:3], loc="outside lower center", ncols=3)

    def to(lead: int) -> None:
        for drawn, fields in zip(lines, shown, strict=True):
            drawn.set_ydata(fields[lead])

    return _pictures(made, results, leads, to)


def _pictures(
    made: Figure, results: Results, leads: list[int], to: Callable[[int], None]
) -> list[Image.Image]:
    """The figure at each lead; laid out once, so that nothing jumps."""
    assert results.leads is not None
    case = results.key(len(results.truth) // 2)
    pictures = []
    for lead in leads:
        to(lead)
        at = f"{results.leads[lead]:g} {results.lead_unit}".rstrip()
        made.suptitle(f"{case}, lead {at}", x=0.01, ha="left", fontsize=9.5)
        made.canvas.draw()
        if lead == leads[0]:
            made.set_layout_engine("none")
        pixels = np.asarray(made.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
        pictures.append(Image.fromarray(pixels.copy()))
    return pictures

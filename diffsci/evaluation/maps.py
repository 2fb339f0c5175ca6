"""Maps: members beside the truth in one colour range: the eye judges what scores average.

What is drawn follows the data: space-time panels for one space dim with leads, lines for one
without, a gallery for samples that answer to no single truth, maps else. Of three space dims the
middle slice of the first is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffsci.evaluation.canvas import (
    DIFFERENCE,
    FAINT,
    SPREAD,
    TRUTH,
    VALUES,
    Results,
    colour,
    edges,
    figure,
    spread_cases,
    with_unit,
)
from diffsci.evaluation.gallery import gallery
from diffsci.evaluation.panels import extent, norm, panel

MEMBERS = 4
_BELT = 3.0
"""Width over height from which a map is one."""


def sample_maps(results: Results, channel: int) -> Figure:
    """The picture of samples that fits the data, for one channel."""
    results = sliced(results)
    flat = len(results.grid.dims) == 1
    if results.leads is not None and flat and len(results.leads) > 1:
        return _space_time(results, channel)
    if results.given is None and results.leads is None:
        return gallery(results, channel)
    if flat:
        return _lines(results, channel)
    return _fields(results, channel)


def sliced(results: Results) -> Results:
    """The last two space dims, at the middle of those before them."""
    while len(results.grid.dims) > 2:
        grid = results.grid
        middle = grid.sizes[0] // 2
        results = replace(
            results,
            forecasts={name: _take(v, 4, middle) for name, v in results.forecasts.items()},
            truth=_take(results.truth, 3, middle),
            given=None if results.given is None else _take(results.given, 2, middle),
            grid=replace(
                grid,
                dims=grid.dims[1:],
                coordinates=grid.coordinates[1:],
                units=grid.units[1:],
                boundary=grid.boundary[1:],
            ),
        )
    return results


def _take(values: np.ndarray, axis: int, index: int) -> np.ndarray:
    return values[(slice(None),) * axis + (index,)]


def value_range(truth: np.ndarray) -> tuple[str, float, float]:
    """Colour map and limits of values: diverging about 0 where the truth swings to both sides."""
    low, high = float(np.nanmin(truth)), float(np.nanmax(truth))
    # By all but the outermost values: a few gusts back do not make a west wind one of both sides.
    under, over = (float(np.nanpercentile(truth, share)) for share in (1, 99))
    if under < 0 < over and min(-under, over) > 0.4 * max(-under, over):
        reach = max(-low, high)
        return DIFFERENCE, -reach, reach
    return VALUES, low, high if high > low else low + 1


def _robust_top(values: np.ndarray) -> float:
    """Colour limit without the largest half percent: a few cells must not dim all others."""
    known = values[np.isfinite(values)]
    return (float(np.percentile(known, 99.5)) if known.size else 0.0) or 1.0


def _fields(results: Results, channel: int) -> Figure:
    """Two lines a case: the fields, and below them how far each is from the first."""
    leads = results.leads or (0.0,)
    if len(leads) > 1:
        places = [(len(results.truth) // 2, lead) for lead in spread_cases(len(leads), 3)]
    else:
        places = [(case, 0) for case in spread_cases(len(results.truth), 2)]
    count = min(MEMBERS, results.model.shape[1])
    # Of one member the mean is that member, and there is no spread.
    many = results.model.shape[1] > 1
    first = ["truth"] if results.given is None else ["given", "truth"]
    means = ["ensemble mean"] if many else []
    titles = [*first, *means, *(f"member {m + 1}" for m in range(count))]
    lines = []
    for case, lead in places:
        members = results.model[case, :, lead, channel].astype(np.float64)
        name = results.key(case)
        if len(leads) > 1:
            name += f"\nlead {leads[lead]:g} {results.lead_unit}"
        given = [] if results.given is None else [results.given[case, channel]]
        mean = [members.mean(axis=0)] if many else []
        lines.append(
            _Line(
                name=name,
                spread=members.std(axis=0, ddof=1) if many else None,
                fields=(*given, results.truth[case, lead, channel], *mean, *members[:count]),
            )
        )
    return _draw_fields(results, channel, titles, lines)


@dataclass(frozen=True, kw_only=True)
class _Line:
    """What is drawn of one case: its fields, and under the first of them how far members part.

    Args:
        name: Of the case.
        spread: Of the members; none where there is one.
        fields: What was given, where something was, the truth, and members.
    """

    name: str
    spread: np.ndarray | None
    fields: tuple[np.ndarray, ...]


def _base(results: Results, channel: int) -> int:
    """The column from which differences are taken: what was given where it is whole, else truth."""
    if results.given is None:
        return 0
    given, truth = results.given[:, channel], results.truth[:, 0, channel]
    return int((np.isnan(given) & np.isfinite(truth)).any())


def _draw_fields(results: Results, channel: int, titles: list[str], lines: list[_Line]) -> Figure:
    grid, (high, wide) = results.grid, extent(results.grid)
    columns, base = len(titles), _base(results, channel)
    # Belts would be strips: they go one below the other, differences to the right of values.
    belt = wide > _BELT * high
    across, down_all, parts = (2, columns, 3) if belt else (columns, 2, 1)
    width = 5.6 if belt else 1.75
    height = min(3.0, max(0.35 if belt else 0.8, width * high / wide))
    rows = down_all * len(lines)
    made = figure(width * across + 0.9, (height + (0.35 if belt else 0.12)) * rows + 1.15)
    layout = made.add_gridspec(rows + 1, across * parts, height_ratios=[height] * rows + [0.1])
    shown = np.stack([field for line in lines for field in line.fields[:2]])
    palette, low, top = value_range(shown[np.isfinite(shown)])
    reach = _robust_top(np.abs([line.fields[base + 1] - line.fields[base] for line in lines]))
    spreads = [line.spread for line in lines if line.spread is not None]
    value = ScalarMappable(Normalize(low, top), palette)
    extra = ScalarMappable(Normalize(-reach, reach), DIFFERENCE)
    parting = ScalarMappable(Normalize(0, _robust_top(np.stack(spreads)) if spreads else 1), SPREAD)
    for place, line in enumerate(lines):
        lower: dict[int, tuple[np.ndarray, ScalarMappable, str]] = {}
        if line.spread is not None:
            lower[0] = (line.spread, parting, "spread")
        for column, field in enumerate(line.fields):
            if column > 0 and column != base:
                told = f"{titles[column]} − {titles[base]}"
                lower[column] = (field - line.fields[base], extra, told)
        upper = {k: (field, value, titles[k]) for k, field in enumerate(line.fields)}
        for down, row in enumerate((upper, lower)):
            for column, (field, look, title) in row.items():
                at, side = (place * columns + column, down) if belt else (2 * place + down, column)
                axes = made.add_subplot(layout[at, side * parts : (side + 1) * parts])
                left = side == 0 if belt else column == min(row)
                panel(axes, field, grid, look, left=left, bottom=at == rows - 1)
                if belt and column == 0 and down == 0:
                    title = f"{line.name}: {title}".replace("\n", ", ")
                elif column == 0 and down == 0:
                    axes.set_ylabel(line.name)
                if belt or place == 0:
                    axes.set_title(title, loc="left" if belt else "center")
    item = results.channels[channel]
    bars = [
        (value, item.name, "neither"),
        *([(parting, "spread (standard deviation)", "max")] if spreads else []),
        (extra, f"difference from {titles[base]}", "both"),
    ]
    whole = across * parts
    # Numbers take more than half an inch each.
    ticks = max(2, int(width * across / len(bars) / 0.7))
    for number, (look, text, beyond) in enumerate(bars):
        start, end = (whole * at // len(bars) for at in (number, number + 1))
        bar = made.add_subplot(layout[-1, start:end])
        made.colorbar(
            look,
            cax=bar,
            orientation="horizontal",
            label=with_unit(text, item.unit),
            extend=beyond,
            ticks=MaxNLocator(ticks),
        )
    return made


def _space_time(results: Results, channel: int) -> Figure:
    """Space across, lead upwards: truth, two members, their mean and their spread."""
    cases = spread_cases(len(results.truth), 3)
    many = results.model.shape[1] > 1
    titles = ["truth", "member 1"]
    # Of one member the mean is that member, and there is no spread.
    titles += ["member 2", "ensemble mean", "spread"] if many else []
    made = figure(2.1 * len(titles) + 0.8, 2.6 * len(cases) + 0.9)
    layout = made.add_gridspec(
        len(cases) + 1, len(titles), height_ratios=[1.0] * len(cases) + [0.045]
    )
    palette, low, high = value_range(results.truth[cases, :, channel])
    value = ScalarMappable(Normalize(low, high), palette)
    members = results.model[cases][:, :, :, channel].astype(np.float64)
    deviation = members.std(axis=1, ddof=1) if many else np.zeros_like(members[:, 0])
    spread = ScalarMappable(Normalize(0, float(deviation.max()) or 1), SPREAD)
    space = edges(results.grid.coordinates[0])
    time = edges(results.leads or ())
    for row, case in enumerate(cases):
        shown = [results.truth[case, :, channel], members[row, 0]]
        shown += [members[row, 1], members[row].mean(axis=0), deviation[row]] if many else []
        for column, field in enumerate(shown):
            look = spread if titles[column] == "spread" else value
            axes = made.add_subplot(layout[row, column])
            axes.pcolormesh(
                space, time, field, cmap=look.get_cmap(), norm=norm(look), rasterized=True
            )
            axes.tick_params(labelleft=column == 0, labelbottom=row == len(cases) - 1, length=2.5)
            if row == 0:
                axes.set_title(titles[column])
            if column == 0:
                axes.set_ylabel(f"{results.key(case)}\n{with_unit('lead', results.lead_unit)}")
            if row == len(cases) - 1:
                axes.set_xlabel(with_unit(results.grid.dims[0], results.grid.units[0]))
    item = results.channels[channel]
    bars = [(value, slice(0, 3), item.name)]
    bars += [(spread, slice(3, 5), "spread (standard deviation)")] if many else []
    for look, columns, text in bars:
        bar = made.add_subplot(layout[-1, columns])
        made.colorbar(look, cax=bar, orientation="horizontal", label=with_unit(text, item.unit))
    return made


def _lines(results: Results, channel: int) -> Figure:
    """Truth, members and their mean along the one space dim, one panel a case."""
    cases = spread_cases(len(results.truth), 3)
    made = figure(8.0, 2.2 * len(cases) + 0.6)
    space = results.grid.coordinates[0]
    panels = made.subplots(len(cases), 1, sharex=True, squeeze=False)[:, 0]
    for case, axes in zip(cases, panels, strict=True):
        members = results.model[case, :, 0, channel]
        axes.plot(space, members.T, color=colour(0), alpha=0.25, linewidth=0.8)
        axes.plot(space, members.mean(axis=0), color=colour(0), linewidth=2, label="ensemble mean")
        axes.plot(space, results.truth[case, 0, channel], color=TRUTH, linewidth=1.6, label="truth")
        if results.given is not None:
            given = results.given[case, channel]
            axes.plot(space, given, "--", color=FAINT, linewidth=1.4, label="given")
        axes.set_title(results.key(case), loc="left")
        axes.set_ylabel(with_unit(results.channels[channel].name, results.channels[channel].unit))
        axes.grid(True)
    panels[-1].set_xlabel(with_unit(results.grid.dims[0], results.grid.units[0]))
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return made

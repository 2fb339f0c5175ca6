"""What is drawn of forecasts that may be larger than memory: all, or some cases of thinned fields.

Curves come from the table, which has seen every value; pictures need no more cells than they have
dots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.blocks import Held, Values, alike, whole
from diffsci.evaluation.canvas import Results, spread_cases
from diffsci.grid import Grid

_BYTES = 512_000_000
_CELLS = 360
"""Along a side, of fields that are thinned."""


def pictured(
    forecasts: Mapping[str, Values],
    truth: Values,
    results: Results,
    most: int = _BYTES,
) -> Results:
    """`results` with what of the values is to be drawn, and the cases, leads and cells of that.

    Args:
        forecasts: Name -> members.
        truth: As a single member.
        results: With labels for all cases, leads and cells; its values are not looked at.
        most: Bytes that are held.
    """
    shapes = [values.shape for values in (*forecasts.values(), truth)]
    held = all(isinstance(values, Held) for values in forecasts.values())
    if held or 4 * sum(int(np.prod(shape)) for shape in shapes) <= most:
        members = {name: whole(values) for name, values in forecasts.items()}
        return replace(results, forecasts=members, truth=whole(truth)[:, 0])
    strides = tuple(-(-size // _CELLS) for size in results.grid.sizes)
    grid = _thin_grid(results.grid, strides)
    cells = int(np.prod(grid.sizes))
    one = 4 * cells * shapes[0][3] * sum(shape[1] for shape in shapes)
    leads = spread_cases(truth.shape[2], max(1, most // one))
    cases = spread_cases(truth.shape[0], max(1, most // (one * len(leads))))
    members = {name: _taken(values, cases, leads, strides) for name, values in forecasts.items()}
    return replace(
        results,
        forecasts=members,
        truth=_taken(truth, cases, leads, strides)[:, 0],
        given=None if results.given is None else _thin(results.given[cases], strides),
        grid=grid,
        leads=None if results.leads is None else tuple(results.leads[lead] for lead in leads),
        keys=tuple(results.keys[case] for case in cases),
        labels=None if results.labels is None else results.labels[cases],
        parameters={name: values[cases] for name, values in results.parameters.items()},
        thinned=True,
    )


def _taken(
    values: Values, cases: list[int], leads: list[int], strides: tuple[int, ...]
) -> Float[np.ndarray, "case member lead channel *space"]:
    channels = range(values.shape[3])
    one_by_one = []
    for case in cases:
        of_case = []
        for lead in leads:
            block = (slice(case, case + 1), slice(lead, lead + 1))
            # Thinned at once, so that one whole field is held at a time.
            fields = [_thin(values.read(*block, channel), strides) for channel in channels]
            of_case.append(np.stack(alike(fields, values.shape[1]), axis=3))
        one_by_one.append(np.concatenate(of_case, axis=2))
    return np.concatenate(one_by_one)


def _thin(values: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """Every n-th cell along each space axis, which are the last; a copy."""
    cells = tuple(slice(None, None, stride) for stride in strides)
    return np.array(values[(Ellipsis, *cells)])  # type: ignore[arg-type]


def _thin_grid(grid: Grid, strides: tuple[int, ...]) -> Grid:
    pairs = zip(grid.coordinates, strides, strict=True)
    places = grid.places
    if places is not None:
        places = replace(
            places,
            latitude=_thin(places.latitude, strides),
            longitude=_thin(places.longitude, strides),
            areas=_thin(places.areas, strides),
        )
    coordinates = tuple(values[::stride] for values, stride in pairs)
    return replace(grid, coordinates=coordinates, places=places)

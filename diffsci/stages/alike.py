"""What any data must share with that of the training: variables, units, grid, step and gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from diffsci.data.canonical.times import regular_step
from diffsci.data.fields import Channel, Fields
from diffsci.errors import DataError
from diffsci.grid import Grid

_MONTH = 27 * 86_400e9


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a model knows of the data it was trained on, and any other data must share.

    Args:
        source: Name for messages.
        channels: What each channel is.
        grid: Where the values sit.
        scalar_names: Parameters or classes.
        step: One data step: nanoseconds for dates, else in the unit of its time; none where there
            is a single time.
        time_unit: Unit of float times.
        seen: Cells that count at some time; none where all do.
    """

    source: str
    channels: tuple[Channel, ...]
    grid: Grid
    scalar_names: tuple[str, ...]
    step: float | None
    time_unit: str
    seen: Bool[np.ndarray, "channel *space"] | None = None

    @classmethod
    def of(cls, fields: Fields) -> Known:
        """As some fields have it."""
        step, _ = regular_step(fields.times)
        if isinstance(step, np.timedelta64):
            step = float(step / np.timedelta64(1, "ns"))
        return cls(
            source=fields.source,
            channels=fields.channels,
            grid=fields.grid,
            scalar_names=fields.scalar_names,
            step=None if step is None else float(step),
            time_unit=fields.time_unit,
            seen=fields.seen if fields.gappy else None,
        )


def require_alike(known: Known, other: Fields, word: str, *, steps: bool) -> None:
    """Refuse data with other variables, units, grid, parameters or time step than in training.

    Args:
        known: Of the training part.
        other: The part to check.
        word: What the part is called.
        steps: Whether the time step matters, as it does where a forecast is made.

    Raises:
        DataError: Naming what differs, and how.
    """
    found = Known.of(other)
    for what, one, two in (
        ("variables", [c.name for c in known.channels], [c.name for c in found.channels]),
        ("units", [c.unit for c in known.channels], [c.unit for c in found.channels]),
        ("parameters", list(known.scalar_names), list(found.scalar_names)),
        ("grid dims", known.grid.dims, found.grid.dims),
        ("grid sizes", known.grid.sizes, found.grid.sizes),
        ("boundaries", known.grid.boundary, found.grid.boundary),
        ("time unit", known.time_unit, found.time_unit),
    ):
        if one != two:
            raise DataError(
                f"{other.source}: its {what} are {two} in the {word} part, those of training "
                f"({known.source}) are {one}; read the same ones from both"
            )
    for dim, there, here in zip(
        known.grid.dims, known.grid.coordinates, found.grid.coordinates, strict=True
    ):
        apart = float(np.abs(np.subtract(there, here)).max())
        cell = abs(there[-1] - there[0]) / max(1, len(there) - 1) or 1.0
        if apart > 1e-3 * cell:
            raise DataError(
                f"{other.source}: {dim} differs by up to {apart:g} between the {word} part and "
                f"training ({known.source}); regrid one of them"
            )
    _require_same_gaps(known, found, word)
    if steps and known.step and found.step:
        # Months of a calendar have 28 to 31 days; all else agrees to a thousandth.
        months = not known.time_unit and known.step >= _MONTH
        if abs(found.step - known.step) > (0.12 if months else 1e-3) * known.step:
            unit = known.time_unit or "h"
            scale = 1 if known.time_unit else 3.6e12
            raise DataError(
                f"{other.source}: its times are {found.step / scale:g} {unit} apart in the {word} "
                f"part, those of training ({known.source}) {known.step / scale:g} {unit}; "
                "a forecast model knows one step alone, so select times at that step"
            )


def _require_same_gaps(known: Known, other: Known, word: str) -> None:
    """Refuse static gaps elsewhere than in training: a model holds them where they were.

    Raises:
        DataError: Naming the variable, and how many cells.
    """
    if known.seen is None or other.seen is None:
        return
    for number, channel in enumerate(known.channels):
        odd = int((known.seen[number] != other.seen[number]).sum())
        if channel.missing == "static" and odd:
            raise DataError(
                f"{other.source}: variable {channel.name} has other gaps in the {word} part than "
                f"in training ({known.source}), at {odd} cells, and they are static; mask both "
                "alike, or declare `missing: moving`"
            )

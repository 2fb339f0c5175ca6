"""A user's labelled data under a model's names, units and order, with the model's gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data.catalog import Entry, Variable
from diffsci.data.fields import Fields
from diffsci.errors import DataError

if TYPE_CHECKING:
    from diffsci.forecasting.surrogate import Surrogate


def canonical_of(model: Surrogate, raw: xr.Dataset, entry: Entry) -> xr.Dataset:
    """A user's data as the domain has it, to be in the model's units.

    Args:
        model: What it is for.
        raw: Under the names of the model's variables.
        entry: What else is known of it.

    Raises:
        DataError: For a variable without units, or whatever the domain refuses.
    """
    for channel in model.channels:
        found = raw.get(channel.variable)
        if found is not None and channel.unit != "1" and "units" not in found.attrs:
            raise DataError(
                f"{entry.location}: variable {channel.variable} has no units; the model's are "
                f"{channel.unit}: set `.attrs['units']`, which arithmetic in xarray drops"
            )
    boundary = dict(zip(model.grid.dims, model.grid.boundary, strict=True))
    entry = replace(
        entry,
        variables={
            c.variable: Variable(units=c.unit, missing=c.missing, transform=c.transform or None)
            for c in model.channels
        },
        boundary={dim: (str(low), str(high)) for dim, (low, high) in boundary.items()},
    )
    return model.pipeline.data.domain.canonical(raw, entry)


def fields_of(model: Surrogate, canonical: xr.Dataset, entry: Entry) -> Fields:
    """What `canonical_of` gave, or a selection of it, with the model's channels in their order.

    Raises:
        DataError: For a NaN, or a channel that is not there.
    """
    fields = model.pipeline.data.domain.fields(canonical, entry.location)
    names = [channel.name for channel in fields.channels]
    wanted = [channel.name for channel in model.channels]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(f"{entry.location}: lacks {', '.join(missing)}; it has {', '.join(names)}")
    order = [names.index(name) for name in wanted]
    grid = replace(fields.grid, boundary=model.grid.boundary)
    values = _with_gaps(model, fields.values[:, :, order], entry.location)
    return replace(fields, values=values, channels=model.channels, grid=grid)


def _with_gaps(
    model: Surrogate, values: Float[np.ndarray, "trajectory time channel *space"], source: str
) -> Float[np.ndarray, "trajectory time channel *space"]:
    """Values with NaN at the cells that never count, and where the gaps of a file may lie.

    Raises:
        DataError: For a gap that the training part did not have, which the model would fill.
    """
    seen = model.statistics.seen
    if not seen.size or values.shape[2:] != seen.shape:
        return values
    for number, channel in enumerate(model.channels):
        more = np.isnan(values[:, :, number]) & seen[number]
        if channel.missing == "static" and more.any():
            place = ", ".join(
                f"{dim}={at[i]:g}"
                for dim, at, i in zip(
                    model.grid.dims, model.grid.coordinates, np.argwhere(more)[0][2:], strict=True
                )
            )
            raise DataError(
                f"{source}: variable {channel.name} is missing at {place}, where the training part "
                "has values, and its gaps are static: fill them, or train on data with these gaps"
            )
    return np.where(seen, values, np.float32(np.nan))

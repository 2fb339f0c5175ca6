"""The group `intervals` of a calibrated store: ends of the conformal intervals of each case."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.forecasting.store.disk import codecs, quiet
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.template import Template, part_of

INTERVALS = "intervals"
"""Group of a calibrated store: lower and upper ends by level."""

Ends = Callable[[str], Float[np.ndarray, "level bound 1 lead channel *space"]]
"""Lower and upper ends of a case, by its key."""


def write_intervals(
    ends_of: Ends, levels: Sequence[float], template: Template, whole: Place
) -> None:
    """Write the group, some cases at a time.

    Args:
        ends_of: Of a case's key.
        levels: Of the intervals.
        template: Of the store.
        whole: The store.
    """
    cases, size = template.cases, template.cases_in_chunk
    model, encoding = template.model, None
    for first in range(0, len(cases), size):
        part = slice(first, min(first + size, len(cases)))
        block = np.concatenate([ends_of(key) for key in cases.keys[part]], axis=2)
        of = part_of(cases, part)
        each = [
            xr.concat(
                [model.label(block[i, j][:, None], of, None) for j in range(2)],
                xr.Variable("bound", ["lower", "upper"]),
            )
            for i in range(len(levels))
        ]
        ds = xr.concat(each, xr.Variable("confidence", np.array(levels)))
        ds = ds.transpose(template.case_dim, "confidence", "bound", ...)
        ds.attrs = {"title": f"conformal intervals of {model.pipeline.name}, for each cell alone"}
        if encoding is None:
            encoding = {
                str(name): {"compressors": codecs(template.storing.format)} for name in ds.variables
            }
        more = {"append_dim": template.case_dim} if first else {"encoding": encoding}
        with whole.errors(ds.nbytes), quiet():
            ds.to_zarr(
                whole.address,
                group=INTERVALS,
                mode="a" if first else "w",
                consolidated=True,
                zarr_format=template.storing.format,
                **more,
            )
    whole.secure(name for name in whole.files() if name.startswith(f"{INTERVALS}/"))


def intervals_of(place: Place) -> xr.Dataset:
    """The group of a store, whose leads are decoded."""
    leads = xr.coders.CFTimedeltaCoder(decode_via_units=False)
    opened: xr.Dataset = xr.open_zarr(
        place.address, group=INTERVALS, chunks=None, decode_timedelta=leads
    )
    return opened

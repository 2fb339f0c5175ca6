"""Small pictures of a few fields of a data set, to be looked at before anything is learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from diffsci.data import reader, stacking
from diffsci.data.catalog import Entry
from diffsci.data.checks import scanning, streaming
from diffsci.data.checks.preflight import infer_domain
from diffsci.data.opening import entry_of

_MOST = 6
"""Variables that are drawn."""


def draw(data: str | Entry, folder: Path, roots: tuple[Path, ...] = ()) -> list[Path]:
    """A PNG for each of the first variables: its first, middle and last field.

    Args:
        data: Catalog entry or path of data.
        folder: Where to write; made where it is not there.
        roots: Folders that may hold a `data_catalog`.

    Raises:
        DataError: For data that cannot be read.
    """
    entry = entry_of(data, roots)
    raw = reader.open_raw(entry)
    try:
        canonical = infer_domain(raw, entry).canonical(raw, entry)
        folder.mkdir(parents=True, exist_ok=True)
        return [
            _drawn(canonical[name], folder / f"{entry.name}-{name}.png")
            for name in streaming.names(canonical)[:_MOST]
        ]
    finally:
        raw.close()


def _drawn(variable: xr.DataArray, path: Path) -> Path:
    """Three fields beside each other in one colour range."""
    leads = [dim for dim in ("sample", "time") if dim in variable.dims]
    along = max(leads, key=lambda dim: variable.sizes[dim], default=None)
    count = variable.sizes[along] if along else 1
    places = sorted({0, count // 2, count - 1})
    fields = []
    for index in places:
        chosen = {dim: index if dim == along else 0 for dim in leads}
        field = variable.isel(chosen)
        while field.ndim > 2:
            field = field.isel({field.dims[0]: field.shape[0] // 2})
        title = scanning.place(variable[{along: [index]}][along], np.array([0])) if along else ""
        fields.append((title, stacking.physical(np.asarray(field.values), variable.attrs)))
    known = np.concatenate([values[np.isfinite(values)] for _, values in fields])
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    made = Figure(figsize=(3.2 * len(fields), 2.9), layout="constrained")
    for panel, (title, values) in zip(
        made.subplots(1, len(fields), squeeze=False)[0], fields, strict=True
    ):
        panel.set_title(title, fontsize=8)
        if values.ndim == 1:
            panel.plot(values, linewidth=0.9)
            panel.set_ylim(low, high if high > low else low + 1)
        else:
            rising = "lower" if "latitude" in variable.dims else "upper"
            image = panel.imshow(values, vmin=low, vmax=high, origin=rising, aspect="auto")
            panel.set_xticks([])
            panel.set_yticks([])
    if values.ndim > 1:
        made.colorbar(image, ax=made.axes, label=str(variable.attrs.get("units", "")), shrink=0.8)
    made.suptitle(str(variable.name), fontsize=9)
    made.savefig(path, dpi=90)
    return path

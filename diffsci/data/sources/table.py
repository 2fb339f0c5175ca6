"""Tables: a text file with one flattened image a row."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.errors import DataError


def open_it(path: Path, options: dict[str, Any], where: str) -> xr.Dataset:
    """A table of one flattened image a row, with its class in the first or last column.

    Args:
        path: The file, which may be compressed by gzip.
        options: `shape: [rows, columns]`, `variable: NAME` and, where there are classes,
            `label: first` or `label: last`.
        where: The catalog entry, for messages.

    Raises:
        DataError: For other options, or what is no such table.
    """
    known = {"shape", "variable", "label"}
    shape = options.get("shape")
    if (
        set(options) - known
        or not isinstance(shape, list)
        or options.get("label") not in (None, "first", "last")
    ):
        raise DataError(
            f"{where}: open_kwargs: got {options}, "
            "expected shape: [rows, columns], variable: NAME, label: first or last"
        )
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float64, ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a table of numbers ({error})") from error
    data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    if options.get("label") == "last":
        table, label = table[:, :-1], table[:, -1]
        data["label"] = (("sample",), label.astype(np.int64))
    elif options.get("label") == "first":
        table, label = table[:, 1:], table[:, 0]
        data["label"] = (("sample",), label.astype(np.int64))
    if table.shape[1] != int(np.prod(shape)):
        raise DataError(f"{path}: rows of {table.shape[1]} values, but `shape: {shape}` in {where}")
    images = table.reshape(len(table), *shape)
    data[str(options.get("variable", "intensity"))] = (("sample", "y", "x"), images)
    return xr.Dataset(data)

"""Packed values: `scale_factor` and `add_offset` of CF, which have to be numbers to unpack by.

xarray unpacks where values are read, and a word there fails as arithmetic far from any file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.errors import DataError

_KEYS = ("scale_factor", "add_offset")


def require_numbers(ds: xr.Dataset, path: Path | str) -> None:
    """Refuse a variable that is packed by something else than one number.

    Args:
        ds: Decoded or not.
        path: Of the file, for the message.

    Raises:
        DataError: Naming file, variable, attribute and value.

    Source:
        CF Conventions, 8.1 Packed data.
    """
    for name, variable in ds.variables.items():
        for key in _KEYS:
            value = variable.encoding.get(key, variable.attrs.get(key))
            if value is not None and not _is_number(value):
                raise DataError(
                    f"{path}: variable {name}: its attribute {key} is {value!r}, expected one "
                    "number; correct it in the file, or delete it there"
                )


def _is_number(value: Any) -> bool:  # noqa: ANN401  whatever a file holds
    found = np.asarray(value)
    return found.size == 1 and found.dtype.kind in "fiu"

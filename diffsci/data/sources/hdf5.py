"""HDF5: which layout a file has, and values that are read box by box with no handle kept."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data import lazy
from diffsci.errors import DataError


def opened(path: Path) -> Any:  # noqa: ANN401  h5py has no types
    """The file, to be used in a `with`.

    Raises:
        DataError: When it cannot be opened, or h5py is missing.
    """
    if importlib.util.find_spec("h5py") is None:
        raise DataError(f"{path}: an HDF5 file that is no NetCDF; pip install h5py to read it")
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error).splitlines()[0] if str(error) else ""
        raise DataError(f"{path}: cannot be opened as HDF5 ({text}); fetch it again") from error


def is_one(path: Path) -> bool:
    """Whether a file is HDF5, by its first bytes."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def layout(path: Path) -> str:
    """What kind of file it is: `netcdf4`, `the_well`, `pdebench`, or plain `arrays`."""
    with opened(path) as file:
        names = list(file)
        if "_NCProperties" in file.attrs:
            return "netcdf4"
        if "dimensions" in names and any(name.startswith("t0_") for name in names):
            return "the_well"
        numbered = names and all(name.isdigit() and "data" in file[name] for name in names[:3])
        flow = {"velocity", "particles"} <= set(names)
        if numbered or flow or any(name.endswith("-coordinate") for name in names):
            return "pdebench"
        scales = [d for d in file.values() if d.attrs.get("CLASS") == b"DIMENSION_SCALE"]
        return "netcdf4" if scales or not names else "arrays"


def require_no_groups(path: Path, where: str) -> None:
    """Refuse a file whose arrays lie in groups alone, such as those of satellites' products.

    Args:
        path: The file.
        where: The catalog entry, for the message.

    Raises:
        DataError: With the groups.
    """
    found: dict[str, list[str]] = {}

    def seen(name: str, item: Any) -> None:  # noqa: ANN401  h5py has no types
        if getattr(item, "shape", ()):
            found.setdefault(name.rpartition("/")[0], []).append(name.rpartition("/")[2])

    with opened(path) as file:
        file.visititems(seen)
    if found and "" not in found:
        told = ", ".join(f"{group} ({' '.join(names[:6])})" for group, names in found.items())
        largest = max(found, key=lambda group: len(found[group]))
        raise DataError(
            f"{path}: its arrays lie in groups, {told}; say which by `engine: netcdf4` and "
            f"`open_kwargs: {{group: {largest}}}` in {where}"
        )


def reader(path: Path, name: str) -> Callable[[lazy.Key], np.ndarray]:
    """What reads a box of one array of a file."""

    def read(key: lazy.Key) -> np.ndarray:
        with opened(path) as file:
            return np.asarray(file[name][key])

    return read


def component(path: Path, name: str, item: tuple[int, ...]) -> Callable[[lazy.Key], np.ndarray]:
    """What reads a box of one component of an array, whose last dims are those of components."""
    read = reader(path, name)
    return lambda key: read((*key, *item))


def variable(
    path: Path, name: str, dims: tuple[str, ...], attributes: dict[str, Any] | None = None
) -> xr.Variable:
    """One array of a file under the names of its dims, lazily."""
    with opened(path) as file:
        shape, kind = file[name].shape, file[name].dtype
    return lazy.variable(dims, shape, kind, reader(path, name), attributes)


def text(value: object) -> str:
    """An attribute as text, whatever kind of string it is."""
    return value.decode() if isinstance(value, bytes) else str(value)


def texts(value: object) -> list[str]:
    """An attribute that lists texts."""
    return [text(item) for item in np.atleast_1d(np.asarray(value, dtype=object))]

"""The Well's HDF5 layout: trajectories on a regular grid, boundaries, and parameters.

Vectors and tensors become a variable for each component, such as `velocity_x`. A parameter that all
trajectories of a file share is one number for each of them. Source: Ohana et al. (2024), The Well,
arXiv:2412.00568, and the data format's public description.
"""

from __future__ import annotations

import json
import logging
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data import lazy
from diffsci.data.sources import hdf5
from diffsci.errors import DataError

log = logging.getLogger(__name__)

_SIDES = {"periodic": "periodic", "wall": "wall", "open": "open"}


def open_it(path: Path, options: dict[str, Any], where: str) -> xr.Dataset:
    """The trajectories of one file: dims sample, time and the space dims.

    Args:
        path: The file.
        options: None is known.
        where: The catalog entry, for messages.

    Raises:
        DataError: For what the layout does not allow, naming the array.
    """
    if options:
        raise DataError(f"{where}: open_kwargs: got {options}; this layout takes none")
    with hdf5.opened(path) as file:
        try:
            return _read(path, file)
        except (KeyError, AttributeError) as error:
            raise DataError(f"{path}: not in The Well's layout: {error}; fetch it again") from error


def _read(path: Path, file: Any) -> xr.Dataset:  # noqa: ANN401
    space = hdf5.texts(file["dimensions"].attrs["spatial_dims"])
    coordinates: dict[str, Any] = {
        "time": ("time", _once(path, file["dimensions"]["time"]), {}),
        **{dim: (dim, _once(path, file["dimensions"][dim])) for dim in space},
    }
    samples = int(file.attrs["n_trajectories"])
    data: dict[str, Any] = {}
    for order in range(3):
        group = file.get(f"t{order}_fields")
        for name in [] if group is None else list(group):
            data |= _field(path, group[name], name, order, space)
    parameters, moving = _scalars(path, file, samples)
    if moving:
        log.info("%s: scalars that change in time are left out: %s", path, ", ".join(moving))
    return xr.Dataset(
        data | parameters,
        coordinates | {"sample": np.arange(samples)},
        {
            "title": hdf5.text(file.attrs.get("dataset_name", path.stem)),
            "boundary": json.dumps(_boundaries(file, space)),
        },
    )


def _once(path: Path, coordinate: Any) -> np.ndarray:  # noqa: ANN401
    """A coordinate that all trajectories share."""
    values = np.asarray(coordinate[...], dtype=np.float64)
    if values.ndim == 2 and (values == values[:1]).all():
        values = values[0]
    if values.ndim != 1:
        raise DataError(
            f"{path}: {coordinate.name} differs between trajectories; give them a file each, and "
            "an entry each"
        )
    return values


def _field(
    path: Path,
    array: Any,  # noqa: ANN401
    name: str,
    order: int,
    space: list[str],
) -> dict[str, xr.Variable]:
    """A field, or each component of it."""
    varying = [bool(v) for v in np.atleast_1d(array.attrs.get("dim_varying", [True] * len(space)))]
    lead = [d for d in ("sample", "time") if bool(array.attrs.get(f"{d}_varying", True))]
    inner = [dim for dim, varies in zip(space, varying, strict=True) if varies]
    if array.ndim == len(lead) + len(space) + order:
        inner = space  # What does not vary along a dim is kept with length 1 there.
    dims, tail = [*lead, *inner], array.shape[len(lead) + len(inner) :]
    if array.ndim < len(dims) or len(tail) != order:
        raise DataError(
            f"{path}: {array.name} has {array.ndim} dims, expected {', '.join(dims)} and {order} "
            "for components; fetch the file again"
        )
    one = [dim for dim, n in zip(dims, array.shape, strict=False) if n == 1 and dim in space]
    found = {}
    for index in product(*(range(n) for n in tail)):
        word = "".join(space[i] if n == len(space) else str(i) for i, n in zip(index, tail))  # noqa: B905
        made = lazy.variable(
            tuple(dims),
            array.shape[: len(dims)],
            array.dtype,
            hdf5.component(path, array.name, index),
            {"vector": "true"} if order == 1 else {},
        )
        found[f"{name}_{word}" if word else name] = made.isel({dim: 0 for dim in one})
    return found


def _scalars(path: Path, file: Any, samples: int) -> tuple[dict[str, Any], list[str]]:  # noqa: ANN401
    """A number for each trajectory and scalar; and the names of those that change in time."""
    found, moving = {}, []
    group = file.get("scalars", {})
    for name in list(group):
        values = np.asarray(group[name][...], dtype=np.float64)
        if bool(group[name].attrs.get("time_varying", False)) and values.size > 1:
            moving.append(name)
        elif values.size in (1, samples):
            found[name] = ("sample", np.broadcast_to(values.ravel(), (samples,)).copy())
        else:
            raise DataError(f"{path}: scalar {name} has {values.size} values, expected {samples}")
    return found, moving


def _boundaries(file: Any, space: list[str]) -> dict[str, list[str]]:  # noqa: ANN401
    """The side words of each dim; a condition of one side says so by its mask."""
    found: dict[str, list[str]] = {}
    group = file.get("boundary_conditions", {})
    for name in list(group):
        kind = _SIDES.get(hdf5.text(group[name].attrs.get("bc_type", "")).lower())
        dims = [d for d in hdf5.texts(group[name].attrs.get("associated_dims", [])) if d in space]
        if kind is None or len(dims) != 1:
            log.warning("%s: boundary %s is not along one dim: left open", file.filename, name)
            continue
        mask = np.asarray(group[name]["mask"][...]) if "mask" in group[name] else np.array([])
        sides = found.setdefault(dims[0], ["open", "open"])
        ends = (bool(mask.flat[0]), bool(mask.flat[-1])) if mask.ndim == 1 and mask.size else ()
        for side in (0, 1):
            if kind == "periodic" or not any(ends) or ends[side]:
                sides[side] = kind
    return found

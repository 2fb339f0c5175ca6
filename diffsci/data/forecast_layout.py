"""The forecast store's layout, as far as all domains share it: members, space axes, attributes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.data import stacking
from diffsci.data.fields import Cases, Channel
from diffsci.grid import Grid

_AXIS = {
    "latitude": {"standard_name": "latitude", "long_name": "latitude", "axis": "Y"},
    "longitude": {"standard_name": "longitude", "long_name": "longitude", "axis": "X"},
    "x": {"axis": "X"},
    "y": {"axis": "Y"},
    "z": {"axis": "Z"},
}
_KNOWN = {
    "long_name": "whether the values of a cell were given",
    "flag_values": np.array([0, 1], dtype=np.int8),
    "flag_meanings": "asked given",
}
_BOUNDS = ("valid_min", "valid_max")
PRESSURE = {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"}


def build(
    values: Float[np.ndarray, "case member lead channel *space"],
    cases: Cases,
    channels: tuple[Channel, ...],
    grid: Grid,
    members: np.ndarray | None,
    names: tuple[str, str, str],
    *,
    stack_last: bool = False,
) -> xr.Dataset:
    """The data set without the coordinates of cases and leads, which each domain adds.

    Args:
        values: Physical units.
        cases: What the case axis is; without leads the lead axis is dropped.
        channels: What each channel is.
        grid: Where the values sit.
        members: Numbers of the members; none drops the member axis.
        names: Dims of cases, of leads, and of stacked channels.
        stack_last: Whether stacked channels come after the space dims.
    """
    case_dim, lead_dim, stack = names
    ds = xr.Dataset(None, _axes(channels, grid, members, stack), {"Conventions": "CF-1.11"})
    dims = {"case": case_dim, "member": "number", "lead": lead_dim}
    for name, (axes, block, attributes) in stacking.spread(
        np.asarray(values, dtype=np.float32), channels, stack, grid.dims
    ).items():
        bounds = {key: np.float32(attributes[key]) for key in _BOUNDS if key in attributes}
        variable = xr.Variable([dims.get(axis, axis) for axis in axes], block, attributes | bounds)
        if not cases.leads:
            variable = variable.isel({lead_dim: 0})
        if members is None:
            variable = variable.isel(number=0)
        if stack_last and stack in variable.dims:
            variable = variable.transpose(..., stack)
        variable.encoding = {"dtype": "float32", "_FillValue": np.float32(np.nan)}
        ds[name] = variable
    for name, labels in cases.labels.items():
        if labels.ndim == 1:
            ds = ds.assign_coords({name: (case_dim, labels)})
    return ds.assign_coords(cell_labels(cases, case_dim, grid))


def cell_labels(cases: Cases, case_dim: str, grid: Grid) -> dict[str, xr.Variable]:
    """Labels of each case and cell, such as which of them were given, where the grid is theirs."""
    return {
        name: xr.Variable((case_dim, *grid.dims), labels, _KNOWN if name == "known" else {})
        for name, labels in cases.labels.items()
        if labels.shape[1:] == grid.sizes
    }


def _axes(
    channels: tuple[Channel, ...], grid: Grid, members: np.ndarray | None, stack: str
) -> dict[str, xr.Variable]:
    """Coordinates of space, of stacked channels and of members."""
    coordinates: dict[str, xr.Variable] = {
        dim: xr.Variable(dim, np.array(at), {"units": unit, **_AXIS.get(dim, {})})
        for dim, at, unit in zip(grid.dims, grid.coordinates, grid.units, strict=True)
    }
    if grid.places is not None:
        for name, unit in (("latitude", "degrees_north"), ("longitude", "degrees_east")):
            told = {"standard_name": name, "long_name": name, "units": unit}
            coordinates[name] = xr.Variable(grid.dims, getattr(grid.places, name), told)
        if grid.places.mapping:
            coordinates["crs"] = xr.Variable((), np.int32(0), dict(grid.places.mapping))
    inside = list(dict.fromkeys(c.level for c in channels if c.level is not None))
    if inside:
        first = next(channel for channel in channels if channel.level is not None)
        attributes = first.level_attributes or {"long_name": stack}
        coordinates[stack] = xr.Variable(stack, np.array(inside), attributes)
    if members is not None:
        coordinates["number"] = xr.Variable(
            "number", np.asarray(members, dtype=np.int32), {"standard_name": "realization"}
        )
    return coordinates


def with_samples(ds: xr.Dataset, cases: Cases, time_unit: str) -> xr.Dataset:
    """The data set with `sample`, where each started, and times since then as its lead axis.

    `sample` is the trajectory's label where each trajectory has one case, else it counts the cases.
    """
    once = len(set(cases.trajectories.tolist())) == len(cases)
    sample = cases.trajectories if once else np.arange(len(cases))
    ds = ds.assign_coords(
        sample=("sample", sample, {"long_name": "sample"}),
        trajectory=("sample", cases.trajectories, {"long_name": "trajectory in the data"}),
    )
    unit = time_unit or "1"
    if len(cases.times):
        attributes = {"long_name": "time of the last given frame", "units": unit}
        ds = ds.assign_coords(start_time=("sample", cases.times.astype(np.float64), attributes))
    if cases.leads:
        lead = np.array([float(cases.step or 1.0) * n for n in cases.leads])
        attributes = {"standard_name": "forecast_period", "units": unit, "axis": "T"}
        ds = ds.assign_coords(time=("time", lead, attributes))
    return ds

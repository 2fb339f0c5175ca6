"""Projected and curvilinear grids: dims y and x, latitude and longitude as fields over both.

Coordinates along y and x are those of the projection where the file has them, else the cells are
counted. Rows ascend by them, or towards the north and the east. Areas are the file's (`cell_area`),
those between the file's corners (`bounds`), or those between centres (see `cells.py`).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool

from diffsci.data.canonical.cells import areas, cell_areas, on_sphere
from diffsci.data.canonical.names import NAMES
from diffsci.data.canonical.places import curvilinear
from diffsci.data.checks.problems import Report
from diffsci.grid import Places

SPACE = ("y", "x")
COORDINATES = ("latitude", "longitude", "cell_area", "crs")
"""Coordinates of the canonical data set that say where its cells lie."""

_ROWS = ("projection_y_coordinate", "grid_latitude")
_COLUMNS = ("projection_x_coordinate", "grid_longitude")
_NAMES = {
    "y": (*NAMES["y"], "rlat", "south_north", "nj", "j", "nlat", "eta_rho", "ygrid", "yc"),
    "x": (*NAMES["x"], "rlon", "west_east", "ni", "i", "nlon", "xi_rho", "xgrid", "xc"),
}


def laid_out(ds: xr.Dataset, raw: xr.Dataset, report: Report) -> xr.Dataset | None:
    """With dims y and x and where each cell lies, where latitude and longitude depend on two dims.

    None for any other data set.

    Args:
        ds: Under its canonical names, as far as they are known.
        raw: The same with all its variables, such as areas and corners.
        report: Where faults are told.

    Raises:
        DataError: For places that are not finite, not on the globe, or not the same two dims.
    """
    names = curvilinear(ds), curvilinear(ds, "longitude")
    if names[0] is None and names[1] is None:
        return None
    if names[0] is None or names[1] is None:
        report.stop(
            "curvilinear",
            f"{names[0] or names[1]} depends on two dims, and there is no "
            f"{'longitude' if names[0] else 'latitude'} that does",
            "give the file both, or read it by its rows and columns as `domain: pde`",
            coordinate=str(names[0] or names[1]),
        )
    latitude, longitude = (ds[name] for name in names)
    if set(latitude.dims) != set(longitude.dims):
        report.stop(
            "curvilinear",
            f"{names[0]} depends on {', '.join(map(str, latitude.dims))}, {names[1]} on "
            f"{', '.join(map(str, longitude.dims))}: expected the same two dims",
            "mend the file's coordinates",
            coordinate=names[0],
        )
    rows, columns = _dims(ds, tuple(str(dim) for dim in latitude.dims))
    known = {"latitude": latitude, "longitude": longitude}
    known |= _area(raw, names[0], names[1], (rows, columns))
    fields = {name: np.asarray(v.transpose(rows, columns), np.float64) for name, v in known.items()}
    nowhere = ~(np.isfinite(fields["latitude"]) & np.isfinite(fields["longitude"]))
    if nowhere.any() and not nowhere.all() and _without_values(ds, nowhere, (rows, columns)):
        _placed(fields, nowhere)
    _require_on_globe(fields, names, report)
    mapping = _mapping(raw)
    ds = ds.drop_vars([name for name in (*names, "crs") if name in ds.variables])
    ds = ds.drop_vars([name for name in SPACE if name in ds.variables and ds[name].dims != (name,)])
    ds = ds.rename({old: new for old, new in ((rows, "y"), (columns, "x")) if old != new})
    ds = ds.assign_coords({name: (SPACE, values) for name, values in fields.items()})
    if mapping:
        ds = ds.assign_coords(crs=xr.Variable((), np.int32(0), mapping))
    return _ascending(ds, report)


def told(ds: xr.Dataset, dim: Hashable) -> str:
    """CF standard name of a dim's coordinate; empty where it has none."""
    return str(ds[dim].attrs.get("standard_name", "")) if dim in ds.coords else ""


def _dims(ds: xr.Dataset, dims: tuple[str, ...]) -> tuple[str, str]:
    """Rows and columns: as their coordinates or names say, else as they stand."""
    for wanted, words, place in (("y", _ROWS, 0), ("x", _COLUMNS, 1)):
        for dim in dims:
            if told(ds, dim) in words or dim.lower() in _NAMES[wanted]:
                other = dims[1 - dims.index(dim)]
                return (dim, other) if place == 0 else (other, dim)
    return dims[0], dims[1]


def _area(
    raw: xr.Dataset, latitude: str, longitude: str, dims: tuple[str, str]
) -> dict[str, xr.DataArray]:
    """Areas of cells that the file gives, or that its corners have; empty where it has neither."""
    named = [
        str(name)
        for name, variable in raw.variables.items()
        if str(variable.attrs.get("standard_name", "")) == "cell_area"
        or str(name).lower() in ("cell_area", "areacella", "areacello")
    ]
    for name in named:
        if set(raw[name].dims) == set(dims):
            return {"cell_area": raw[name]}
    pair = (latitude, longitude)
    bounds = [raw[name].attrs.get("bounds") if name in raw.variables else None for name in pair]
    if any(name is None or name not in raw.variables for name in bounds):
        return {}
    north, east = (raw[str(name)] for name in bounds)
    rest = [dim for dim in north.dims if dim not in dims]
    if len(rest) != 1 or set(north.dims) != set(east.dims) or north.sizes[rest[0]] != 4:
        return {}
    around = [np.asarray(v.transpose(*dims, rest[0]), np.float64) for v in (north, east)]
    return {"cell_area": xr.DataArray(areas(on_sphere(*around)), dims=dims)}


def _without_values(
    ds: xr.Dataset, nowhere: Bool[np.ndarray, "y x"], dims: tuple[str, str]
) -> bool:
    """Whether cells without a place have no value in any field, as its first state tells."""
    fields = [v for v in ds.data_vars.values() if set(dims) < set(v.dims) and v.dtype.kind == "f"]
    for field in fields:
        first = field.isel({dim: 0 for dim in field.dims if dim not in dims})
        if np.isfinite(np.asarray(first.transpose(*dims))[nowhere]).any():
            return False
    return bool(fields)


def _placed(fields: dict[str, np.ndarray], nowhere: Bool[np.ndarray, "y x"]) -> None:
    """Give cells without a place, such as those of land, one between those that have one.

    They have no values, so that nothing is made up but a grid that hangs together: directions are
    interpolated along rows, then along columns. Their areas, which weigh nothing, are typical ones.
    """
    angles = [np.deg2rad(fields[name]) for name in ("latitude", "longitude")]
    north, east = angles
    axes3 = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    for axis in (2, 1):
        lines = np.moveaxis(axes3, axis, -1)
        where = np.arange(lines.shape[-1])
        for line in range(lines.shape[1]):
            known = np.isfinite(lines[0, line])
            if known.any():
                for component in lines[:, line]:
                    component[~known] = np.interp(where[~known], where[known], component[known])
    x, y, z = axes3
    fields["latitude"] = np.where(
        nowhere, np.rad2deg(np.arctan2(z, np.hypot(x, y))), fields["latitude"]
    )
    fields["longitude"] = np.where(nowhere, np.rad2deg(np.arctan2(y, x)), fields["longitude"])
    if "cell_area" not in fields:
        fields["cell_area"] = cell_areas(fields["latitude"], fields["longitude"])
    typical = np.median(fields["cell_area"][~nowhere])
    fields["cell_area"] = np.where(nowhere, typical, fields["cell_area"])


def _require_on_globe(
    fields: dict[str, np.ndarray], names: tuple[str | None, str | None], report: Report
) -> None:
    for name, values in zip(names, (fields["latitude"], fields["longitude"]), strict=True):
        bad = int((~np.isfinite(values)).sum())
        if bad:
            report.stop(
                "coordinate",
                f"{bad} of {values.size} cells have no place: {name} is NaN there",
                "write the coordinate wherever there are values",
                coordinate=str(name),
            )
    if np.abs(fields["latitude"]).max() > 90:
        report.stop(
            "coordinate",
            f"latitudes from {fields['latitude'].min():g} to {fields['latitude'].max():g}",
            "correct the file's coordinate; is it in degrees?",
            coordinate=str(names[0]),
        )
    if "cell_area" not in fields:
        fields["cell_area"] = cell_areas(fields["latitude"], fields["longitude"])
    area = fields["cell_area"]
    if not (np.isfinite(area) & (area > 0)).all():
        report.stop(
            "coordinate",
            f"areas of cells from {np.nanmin(area):g} to {np.nanmax(area):g}: expected all above 0",
            "correct `cell_area`, or the places of cells, of which some lie on one another",
            coordinate="cell_area",
        )
    fields["longitude"] = (fields["longitude"] + 180) % 360 - 180


def _mapping(raw: xr.Dataset) -> dict[str, Any]:
    """CF attributes of the projection that the variables name; empty where they name none."""
    for variable in raw.variables.values():
        name = variable.attrs.get("grid_mapping", variable.encoding.get("grid_mapping"))
        if name in raw.variables:
            told = raw[str(name)].attrs
            return {
                str(k): v if isinstance(v, str) else np.asarray(v, np.float64).tolist()
                for k, v in told.items()
            }
    return dict(raw["crs"].attrs) if "crs" in raw.variables and raw["crs"].ndim == 0 else {}


def _ascending(ds: xr.Dataset, report: Report) -> xr.Dataset:
    """Rows and columns by their coordinates, else towards north and east."""
    for axis, (dim, field) in enumerate(zip(SPACE, ("latitude", "longitude"), strict=True)):
        if dim in ds.coords and ds[dim].dtype.kind in "fiu":
            values = np.asarray(ds[dim].values, dtype=np.float64)
            steps = np.diff(values)
            if not ((steps > 0).all() or (steps < 0).all()):
                report.stop(
                    "coordinate",
                    "its values neither rise nor fall throughout",
                    "correct the file's coordinate",
                    coordinate=dim,
                )
            down = bool(len(steps) and steps[0] < 0)
        else:
            steps = np.diff(ds[field].values, axis=axis)
            if field == "longitude":
                steps = (steps + 180) % 360 - 180
            down = bool(steps.size and steps.mean() < 0)
            values = np.arange(ds.sizes[dim], dtype=np.float64)
            values = values[::-1] if down else values
        attributes = ds[dim].attrs if dim in ds.coords else {"units": "1"}
        kept = {k: str(v) for k, v in attributes.items() if k in ("units", "standard_name")}
        ds = ds.assign_coords({dim: (dim, values, {"units": "1"} | kept)})
        if down:
            ds = ds.isel({dim: slice(None, None, -1)})
    return ds


def places(ds: xr.Dataset) -> Places:
    """Where the cells of a canonical data set lie."""
    latitude, longitude, area = (
        np.asarray(ds[name].transpose(*SPACE).values, dtype=np.float64)
        for name in ("latitude", "longitude", "cell_area")
    )
    mapping = ds["crs"].attrs if "crs" in ds.variables else {}
    told = tuple((str(key), value) for key, value in sorted(mapping.items()))
    return Places(latitude=latitude, longitude=longitude, areas=area, mapping=told)

"""Exports: a view of a forecast store as Zarr or NetCDF, written piece by piece.

What is written stands under its name only when it is whole. No two pieces share a chunk, so that
each is written once.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import dask.array
import netCDF4
import numpy as np
import xarray as xr
import zarr

from diffsci.data.canonical import times as stamps
from diffsci.errors import ConfigError, StorageError
from diffsci.files import replace_file, replace_folder
from diffsci.forecasting.store.disk import open_store, quiet
from diffsci.forecasting.store.layouts import LAYOUTS, LEAD, Layout, layout_of
from diffsci.forecasting.store.names import Vocabulary, renaming
from diffsci.forecasting.store.statistics_products import Products
from diffsci.forecasting.store.views import View, by_valid_time, store_of, view, with_valid_time

log = logging.getLogger(__name__)


def export(
    path: Path | str,
    layout: str | None,
    out: Path | None = None,
    *,
    vocabulary: Vocabulary | None = None,
    products: Products | None = None,
) -> Path:
    """Write a forecast store under the names of a layout; returns where.

    Args:
        path: A run folder, or a store.
        layout: One of `LAYOUTS`; none keeps the store's own names, for statistics.
        out: A Zarr store by `.zarr`, NetCDF by `.nc`, a folder of NetCDF files else; none takes a
            name beside the store.
        vocabulary: Of the variables; none takes the layout's.
        products: Statistics over the members, in place of them.

    Raises:
        ConfigError: When the layout has no meaning for the store, or products are not there.
        StorageError: When there is no store, or something stands at `out`.
    """
    source = store_of(path)
    if layout is None and products is None:
        raise ConfigError(f"--layout: expected one of {', '.join(LAYOUTS)}, or --products")
    with open_store(source) as ds:
        chosen = Layout() if layout is None else layout_of(layout, ds)
        if products is not None:
            products.check(chosen(ds, vocabulary))
        _, unknown = renaming(ds, vocabulary or chosen.vocabulary)
        if unknown:
            log.info(
                "export: no %s name is known for %s; kept as it is",
                vocabulary or chosen.vocabulary,
                ", ".join(f"{n} ({ds[n].attrs.get('units', '1')})" for n in unknown),
            )
        place = out or _default(Path(source), layout, products, ds)
        if place.exists():
            raise StorageError(f"{place}: exists already; choose another name with --out")
        told = f"{ds.attrs.get('history', '')}; exported by `diffsci export`".lstrip("; ")
        ds = ds.assign_attrs(history=told)
        if layout in ("valid-time", "cf-netcdf"):
            ds = with_valid_time(ds)
        if layout == "cf-netcdf" and LEAD in ds.dims and place.suffix != ".zarr":
            _each_start(ds, chosen, vocabulary, products, place)
        else:
            make = by_valid_time if layout == "valid-time" else view
            _write(make(ds, chosen, vocabulary, products), place)
    log.info("export: wrote %s", place)
    return place


def _default(source: Path, layout: str | None, products: Products | None, ds: xr.Dataset) -> Path:
    words = [source.stem, *([layout] if layout else []), *(["products"] if products else [])]
    several = LEAD in ds.dims and ds.sizes["time"] > 1
    suffix = ("" if several else ".nc") if layout == "cf-netcdf" else ".zarr"
    return source.with_name("-".join(words) + suffix)


def _write(made: View, place: Path) -> None:
    if place.suffix == ".zarr":
        write_zarr(made, place)
    elif place.suffix == ".nc":
        write_netcdf(made, place)
    else:
        raise ConfigError(f"--out {place}: expected a name that ends in .zarr or .nc")


def _each_start(
    ds: xr.Dataset,
    layout: Layout,
    vocabulary: Vocabulary | None,
    products: Products | None,
    place: Path,
) -> None:
    """A NetCDF file for each start, with the valid time along `time`."""
    count = ds.sizes["time"]
    if place.suffix == ".nc":
        if count > 1:
            raise ConfigError(
                f"--out {place}: the store has {count} starts, and a file holds one; "
                "give a folder's name, without .nc"
            )
        write_netcdf(view(one_start(ds, 0), layout, vocabulary, products), place)
        return
    with replace_folder(place) as fresh:
        for number in range(count):
            stamp = stamps.name(ds["time"].values[number]).replace(":", "")
            # Made when its turn comes: xarray keeps what was read as long as the start lives.
            made = view(one_start(ds, number), layout, vocabulary, products)
            write_netcdf(made, fresh / f"{stamp}.nc")


def one_start(ds: xr.Dataset, number: int) -> xr.Dataset:
    """One forecast of a store: `time` is the valid time, its start and leads stand beside it."""
    one = ds.isel(time=number)
    hours = (one[LEAD].values / np.timedelta64(1, "s")) / 3600.0
    valid = one["valid_time"].values
    start = xr.Variable((), one["time"].values, {"standard_name": "forecast_reference_time"})
    one = one.drop_vars(["time", "valid_time", LEAD]).rename({LEAD: "time"})
    told = {"standard_name": "forecast_period", "units": "hours"}
    return one.assign_coords(
        time=("time", valid, {"standard_name": "time", "axis": "T"}),
        forecast_period=("time", hours, told),
        forecast_reference_time=start,
    )


def write_zarr(made: View, place: Path) -> None:
    """A view as a Zarr store, whole or not at all.

    Raises:
        StorageError: When it cannot be written; nothing stands at `place` then.
    """
    template = made.template
    lazy = template.assign(
        {
            str(name): variable.copy(data=_nothing(variable, made.chunks))
            for name, variable in template.data_vars.items()
        }
    )
    with replace_folder(place) as fresh, quiet():
        encoding = {
            str(n): {"chunks": _chunks(v, made.chunks), "_FillValue": np.float32(np.nan)}
            for n, v in lazy.data_vars.items()
        }
        for each in lazy.variables.values():
            each.encoding = {}
        lazy.to_zarr(
            fresh, mode="w", compute=False, consolidated=True, encoding=encoding,
            write_empty_chunks=True,
        )  # fmt: skip
        # Past xarray, which would read and check the whole store's labels for each piece.
        arrays = zarr.open_group(fresh, mode="r+")
        for region, part in made.pieces():
            for name, values in part.data_vars.items():
                array = arrays[str(name)]
                assert isinstance(array, zarr.Array)
                array[_where(values, region)] = values.values


def _where(variable: xr.DataArray, region: dict[str, slice]) -> tuple[slice, ...]:
    return tuple(region.get(str(dim), slice(None)) for dim in variable.dims)


def _chunks(variable: xr.DataArray, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(sizes.get(str(dim), size) for dim, size in variable.sizes.items())


def _nothing(variable: xr.DataArray, sizes: dict[str, int]) -> Any:  # noqa: ANN401  dask has no types
    """Values that are there in name only: xarray writes no chunk of them."""
    chunks = _chunks(variable, sizes)
    return dask.array.full(  # type: ignore[no-untyped-call]
        variable.shape, np.float32(np.nan), chunks=chunks, dtype=np.float32
    )


def write_netcdf(made: View, place: Path) -> None:
    """A view as a NetCDF-4 file that follows CF, whole or not at all.

    Raises:
        StorageError: When it cannot be written; nothing stands at `place` then.
    """
    with replace_file(place) as fresh:
        template = made.template
        coordinates = template.drop_vars(list(template.data_vars))
        encoding = {str(name): {"_FillValue": None} for name in coordinates.variables}
        for label in coordinates.variables.values():
            label.encoding = {}
        coordinates.to_netcdf(fresh, engine="netcdf4", encoding=encoding)
        with netCDF4.Dataset(fresh, "a") as file:
            if "coordinates" in file.ncattrs():  # of the file, by xarray: ours are each variable's
                file.delncattr("coordinates")
            for name, variable in template.data_vars.items():
                _declare(file, str(name), variable, template, made.chunks)
            for region, part in made.pieces():
                for name, variable in part.data_vars.items():
                    file.variables[str(name)][_where(variable, region)] = variable.values


def _declare(
    file: netCDF4.Dataset,
    name: str,
    variable: xr.DataArray,
    template: xr.Dataset,
    chunks: dict[str, int],
) -> None:
    """A data variable of the file: dims, chunks, attributes, no values yet."""
    dims = [str(dim) for dim in variable.dims]
    for dim, size in variable.sizes.items():
        if str(dim) not in file.dimensions:
            file.createDimension(str(dim), size)
    made = file.createVariable(
        name, "f4", dims, zlib=True, complevel=1, shuffle=True, fill_value=np.float32(np.nan),
        chunksizes=_chunks(variable, chunks) if dims else None,
    )  # fmt: skip
    attributes = {key: value for key, value in variable.attrs.items() if key != "coordinates"}
    beside = [
        str(each) for each, labels in template.coords.items()
        if each not in template.dims and set(labels.dims) <= set(dims)
    ]  # fmt: skip
    if beside:
        attributes["coordinates"] = " ".join(beside)
    made.setncatts(attributes)

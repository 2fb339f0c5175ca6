"""Views of a forecast store: opened as it is, or cut into pieces under the names of a layout.

Memory does not grow with cases or leads: an export is a template that says what is where, and
pieces of some megabytes, each read when its turn comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import xarray as xr

from diffsci.data.canonical import times as stamps
from diffsci.errors import DataError, StorageError
from diffsci.forecasting.store.disk import open_store
from diffsci.forecasting.store.layouts import LEAD, Layout
from diffsci.forecasting.store.names import Vocabulary
from diffsci.forecasting.store.statistics_products import Products

FORECAST = "forecast.zarr"

_PIECE_BYTES = 64_000_000
"""What is read at once, all variables together."""

Region = dict[str, slice]


def store_of(path: Path | str) -> Path | str:
    """The store of a run folder, or the store that the path or the address is.

    Raises:
        StorageError: When there is none.
    """
    if "://" in str(path):
        return str(path)
    path = Path(path)
    if path.is_file():
        raise StorageError(
            f"{path}: is a file; give a run folder or a Zarr store, which are folders (what "
            "`diffsci export` wrote as NetCDF is opened with xarray.open_dataset)"
        )
    if (path / FORECAST).is_dir():
        return path / FORECAST
    if (path / "run.json").exists():
        raise StorageError(f"{path}: this run has no {FORECAST} yet; let `diffsci run` finish it")
    return path


def open_forecast(path: Path | str) -> xr.Dataset:
    """An ensemble as a labelled data set that reads what is asked of it, chunk by chunk (dask).

    Leads are time differences and `valid_time` is the date that each of them is for, where the
    forecast is dated; of a simulation, `time` is the time since the start in its own unit.

    Args:
        path: A run folder, or a store that `diffsci sample` wrote, here or at an address of fsspec.

    Raises:
        StorageError: When there is none, or it cannot be opened.
    """
    place = store_of(path)
    opened = open_store(place)
    # Chunked as stored, members together; named by hand, since dask would read all to make a name.
    when = place.stat().st_mtime_ns if isinstance(place, Path) else ""
    return opened.assign(
        {
            str(name): variable.copy(
                data=variable.variable.chunk(
                    variable.encoding.get("preferred_chunks", {}), name=f"{place}-{when}-{name}"
                ).data
            )
            for name, variable in opened.data_vars.items()
        }
    )


@dataclass(frozen=True, kw_only=True)
class View:
    """What an export holds.

    Args:
        template: Labels, dims and attributes of the whole; its values are never read.
        pieces: Regions by dim, and what lies there; together they are the whole, and none overlap.
        chunks: Size of a piece along each dim in which there are several.
    """

    template: xr.Dataset
    pieces: Callable[[], Iterator[tuple[Region, xr.Dataset]]]
    chunks: dict[str, int]


def case_dim(ds: xr.Dataset) -> str:
    """The dim of cases: samples, or dates."""
    return "sample" if "sample" in ds.dims else "time"


def lead_dim(ds: xr.Dataset) -> str | None:
    """The dim of leads, where there is one."""
    if LEAD in ds.dims:
        return LEAD
    return "time" if "sample" in ds.dims and "time" in ds.dims else None


def view(
    ds: xr.Dataset,
    layout: Layout,
    vocabulary: Vocabulary | None = None,
    products: Products | None = None,
) -> View:
    """A store, or its statistics, under the names of a layout.

    Args:
        ds: As `open_store` gives it.
        layout: Names and order of dims.
        vocabulary: Of the variables; none takes the layout's.
        products: Statistics over the members, in place of them.
    """
    sizes = _piece_sizes(ds)

    def made(part: xr.Dataset, compute: bool) -> xr.Dataset:
        part = layout(part, vocabulary)
        return part if products is None else products(part, compute=compute)

    def pieces() -> Iterator[tuple[Region, xr.Dataset]]:
        for region in _regions(ds, sizes):
            yield _renamed(region, layout), made(ds.isel(region).load(), True)

    return View(
        template=made(hollow(ds), False),
        pieces=pieces,
        chunks={layout.dims.get(dim, dim): size for dim, size in sizes.items()},
    )


def by_valid_time(
    ds: xr.Dataset,
    layout: Layout,
    vocabulary: Vocabulary | None = None,
    products: Products | None = None,
) -> View:
    """Forecasts by the date that they are for: `time` is valid, and where no start fits it is NaN.

    Each valid time has every lead whose start is in the store; `forecast_reference_time` says which
    it was.
    """
    valid = np.asarray(ds["valid_time"].values)
    stamps, place = np.unique(valid.ravel(), return_inverse=True)
    place = place.reshape(valid.shape)
    count = len(stamps)

    def made(part: xr.Dataset, compute: bool) -> xr.Dataset:
        part = layout(part.drop_vars("valid_time"), vocabulary)
        return part if products is None else products(part, compute=compute)

    def pieces() -> Iterator[tuple[Region, xr.Dataset]]:
        for region in _regions(ds, _piece_sizes(ds)):
            block = made(ds.isel(region).load(), True)
            rows, leads = (_numbers(region.get(dim), ds.sizes[dim]) for dim in ("time", LEAD))
            rest = {dim: part for dim, part in region.items() if dim not in ("time", LEAD)}
            for (i, row), (j, lead) in product(enumerate(rows), enumerate(leads)):
                one = {"time": slice(i, i + 1), LEAD: slice(j, j + 1)}
                valid_now = int(place[row, lead])
                there = {"time": slice(valid_now, valid_now + 1), LEAD: slice(lead, lead + 1)}
                yield there | rest, block.isel(one)

    template = made(hollow(ds.isel(time=np.zeros(count, dtype=int))), False)
    starts = _starts(ds, place, count)
    template = template.assign_coords(
        time=("time", stamps, {"standard_name": "time", "axis": "T"}),
        forecast_reference_time=(
            ("time", LEAD), starts, {"standard_name": "forecast_reference_time"}
        ),
    )  # fmt: skip
    return View(template=template, pieces=pieces, chunks={"time": 1, LEAD: 1})


def with_valid_time(ds: xr.Dataset) -> xr.Dataset:
    """A store with the date of each start and lead, where it has none: one of another tool."""
    if LEAD not in ds.dims or "time" not in ds.dims or "valid_time" in ds.variables:
        return ds
    starts, leads = ds["time"].values, ds[LEAD].values
    if leads.dtype.kind != "m":
        raise DataError(
            f"{LEAD}: leads are plain numbers, so that no valid time is known; write them as "
            "differences of time, or with `units: hours`"
        )
    both = stamps.moved(starts[:, None], leads)
    return ds.assign_coords(valid_time=(("time", LEAD), both, {"standard_name": "time"}))


def _starts(ds: xr.Dataset, place: np.ndarray, count: int) -> np.ndarray:
    """The start of each valid time and lead; not a time where there is none.

    Raises:
        DataError: Where two starts have one valid time at one lead, as ends of months may.
    """
    times = np.asarray(ds["time"].values)
    if times.dtype.kind != "M":
        raise DataError(
            "--layout valid-time: the store's dates are of another calendar than the standard one; "
            "take cf-netcdf"
        )
    starts = np.full((count, ds.sizes[LEAD]), np.datetime64("NaT"), dtype=times.dtype)
    for lead in range(ds.sizes[LEAD]):
        if len(set(place[:, lead])) < len(times):
            raise DataError(
                f"--layout valid-time: two starts are valid at one date at lead {lead + 1}; "
                "take cf-netcdf, one file for each start"
            )
        starts[place[:, lead], lead] = times
    return starts


def _numbers(part: slice | None, size: int) -> range:
    return range(size) if part is None else range(part.start, part.stop)


def hollow(ds: xr.Dataset) -> xr.Dataset:
    """The same labels over values that take no memory: NaN everywhere."""
    return ds.assign(
        {
            str(name): variable.copy(data=np.broadcast_to(np.float32(np.nan), variable.shape))
            for name, variable in ds.data_vars.items()
        }
    )


def _renamed(region: Region, layout: Layout) -> Region:
    return {layout.dims.get(dim, dim): part for dim, part in region.items()}


def _piece_sizes(ds: xr.Dataset) -> dict[str, int]:
    """How far a piece reaches along cases, leads and rows of space: all where memory allows it."""
    lead = lead_dim(ds)
    space = [str(dim) for dim in next(iter(ds.data_vars.values())).dims]
    rows = [dim for dim in space if dim in ("z", "y", "latitude", "x")][:1]
    sizes: dict[str, int] = {}
    left = float(ds.nbytes)
    for dim in (case_dim(ds), *([lead] if lead else []), *rows):
        whole = ds.sizes[dim]
        sizes[dim] = max(1, min(whole, math.floor(whole * _PIECE_BYTES / max(left, 1.0))))
        left *= sizes[dim] / whole
    return {dim: size for dim, size in sizes.items() if size < ds.sizes[dim]}


def _regions(ds: xr.Dataset, sizes: dict[str, int]) -> Iterator[Region]:
    cuts = [
        [(dim, slice(first, min(first + size, ds.sizes[dim])))
         for first in range(0, ds.sizes[dim], size)]
        for dim, size in sizes.items()
    ]  # fmt: skip
    for parts in product(*cuts):
        yield dict(parts)

"""Layouts: how the labels of a forecast store are called by the tools that read it.

A layout is a function of a labelled data set; values are neither read nor changed, and what it does
to a whole store it does to a part of it. A store in whose dims a layout has no meaning is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from diffsci.data.canonical.times import is_dates
from diffsci.errors import ConfigError
from diffsci.forecasting.store.names import Vocabulary, renaming

LEAD = "prediction_timedelta"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of dims, and of variables unless others are asked for.

    Args:
        vocabulary: Of the variables.
        dims: New names of dims.
        first: Dims that come first, in this order, under their new names.
        dates: Whether it has a meaning only for dated fields on latitude and longitude.
        leads: Whether it has a meaning only where there are leads.
        drop: Coordinates that would be in the way.
        reshaped: What else is done, in place of nothing.
    """

    vocabulary: Vocabulary = "own"
    dims: dict[str, str] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    dates: bool = False
    leads: bool = False
    drop: tuple[str, ...] = ()
    reshaped: Callable[[xr.Dataset], xr.Dataset] | None = None

    def __call__(self, ds: xr.Dataset, vocabulary: Vocabulary | None = None) -> xr.Dataset:
        """The data set, or a part of it, under this layout's names."""
        ds = ds.drop_vars([name for name in self.drop if name in ds.coords])
        new, _ = renaming(ds, vocabulary or self.vocabulary)
        ds = ds.rename(new)
        if self.reshaped is not None:
            ds = self.reshaped(ds)
        ds = ds.rename({old: name for old, name in self.dims.items() if old in ds.dims})
        first = [dim for dim in self.first if dim in ds.dims]
        return ds.transpose(*first, ...) if first else ds


def _split_levels(ds: xr.Dataset) -> xr.Dataset:
    """Every variable a field of its own, named with its level; a lead of zero where none is."""
    parts: dict[str, xr.DataArray] = {}
    for name, variable in ds.data_vars.items():
        if "level" in variable.dims:
            for number, level in enumerate(ds["level"].values):
                one = variable.isel(level=number, drop=True)
                one.attrs = variable.attrs | {"level_hPa": float(level)}
                parts[f"{name}{level:g}"] = one
        else:
            parts[str(name)] = variable
    made = xr.Dataset(parts, attrs=ds.attrs).drop_vars("level", errors="ignore")
    if LEAD in made.dims:
        return made
    zero = np.zeros(1, "timedelta64[ns]")
    made = made.expand_dims({LEAD: zero}, axis=1)
    made[LEAD].attrs = {"standard_name": "forecast_period"}
    return made


_TIMES = ("s", "second", "seconds", "min", "minute", "minutes", "h", "hour", "hours", "day", "days")
"""Units of which CF knows that they are times."""


def _for_cf(ds: xr.Dataset) -> xr.Dataset:
    """With what the CF conventions ask for, and without what they have no place for."""
    if "sample" in ds.dims and "time" in ds.dims:
        # CF's time is a date; of a simulation it is the time since the start, in its own unit.
        told = {key: ds["time"].attrs[key] for key in ("units",) if key in ds["time"].attrs}
        known = str(told.get("units", "")) in _TIMES
        kind = {"standard_name": "forecast_period"} if known else {}
        ds["time"].attrs = {**kind, "long_name": "time since the start", **told}
    if "number" in ds.coords:
        ds["number"].attrs = {**ds["number"].attrs, "units": "1"}
    for name in ds.variables:
        told = {key: value for key, value in ds[name].attrs.items() if key != "vector"}
        if not {"long_name", "standard_name"} & set(told):
            told["long_name"] = str(name).replace("_", " ")
        ds[name].attrs = told
    # Some tools read no file whose first dim is not time.
    return ds.transpose("time", ...) if "sample" not in ds.dims else ds


LAYOUTS: dict[str, Layout] = {
    # WeatherBench 2's metrics look for `realization`.
    "wb2": Layout(vocabulary="wb2", dims={"number": "realization"}, dates=True),
    # Under these names WeatherBench-X's loaders, left at their defaults, make init_time, lead_time
    # and number; without leads they take `time` for the valid time, and a second one stops them.
    "weatherbenchx": Layout(vocabulary="wb2", dates=True, drop=("valid_time",)),
    "earth2studio": Layout(
        vocabulary="earth2studio",
        dims={"number": "ensemble", LEAD: "lead_time", "latitude": "lat", "longitude": "lon"},
        first=("ensemble", "time", "lead_time"),
        dates=True,
        drop=("valid_time",),
        reshaped=_split_levels,
    ),
    "cf-netcdf": Layout(reshaped=_for_cf),
    "valid-time": Layout(dates=True, leads=True),
    "xskillscore": Layout(dims={"number": "member"}),
}


def layout_of(name: str, ds: xr.Dataset) -> Layout:
    """The layout of this name, for this store.

    Raises:
        ConfigError: When there is no such layout, or it has no meaning for the store.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"--layout: got {name!r}, expected one of {', '.join(LAYOUTS)}")
    layout, dims = LAYOUTS[name], ", ".join(map(str, ds.dims))
    dated = "latitude" in ds.dims and "time" in ds.dims and is_dates(ds["time"].values)
    if layout.dates and not dated:
        raise ConfigError(
            f"--layout {name}: has a meaning for dated fields on latitude and longitude alone, and "
            f"this store's dims are {dims}; take xskillscore or cf-netcdf"
        )
    if layout.leads and LEAD not in ds.dims:
        raise ConfigError(
            f"--layout {name}: has a meaning for forecasts alone, and this store has no leads (its "
            f"dims are {dims}): its times are the valid ones already; take wb2 or xskillscore"
        )
    if name == "cf-netcdf" and "sample" in ds.dims:
        return replace(layout, dims={"time": "elapsed_time"})
    return layout

"""Odd but clean data that no check may complain of; a case is a line, to be read as a table."""
# ruff: noqa: E501

import numpy as np

from tests.data import makers
from tests.data.fault_changes import (
    as_cftime,
    as_matrices,
    converted,
    curved,
    land,
    levels,
    months,
    ranged,
    scaled,
    summed,
    two_by_two,
    wandering,
)
from tests.data.fault_writers import (
    T2M,
    WEATHER,
    layout,
    pictures,
    plain_picture,
    several,
    ways,
)
from tests.data.test_layouts import LAYOUTS

CLEAN = {
    **{f"layout: {name}": layout(name) for name in LAYOUTS},
    "weather as it should be": ways(lambda ds, r: ds),
    "a global grid": ways(lambda ds, r: ds, makers.global_weather),
    "a curvilinear grid": ways(curved),
    "a running sum": ways(lambda ds, r: summed(ds), text=WEATHER + T2M.replace("MORE", "accumulated: running")),
    "rain that is learnt as its logarithm": ways(lambda ds, r: ds, text=WEATHER + T2M.replace("MORE", "transform: log1p")),
    "a 360-day calendar": ways(as_cftime("360_day")),
    "a calendar without leap days": ways(as_cftime("noleap")),
    "the year 1500": ways(as_cftime("standard", 1500)),
    "calendar months": ways(months),
    "dates as texts": ways(lambda ds, r: ds.assign_coords(time=[f"2001-02-0{n}_06:00:00" for n in range(1, 9)])),
    "dates as digits": ways(lambda ds, r: ds.assign_coords(time=("time", 20010201.25 + np.arange(8), {"units": "day as %Y%m%d.%f"}))),
    "months as digits": ways(lambda ds, r: ds.assign_coords(time=("time", 199001.5 + np.arange(8), {"units": "month as %Y%m.%f"}))),
    "a simulation that was converted": ways(converted, makers.pde),
    "axes that are rows and columns": ways(lambda ds, r: as_matrices(ds, ("c", "a")), makers.pde),
    "axes that are rows and columns of other dims": ways(lambda ds, r: as_matrices(ds, ("m", "n1")), makers.pde),
    "pressures in Pa": ways(levels([85000.0, 50000.0], units="Pa")),
    "heights": ways(levels([2.0, 10.0], units="m", standard_name="height")),
    "land, declared": ways(land, text=WEATHER + T2M.replace("MORE", "missing: static")),
    "gaps that move, declared": ways(wandering, text=WEATHER + T2M.replace("MORE", "missing: moving")),
    "a declared fill value": ways(lambda ds, r: land(ds, r).fillna(-9999.0).assign(t2m=lambda d: d.t2m.assign_attrs(units="K")), text=WEATHER + T2M.replace("MORE", "missing: static, fill: -9999")),
    "a valid range, and values at its ends": ways(ranged),
    "values of 1e20 throughout": ways(scaled(1e18)),
    "values of 1e-20 throughout": ways(scaled(1e-22)),
    "values about -999": ways(lambda ds, r: ds.assign(t2m=(ds.t2m * 0 + r.normal(-999, 50, ds.t2m.shape)).assign_attrs(units="K"))),
    "degC that becomes K": ways(lambda ds, r: ds.assign(t2m=(ds.t2m - 273.15).assign_attrs(units="degC")), text=WEATHER + "variables: {t2m: {units: K}}\n"),
    "a dim of length 1": ways(lambda ds, r: ds.expand_dims(height=[2.0])),
    "one state alone": ways(lambda ds, r: ds.isel(time=[0])),
    "four files": several(lambda part, odd, path: part, 4),
    "trajectories with a parameter": ways(lambda ds, r: ds, makers.pde),
    "trajectories in two dims": ways(two_by_two, makers.pde),
    "images with classes": ways(lambda ds, r: ds, makers.images),
    "a folder of images": pictures(plain_picture),
}  # fmt: skip
"""Name -> what writes data that is in order: (folder, seed) -> what to check."""

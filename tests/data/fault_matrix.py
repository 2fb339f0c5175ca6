"""Faults that a check must report, and the page docs/faults.md, which a test holds to them.

`python -m tests.data.fault_matrix` prints it. A case is a line, so that the list is read as a table.
"""
# ruff: noqa: E501

import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

from diffsci.data.checks import preflight
from tests.data import makers
from tests.data.clean_data import CLEAN
from tests.data.fault_changes import (
    beyond,
    curved,
    digits,
    fallen,
    irregular,
    levels,
    negative_class,
    noisy,
    permeable,
    placeless,
    repeated_meridian,
    spot,
    square,
    standing,
    swath,
    swept,
    times,
    unnamed,
    wandering,
    wandering_places,
    wind,
    without_parameter,
)
from tests.data.fault_writers import (
    T2M,
    WEATHER,
    broken,
    bytes_of,
    calendars,
    complex_field,
    cut_classic,
    cut_picture,
    entry_alone,
    in_celsius,
    linked,
    other_kind,
    other_size,
    overlapping,
    path_alone,
    pictures,
    piped,
    several,
    smaller,
    square_arrays,
    ways,
    wide,
    zarr,
    zarr_of,
)

FAULTS = {
    "a NaN that nothing declares": ("nan", ways(spot(np.nan))),
    "an infinity": ("nan", ways(spot(np.inf))),
    "a field missing altogether": ("nan", ways(lambda ds, r: ds.where(ds.time != ds.time[3]))),
    "a variable of NaN alone": ("nan", ways(lambda ds, r: ds.assign(t2m=ds.t2m * np.nan + 0))),
    "-9999 for missing values": ("sentinel", ways(spot(-9999.0, 5))),
    "1e20 for missing values": ("sentinel", ways(spot(1e20, 5))),
    "9999 for missing values": ("sentinel", ways(spot(9999.0, 5))),
    "-32768 left of packing": ("sentinel", ways(spot(-32768.0, 3))),
    "a constant variable": ("constant", ways(lambda ds, r: ds.assign(t2m=ds.t2m * 0 + 5))),
    "no units anywhere": ("units-missing", ways(lambda ds, r: ds.drop_attrs())),
    "units that do not convert": ("units", ways(lambda ds, r: ds, text=WEATHER + "variables: {t2m: {units: Pa}}\n")),
    "a variable that is not there": ("variable-missing", ways(lambda ds, r: ds, text=WEATHER + "variables: {t2m: {}, tp: {}}\n")),
    "a rename of nothing": ("rename-missing", ways(lambda ds, r: ds, text=WEATHER + "rename: {T2: t2m}\n")),
    "a stamp twice": ("time-duplicate", ways(times(lambda r: [0, 1, 1, 2, 3, 4]))),
    "stamps out of order": ("time-unsorted", ways(times(lambda r: [0, 1, 3, 2, 4, 5]))),
    "a missing stamp (NaT)": ("time-missing", ways(lambda ds, r: ds.assign_coords(time=ds.time.where(ds.time != ds.time[2])))),
    "times without units": ("time-units", ways(lambda ds, r: ds.assign_coords(time=np.arange(8.0)))),
    "units of time that nobody knows": ("unreadable", ways(lambda ds, r: ds.assign_coords(time=("time", np.arange(8), {"units": "fortnights since 2000-01-01"})))),
    "entry and file contradict on time": ("unreadable", ways(lambda ds, r: ds, text=WEATHER + "time: {units: days since 1850-01-01}\n")),
    "a gap in time": ("gap", ways(times(lambda r: [0, 1, 2, 4, 5, 6, 7]))),
    "a latitude beyond the pole": ("coordinate", ways(lambda ds, r: ds.assign_coords(latitude=ds.latitude + 40))),
    "a latitude twice": ("coordinate", ways(lambda ds, r: ds.isel(latitude=[0, 1, 1, 2, 3]))),
    "NaN in a coordinate": ("coordinate", ways(lambda ds, r: ds.assign_coords(latitude=ds.latitude.where(ds.latitude > 41)))),
    "one meridian as 0 and 360": ("coordinate", ways(repeated_meridian)),
    "no latitude": ("axis-missing", ways(lambda ds, r: ds.rename(latitude="rows").assign_coords(rows=np.arange(7)), text=WEATHER)),
    "two coordinates that may be latitude": ("axis-ambiguous", ways(lambda ds, r: ds.rename(time="lats").assign_coords(lats=np.arange(8.0)).rename(latitude="nav_lat").drop_attrs().assign(t2m=lambda d: d.t2m.assign_attrs(units="K")), text=WEATHER)),
    "a curvilinear grid without longitudes": ("curvilinear", ways(lambda ds, r: curved(ds, r).drop_vars("lon"))),
    "cells without a place": ("coordinate", ways(placeless)),
    "a running sum that falls where it may not": ("accumulation", ways(fallen, text=WEATHER + T2M.replace("MORE", "accumulated: running, resets: 24h"))),
    "a running sum that falls by noise": ("noise", ways(noisy, text=WEATHER + T2M.replace("MORE", "accumulated: running"))),
    "values that have no logarithm": ("transform", ways(lambda ds, r: spot(-2.0)(ds, r), text=WEATHER + T2M.replace("MORE", "transform: log1p"))),
    "a dim without a meaning": ("dims", ways(lambda ds, r: xr.concat([ds] * 3, "realization"))),
    "text where numbers are named": ("not-numeric", ways(lambda ds, r: ds.assign(note=(("time",), ["x"] * 8)), text=WEATHER + "variables: {t2m: {}, note: {}}\n")),
    "pressures of unknown units": ("coordinate", ways(levels([85000.0, 50000.0]))),
    "a level twice": ("coordinate", ways(levels([850.0, 850.0], units="hPa"))),
    "gaps that move, declared static": ("mask-moves", ways(wandering, text=WEATHER + T2M.replace("MORE", "missing: static"))),
    "a time without any value, gaps moving": ("field-missing", ways(swept, text=WEATHER + T2M.replace("MORE", "missing: moving"))),
    "an empty file": ("unreadable", bytes_of(lambda whole, r: b"")),
    "a web page": ("unreadable", bytes_of(lambda whole, r: b"<!DOCTYPE html><html>404</html>")),
    "a text file called .nc": ("unreadable", bytes_of(lambda whole, r: b"hello, no data at all")),
    "a NetCDF-4 file cut off": ("unreadable", bytes_of(lambda whole, r: whole[: int(len(whole) * r.uniform(0.2, 0.9))])),
    "a classic file cut off": ("unreadable", cut_classic),
    "one empty file among five": ("unreadable", several(broken)),
    "two calendars": ("missing", several(calendars)),
    "files that overlap": ("time-duplicate", several(overlapping)),
    "other units in one file": ("missing", several(in_celsius)),
    "another grid in one file": ("missing", several(smaller)),
    "a damaged chunk": ("unreadable", zarr(lambda p: p.write_bytes(p.read_bytes()[:-7]))),
    "a missing chunk": ("nan", zarr(lambda p: p.unlink())),
    "no such file": ("entry", path_alone("FOLDER/no.nc")),
    "a checksum that does not fit": ("unreadable", entry_alone(WEATHER + "sha256: " + "ab" * 32 + "\n")),
    "a reader that does not exist": ("unreadable", entry_alone(WEATHER + "engine: nosuch\n")),
    "an unknown key of the entry": ("entry", entry_alone(WEATHER + "renam: {a: b}\n")),
    "a protocol that is not allowed": ("entry", entry_alone("source: ftp://example.org/a.nc\n")),
    "an unknown boundary": ("boundary", ways(lambda ds, r: ds.assign_attrs(boundary="wal"), makers.pde)),
    "a boundary of no dim": ("boundary", ways(lambda ds, r: ds, makers.pde, "domain: pde\nsource: a.nc\nboundary: {q: open}\n")),
    "an irregular mesh": ("mesh", ways(irregular, makers.pde)),
    "a trajectory without its parameter": ("parameter-missing", ways(without_parameter, makers.pde)),
    "four space dims": ("dims", wide),
    "dates in a simulation": ("time", ways(lambda ds, r: ds.assign_coords(time=makers.weather(times=6).time), makers.pde, "domain: pde\nsource: a.nc\n")),
    "a negative class": ("classes", ways(negative_class, makers.images)),
    "images of two sizes": ("unreadable", pictures(other_size)),
    "grey and colour images": ("unreadable", pictures(other_kind)),
    "an image cut off": ("unreadable", pictures(cut_picture)),
    "square arrays without names of dims": ("unreadable", square_arrays),
    "dims that say nothing": ("dims", ways(unnamed, makers.pde)),
    "complex fields": ("unreadable", complex_field),
    "a simulation with one state alone": ("one-state", ways(lambda ds, r: ds.isel(sample=0, time=0, drop=True), makers.pde)),
    "texts that are no dates": ("time-units", ways(lambda ds, r: ds.assign_coords(time=[f"day {n}" for n in range(8)]))),
    "places that move with time": ("curvilinear", ways(wandering_places)),
    "a value outside the file's valid range": ("nan", ways(beyond)),
    "winds that nothing marks, on a globe": ("vector", ways(wind, makers.global_weather)),
    "a globe that lacks a column": ("seam", ways(lambda ds, r: ds.isel(longitude=np.arange(12) != r.integers(12)), makers.global_weather)),
    "an axis that may count either of two dims": ("axis-ambiguous", ways(square, makers.pde)),
    "a swath of a satellite": ("axis-missing", ways(swath)),
    "dates as digits that float32 has rounded": ("unreadable", ways(lambda ds, r: ds.assign_coords(time=("time", digits(r).astype("f4"), {"units": "day as %Y%m%d.%f"})))),
    "a field that no time changes": ("constant", ways(standing)),
    "a field that no trajectory moves": ("still", ways(permeable, makers.pde)),
    "no times at all": ("empty", ways(times(lambda r: []))),
    "no rows at all": ("empty", ways(lambda ds, r: ds.isel(latitude=slice(0)))),
    "names that differ by case alone": ("case", ways(lambda ds, r: ds.assign(T2M=ds.t2m * 1.01).assign(T2M=lambda d: d.T2M.assign_attrs(units="K")))),
    "values that float32 cannot hold": ("nan", ways(lambda ds, r: spot(1e300)(ds.astype("f8"), r).assign(t2m=lambda d: d.t2m.assign_attrs(units="K")))),
    "complex numbers on a grid": ("not-numeric", zarr_of(lambda ds, r: ds.assign(t2m=ds.t2m + 1j))),
    "texts on a grid": ("not-numeric", ways(lambda ds, r: ds.assign(t2m=ds.t2m.astype(str)))),
    "a coordinate that is infinite": ("coordinate", ways(lambda ds, r: ds.assign_coords(longitude=ds.longitude.where(ds.longitude > 12, np.inf)))),
    "a link that leads nowhere": ("entry", linked),
    "a file without variables": ("no-variables", ways(lambda ds, r: xr.Dataset())),
    "a pipe": ("unreadable", piped),
}  # fmt: skip
"""Name -> the code it must be told by, and what writes it: (folder, seed) -> what to check."""


def check(write, seed):
    """What a check tells of one case."""
    with tempfile.TemporaryDirectory() as folder:
        return preflight.check_entry(write(Path(folder), seed))


def page():
    """The text of docs/faults.md, with what was measured just now."""
    lines, found = [], 0
    for name, (code, write) in FAULTS.items():
        told = sorted({problem.code for problem in check(write, 0)})
        found += code in told
        lines.append(f"| {name} | `{code}` | {'yes' if code in told else 'NO'} |")
    alarms = sum(bool(check(write, 0)) for write in CLEAN.values())
    return _PAGE.format(
        faults=len(FAULTS), found=found, clean=len(CLEAN), alarms=alarms, rows="\n".join(lines)
    )


_PAGE = """# Faults of data

`diffsci check` names all faults of a data set in one pass, each with file, variable or coordinate, what was found, and the
fix; `--json` gives a list of `{{code, file, variable, coordinate, value, fix}}`. Exit code 0 means none, 3 faults, 2 a faulty
pipeline file. It reads in blocks and needs no GPU. A run refuses the same faults with the same words.

This page is made by `python -m tests.data.fault_matrix`, and the test suite fails where it is not what the code does.
Each case is seeded at random places, again and again, by property tests.

**Faults seeded: {faults} kinds, {found} reported. Clean but odd data: {clean} kinds, {alarms} false alarms.**

| fault | code | reported |
|---|---|---|
{rows}

`gap`, `noise`, `chunks`, `memory`, `tiles`, `sigma-min`, `vector`, `seam`, `one-state`, `ema` and `still` are warnings: a run goes on.

The clean data are the layouts that must give equal bits (flipped, rolled, packed, other calendars, Zarr 2 and 3, GRIB, HDF5,
globs, ...), calendars of models, levels, declared gaps, and values that look like fill values and are none.
"""


if __name__ == "__main__":
    print(page(), end="")

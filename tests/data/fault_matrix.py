"""Faults that a check must report, and odd but clean data that it must leave alone.

`python -m tests.data.fault_matrix` prints the page docs/faults.md, which a test holds to this. A
case is a line, so that the two lists are read as tables.
"""
# ruff: noqa: E501

import tempfile
from pathlib import Path

import cftime
import h5py
import numpy as np
import xarray as xr
from PIL import Image as Picture

from diffsci.data.checks import preflight
from tests.data import makers
from tests.data.test_layouts import LAYOUTS

WEATHER = "domain: weather\nsource: a.nc\n"


def saved(ds, folder, **options):
    ds.to_netcdf(folder / "a.nc", **options)
    return str(folder / "a.nc")


def entry(folder, text):
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def ways(change, make=makers.weather, text="", **options):
    """A maker of one file that was changed, with an entry where there is a text for it."""

    def write(folder, seed):
        random = np.random.default_rng(seed)
        path = saved(change(make(seed=seed), random), folder, **options)
        return entry(folder, text) if text else path

    return write


def spot(value, count=1):
    def change(ds, random):
        values = ds["t2m"].values
        places = random.choice(values.size, count, replace=False)
        values.flat[places] = value
        return ds

    return change


def times(order):
    return lambda ds, random: ds.isel(time=order(random))


def levels(values, **told):
    def change(ds, random):
        stack = xr.concat([ds["t2m"] * 1, ds["t2m"] + 10], "plev")
        return stack.assign_coords(plev=("plev", values, told)).to_dataset(name="ta")

    return change


def bytes_of(make):
    def write(folder, seed):
        whole = Path(saved(makers.weather(times=40, seed=seed), folder)).read_bytes()
        (folder / "a.nc").write_bytes(make(whole, np.random.default_rng(seed)))
        return str(folder / "a.nc")

    return write


def several(change, count=5):
    """A glob of files, one of which was changed."""

    def write(folder, seed):
        random = np.random.default_rng(seed)
        ds = makers.weather(times=2 * count, seed=seed)
        odd = int(random.integers(1, count))
        for number in range(count):
            part = ds.isel(time=slice(2 * number, 2 * number + 2))
            path = folder / f"{number}.nc"
            part = change(part, number == odd, path)
            if part is not None:
                part.to_netcdf(path)
        return str(folder / "*.nc")

    return write


def broken(part, odd, path):
    if odd:
        path.write_bytes(b"")
        return None
    return part


def calendars(part, odd, path):
    calendar = "noleap" if odd else "360_day"
    start = cftime.datetime(2000 + int(path.stem), 1, 1, calendar=calendar)
    later = cftime.datetime(2000 + int(path.stem), 2, 1, calendar=calendar)
    return part.assign_coords(time=[start, later])


def overlapping(part, odd, path):
    return part.assign_coords(time=part["time"] - np.timedelta64(12, "h")) if odd else part


def in_celsius(part, odd, path):
    return part.assign(t2m=part["t2m"].assign_attrs(units="degC")) if odd else part


def smaller(part, odd, path):
    return part.isel(latitude=slice(3)) if odd else part


def zarr(damage):
    def write(folder, seed):
        makers.weather(seed=seed).to_zarr(folder / "a.zarr", consolidated=False)
        found = sorted(p for p in (folder / "a.zarr" / "t2m" / "c").rglob("*") if p.is_file())
        damage(found[seed % len(found)])
        return str(folder / "a.zarr")

    return write


def pictures(change):
    def write(folder, seed):
        (folder / "a").mkdir()
        random = np.random.default_rng(seed)
        for number in range(4):
            pixels = random.integers(0, 256, (6, 8), dtype=np.uint8)
            path = folder / "a" / f"{number}.png"
            change(pixels, number == 1, path)
        return str(folder / "a")

    return write


def plain_picture(pixels, odd, path):
    Picture.fromarray(pixels).save(path)


def other_size(pixels, odd, path):
    Picture.fromarray(pixels[:5] if odd else pixels).save(path)


def other_kind(pixels, odd, path):
    Picture.fromarray(np.stack([pixels] * 3, axis=-1) if odd else pixels).save(path)


def cut_picture(pixels, odd, path):
    Picture.fromarray(pixels).save(path)
    if odd:
        path.write_bytes(path.read_bytes()[:-40])


def square_arrays(folder, seed):
    with h5py.File(folder / "a.h5", "w") as file:
        file["sol"] = np.random.default_rng(seed).normal(size=(4, 8, 8))
    return str(folder / "a.h5")


def path_alone(text):
    return lambda folder, seed: text.replace("FOLDER", str(folder))


def entry_alone(text):
    def write(folder, seed):
        saved(makers.weather(seed=seed), folder)
        return entry(folder, text)

    return write


def land(ds, random):
    ds["t2m"][:, :, :3] = np.nan
    return ds


def ranged(ds, random):
    """Its own extremes, in float64, are what is valid: half of them round into the range."""
    ends = [float(f"{end:.7g}") for end in (ds["t2m"].values.min(), ds["t2m"].values.max())]
    ds["t2m"].attrs["valid_range"] = np.array(ends)
    return ds


def beyond(ds, random):
    ranged(ds, random)
    return spot(1000.0)(ds, random)


def wandering(ds, random):
    for time in range(8):
        ds["t2m"][time, time % 7, 2:5] = np.nan
    return ds


def swept(ds, random):
    ds = wandering(ds, random)
    ds["t2m"][int(random.integers(8))] = np.nan
    return ds


def wide(folder, seed):
    values = np.random.default_rng(seed).normal(size=(2, 3, 4, 4, 4, 4))
    ds = xr.Dataset({"u": (("sample", "time", "a", "b", "c", "d"), values)})
    return saved(ds, folder)


def irregular(ds, random):
    return ds.assign_coords(x=np.cumsum(random.uniform(1, 2, 16)))


def without_parameter(ds, random):
    ds["viscosity"][int(random.integers(5))] = np.nan
    return ds


def curved(ds, random):
    lat, lon = np.meshgrid(ds["latitude"].values, ds["longitude"].values, indexing="ij")
    ds = ds.rename(latitude="j", longitude="i").drop_vars(["j", "i"])
    return ds.assign_coords(lat=(("j", "i"), lat + 0.1 * lon), lon=(("j", "i"), lon))


def placeless(ds, random):
    ds = curved(ds, random)
    ds["lat"][int(random.integers(7)), int(random.integers(9))] = np.nan
    return ds


def summed(ds):
    """The temperatures as a sum over the hours of two days."""
    sums = (ds["t2m"] - ds["t2m"].min()).cumsum("time").assign_attrs(units="K")
    return ds.assign(t2m=sums).assign_coords(time=ds["time"].values[0] + np.arange(8) * HOUR)


def fallen(ds, random):
    ds = summed(ds)
    ds["t2m"][int(random.integers(2, 8))] *= 0.3
    return ds


def noisy(ds, random):
    ds = summed(ds)
    place = (int(random.integers(7)), int(random.integers(9)))
    ds["t2m"][(5, *place)] = ds["t2m"][(4, *place)] * (1 - 1e-3)
    return ds


def repeated_meridian(ds, random):
    again = (ds.isel(longitude=[0]) + 1).assign_coords(longitude=ds.longitude[:1] + 360)
    return xr.concat([ds, again.assign(t2m=again.t2m.assign_attrs(units="K"))], "longitude")


def negative_class(ds, random):
    ds["label"][int(random.integers(6))] = -1
    return ds


HOUR = np.timedelta64(1, "h")
T2M = "variables: {t2m: {units: K, MORE}}\n"


def unnamed(ds, random):
    return xr.Dataset({"u": (("dim_0", "dim_1", "dim_2"), ds["u"].values)})


def complex_field(folder, seed):
    values = makers.pde(seed=seed)["u"].values
    np.savez(folder / "a.npz", psi=values + 1j * values)
    return str(folder / "a.npz")


def wind(ds, random):
    return ds.rename(t2m="u10").assign(u10=lambda d: d.u10.assign_attrs(units="m s-1"))


def wandering_places(ds, random):
    north, east = np.meshgrid(ds["latitude"].values, ds["longitude"].values, indexing="ij")
    step = np.zeros(ds.sizes["time"])
    step[random.integers(1, len(step)) :] = 0.1
    flat = ds.drop_vars(["latitude", "longitude"]).rename(latitude="j", longitude="i")
    where = {"lat": north + step[:, None, None], "lon": east + 0 * step[:, None, None]}
    return flat.assign({name: (("time", "j", "i"), values) for name, values in where.items()})


def as_matrices(ds, dims):
    """One trajectory with its axes as MATLAB has them: a row of times, a column of places."""
    column = {
        "x": (("a", "b"), ds["x"].values[:, None]),
        "t": (("b", "c"), ds["time"].values[None]),
    }
    return xr.Dataset({**column, "u": (dims, ds["u"].values[0])})


def square(ds, random):
    return as_matrices(ds, ("c", "n1")).assign(
        u=(("c", "n1", "n2"), random.normal(size=(6, 16, 16)))
    )


def swath(ds, random):
    seconds = ("j", np.sort(random.uniform(0, 90, 7)), {"units": "seconds since 2010-01-01"})
    return curved(ds.isel(time=0, drop=True), random).assign(time=seconds)


def digits(random):
    return 19_900_101.0 + np.arange(8) + random.integers(20)


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
    "a classic file cut off": ("unreadable", lambda folder, seed: cut_classic(folder, seed)),
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
}  # fmt: skip
"""Name -> the code it must be told by, and what writes it: (folder, seed) -> what to check."""


def cut_classic(folder, seed):
    path = Path(saved(makers.weather(times=40, seed=seed), folder, format="NETCDF3_CLASSIC"))
    path.write_bytes(path.read_bytes()[:-400])
    return str(path)


def layout(name):
    def write(folder, seed):
        source = LAYOUTS[name](folder)
        return source

    return write


def as_cftime(calendar, year=2001):
    def change(ds, random):
        start = cftime.datetime(year, 2, 25, calendar=calendar)
        step = cftime.datetime(year, 2, 26, calendar=calendar) - start
        return ds.assign_coords(time=[start + n * step for n in range(8)])

    return change


def months(ds, random):
    stamps = np.arange("2001-01", "2001-09", dtype="datetime64[M]").astype("datetime64[ns]")
    return ds.assign_coords(time=stamps)


def scaled(factor):
    return lambda ds, random: ds.assign(t2m=(ds["t2m"] * factor).assign_attrs(units="K"))


def two_by_two(ds, random):
    values = random.normal(size=(5, 6, 8, 12)).astype("f4")
    return ds.drop_vars(["u", "x"]).assign(u=(("sample", "time", "y", "x"), values))


def converted(ds, random):
    """The dims of a file that was made by hand from arrays, with coordinates among its fields."""
    u, t, x = ds["u"].values[0], ds["time"].values, ds["x"].values
    return xr.Dataset({"u": (("dim_0", "dim_1"), u), "t": ("dim_0", t), "x": ("dim_1", x)})


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

`gap`, `noise`, `chunks`, `memory`, `tiles`, `sigma-min`, `vector`, `seam`, `one-state` and `ema` are warnings: a run goes on.

The clean data are the layouts that must give equal bits (flipped, rolled, packed, other calendars, Zarr 2 and 3, GRIB, HDF5,
globs, ...), calendars of models, levels, declared gaps, and values that look like fill values and are none.
"""


if __name__ == "__main__":
    print(page(), end="")

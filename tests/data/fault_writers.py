"""Writers of data in order and out of it: `(folder, seed)` gives what is to be checked."""

import os
from pathlib import Path

import cftime
import h5py
import numpy as np
import xarray as xr
from PIL import Image as Picture

from tests.data import makers
from tests.data.test_layouts import LAYOUTS

WEATHER = "domain: weather\nsource: a.nc\n"
T2M = "variables: {t2m: {units: K, MORE}}\n"


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


def bytes_of(make):
    def write(folder, seed):
        whole = Path(saved(makers.weather(times=40, seed=seed), folder)).read_bytes()
        (folder / "a.nc").write_bytes(make(whole, np.random.default_rng(seed)))
        return str(folder / "a.nc")

    return write


def cut_classic(folder, seed):
    path = Path(saved(makers.weather(times=40, seed=seed), folder, format="NETCDF3_CLASSIC"))
    path.write_bytes(path.read_bytes()[:-400])
    return str(path)


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


def complex_field(folder, seed):
    values = makers.pde(seed=seed)["u"].values
    np.savez(folder / "a.npz", psi=values + 1j * values)
    return str(folder / "a.npz")


def wide(folder, seed):
    values = np.random.default_rng(seed).normal(size=(2, 3, 4, 4, 4, 4))
    ds = xr.Dataset({"u": (("sample", "time", "a", "b", "c", "d"), values)})
    return saved(ds, folder)


def path_alone(text):
    return lambda folder, seed: text.replace("FOLDER", str(folder))


def entry_alone(text):
    def write(folder, seed):
        saved(makers.weather(seed=seed), folder)
        return entry(folder, text)

    return write


def layout(name):
    def write(folder, seed):
        source = LAYOUTS[name](folder)
        return source

    return write


def zarr_of(change):
    def write(folder, seed):
        ds = change(makers.weather(seed=seed), np.random.default_rng(seed))
        ds.to_zarr(folder / "a.zarr", consolidated=False)
        return str(folder / "a.zarr")

    return write


def linked(folder, seed):
    (folder / "a.nc").symlink_to("gone.nc")
    return str(folder / "a.nc")


def piped(folder, seed):
    os.mkfifo(folder / "a.nc")
    return str(folder / "a.nc")

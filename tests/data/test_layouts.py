"""One field in many layouts: the tensors are equal bit for bit, or the layout is refused by name.

The values are sixty-fourths, so that packing to 16 bits loses nothing.
"""

import h5py
import numpy as np
import pytest
import xarray as xr

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source, TimeAxis, Variable
from diffsci.data.domains.weather import Weather
from diffsci.sections import Part
from tests.data import makers


def field():
    ds = makers.global_weather(times=6)
    exact = np.random.default_rng(0).integers(0, 2**14, ds["t2m"].shape) / 64 + 200
    return ds.assign(t2m=(ds["t2m"].dims, exact.astype("f4"), {"units": "K"}))


def netcdf(change=lambda ds: ds, **encoding):
    def write(folder):
        change(field()).to_netcdf(folder / "a.nc", encoding=encoding)
        return str(folder / "a.nc")

    return write


def zarr(version, **more):
    def write(folder):
        ds = field()
        encoding = {"t2m": {"chunks": (1, 6, 12), **more}}
        ds.to_zarr(folder / "a.zarr", zarr_format=version, consolidated=False, encoding=encoding)
        return str(folder / "a.zarr")

    return write


def grib(folder):
    eccodes = pytest.importorskip("eccodes")
    ds = field().isel(latitude=slice(None, None, -1))
    with (folder / "a.grib").open("wb") as file:
        for number in range(6):
            message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
            grid = {"Ni": 12, "Nj": 6, "iDirectionIncrementInDegrees": 30.0}
            grid |= {
                "jDirectionIncrementInDegrees": 30.0,
                "longitudeOfFirstGridPointInDegrees": 0.0,
            }
            grid |= {"latitudeOfFirstGridPointInDegrees": 75.0, "bitsPerValue": 16}
            grid |= {"latitudeOfLastGridPointInDegrees": -75.0}
            grid |= {"longitudeOfLastGridPointInDegrees": 330.0, "shortName": "2t"}
            for key, value in (grid | {"dataDate": 20010101 + number, "dataTime": 0}).items():
                eccodes.codes_set(message, key, value)
            values = ds["t2m"].values[number].astype("f8").ravel()
            eccodes.codes_set_values(message, values)
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)
    return str(folder / "a.grib")


def hdf5(folder):
    ds = field().isel(longitude=np.roll(np.arange(12), 3))
    with h5py.File(folder / "a.h5", "w") as file:
        file["T2M"] = ds["t2m"].values
        file["LAT"], file["LON"] = ds["latitude"].values, ds["longitude"].values
        file["HOURS"] = np.arange(6) * 24
    return Entry(
        name="a",
        source=Source(path=str(folder / "a.h5")),
        rename={"T2M": "t2m", "HOURS": "time"},
        open_kwargs={"dims": {"T2M": ["HOURS", "LAT", "LON"], "HOURS": ["HOURS"]}},
        engine="arrays",
        time=TimeAxis(units="hours since 2001-01-01"),
        variables={"t2m": Variable(units="K")},
    )


def glob(folder):
    for number in range(6):
        field().isel(time=[number]).to_netcdf(folder / f"{number}.nc")
    return str(folder / "?.nc")


def rotated(ds):
    return ds.roll(longitude=5, roll_coords=True)


def signed(ds):
    return rotated(ds).assign_coords(longitude=(rotated(ds).longitude + 180) % 360 - 180)


def from_twenty(ds):
    return ds.assign_coords(longitude=(ds.longitude - 20) % 360 + 20).sortby("longitude")


def cf_time(ds):
    return ds.assign_coords(time=xr.date_range("2001-01-01", periods=6, use_cftime=True))


PACKED = {"dtype": "i2", "scale_factor": 1 / 64, "add_offset": 300.0, "_FillValue": -32768}

LAYOUTS = {
    "latitude from the north": netcdf(lambda ds: ds.isel(latitude=slice(None, None, -1))),
    "rolled longitude": netcdf(rotated),
    "-180..180": netcdf(signed),
    "20..380": netcdf(from_twenty),
    "a meridian twice": netcdf(
        lambda ds: ds.pad(longitude=(0, 1), mode="wrap").assign_coords(
            longitude=np.append(ds.longitude, 360.0)
        )
    ),  # fmt: skip
    "swapped dims": netcdf(lambda ds: ds.transpose("longitude", "latitude", "time")),
    "upper case": netcdf(lambda ds: ds.rename(latitude="LATITUDE", longitude="LON", time="TIME")),
    "float32 coordinates": netcdf(
        lambda ds: ds.assign_coords(longitude=ds.longitude.astype("f4") + np.float32(1e-5))
    ),
    "packed": netcdf(t2m=PACKED),
    "big endian, compressed": netcdf(t2m={"dtype": ">f4", "zlib": True, "chunksizes": (1, 3, 4)}),
    "float64": netcdf(lambda ds: ds.astype("f8")),
    "other calendar object": netcdf(cf_time),
    "seconds since": netcdf(time={"units": "seconds since 1970-01-01", "dtype": "f8"}),
    "zarr 2": zarr(2),
    "zarr 3": zarr(3),
    "zarr 3, sharded": zarr(3, shards=(3, 6, 12)),
    "zarr 2, packed": zarr(2, **PACKED),
    "GRIB": grib,
    "HDF5 without labels": hdf5,
    "glob": glob,
}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return reader.read(netcdf()(folder), Weather(), Part())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_are_equal_bit_for_bit(layout, wanted, tmp_path):
    source = LAYOUTS[layout](tmp_path)
    found = reader.read(source, Weather(), Part())
    assert np.array_equal(found.values.view("u4"), wanted.values.view("u4"))
    assert found.grid == wanted.grid and len(LAYOUTS) >= 12
    assert [str(t)[:19] for t in found.times] == [str(t)[:19] for t in wanted.times]
    assert [c.name for c in found.channels] == ["t2m"]

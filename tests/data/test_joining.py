"""Many files: joined by their coordinates, read where they are selected, with one handle open."""

import resource
import subprocess
import sys

import numpy as np
import pytest

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source
from diffsci.data.checks import preflight
from diffsci.data.domains.weather import Weather
from diffsci.errors import DataError
from diffsci.sections import Part
from tests.data import makers

ALL = Part()


def entry(path):
    return Entry(name="mine", source=Source(path=str(path)))


def pieces(ds, folder, each=1, encoding=None):
    folder.mkdir(exist_ok=True)
    for number, start in enumerate(range(0, ds.sizes["time"], each)):
        part = ds.isel(time=slice(start, start + each))
        part.to_netcdf(folder / f"{number:04d}.nc", encoding=encoding and encoding(number))
    return folder


def test_joined_files_are_lazy_and_equal_to_one_file(tmp_path):
    ds = makers.weather(times=12)
    ds = ds.assign(u10=(ds["t2m"] * 2).assign_attrs(units="m s-1"))
    raw = reader.open_raw(entry(pieces(ds, tmp_path / "a", 5)))
    assert not raw["t2m"].variable._in_memory and raw.sizes == ds.sizes
    some = {"time": [11, 0, 6], "latitude": slice(5, 1, -1)}
    assert np.array_equal(raw["u10"].isel(some).values, ds["u10"].isel(some).values)
    assert raw["t2m"].attrs == ds["t2m"].attrs
    whole = reader.read(str(tmp_path / "a"), Weather(), ALL)
    ds.to_netcdf(tmp_path / "one.nc")
    assert whole.digest == reader.read(str(tmp_path / "one.nc"), Weather(), ALL).digest


def test_each_file_may_pack_and_count_time_in_its_own_way(tmp_path):
    ds = makers.weather(times=6)
    ds["t2m"] = ds["t2m"].round(1)

    def own(number):
        packed = {
            "dtype": "i2",
            "scale_factor": 0.1,
            "add_offset": 270.0 + number,
            "_FillValue": -32768,
        }
        return {"t2m": packed, "time": {"units": f"hours since 200{number}-01-01"}}

    folder = pieces(ds, tmp_path / "a", 2, own)
    found = reader.read(str(folder), Weather(), ALL)
    # Half a unit in the last place of float32 at 300, twice: packed and plain values are rounded.
    assert np.allclose(found.values[0, :, 0], ds["t2m"].values, atol=3.1e-5, rtol=0)
    assert not found.breaks.any() and np.array_equal(found.times, ds["time"].values)


def test_files_of_other_variables_and_other_times_make_one_set(tmp_path):
    ds = makers.weather(times=4)
    pieces(ds, tmp_path / "a", 2)
    for path in sorted((tmp_path / "a").iterdir()):
        path.rename(path.with_name(f"t_{path.name}"))
    pieces(ds.rename(t2m="u10"), tmp_path / "a", 2)
    raw = reader.open_raw(entry(tmp_path / "a"))
    assert set(raw.data_vars) == {"t2m", "u10"} and raw.sizes["time"] == 4
    assert not raw["u10"].variable._in_memory
    assert np.array_equal(raw["u10"].values, ds["t2m"].values)


def test_tiles_of_latitude_are_put_in_a_row(tmp_path):
    ds = makers.weather()
    (tmp_path / "a").mkdir()
    for number, part in enumerate((slice(4, 7), slice(0, 4))):
        ds.isel(latitude=part).to_netcdf(tmp_path / "a" / f"{number}.nc")
    found = reader.read(str(tmp_path / "a"), Weather(), ALL)
    assert np.array_equal(found.values[0, :, 0], ds["t2m"].values)


def test_one_descriptor_is_enough_for_two_hundred_files(tmp_path):
    pieces(makers.weather(times=200), tmp_path / "a")
    program = (
        "import resource, sys\n"
        "from diffsci.data.domains.weather import Weather\n"
        "from diffsci.data import reader\n"
        "from diffsci.sections import Part\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "print(reader.read(sys.argv[1], Weather(), Part()).values.shape)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a")], capture_output=True, text=True
    )
    assert run.stdout.strip() == "(1, 200, 1, 7, 9)", run.stderr


def test_one_file_out_of_line_is_named(tmp_path):
    ds = makers.weather(times=6)
    folder = pieces(ds, tmp_path / "a")
    odd = ds.isel(time=[3]).assign(t2m=ds["t2m"].isel(time=[3]).assign_attrs(units="degC"))
    odd.to_netcdf(folder / "0003.nc")
    with pytest.raises(DataError, match="'K' in 0000.nc and 'degC' in 0003.nc"):
        reader.read(str(folder), Weather(), ALL)
    ds.isel(time=[3], latitude=slice(3)).to_netcdf(folder / "0003.nc")
    with pytest.raises(DataError, match="6 files do not fit together"):
        reader.read(str(folder), Weather(), ALL)


def test_a_value_that_is_missing_names_its_file(tmp_path):
    ds = makers.weather(times=6)
    ds["t2m"][3, 2, 1] = np.nan
    folder = pieces(ds, tmp_path / "a")
    (problem,) = preflight.check_entry(str(folder))
    assert problem.code == "nan" and "2001-01-01T18:00:00" in problem.value


@pytest.mark.slow
def test_a_set_of_ten_thousand_files_is_checked_whole(tmp_path):
    """One file in them has a gap."""
    ds = makers.weather(times=10_000, latitudes=16, longitudes=32)
    ds["t2m"][7777, 2, 1] = np.nan
    pieces(ds, tmp_path / "a")
    (problem,) = preflight.check_entry(str(tmp_path / "a"))
    assert problem.code == "nan" and "1 of 5120000 values" in problem.value

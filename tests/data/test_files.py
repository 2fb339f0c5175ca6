"""Files: recognised by their bytes, put together by their coordinates, refused with the fix."""

import numpy as np
import pytest
import xarray as xr

from diffsci.data import files
from diffsci.data.catalog import Entry, Source
from diffsci.data.reader import open_raw
from diffsci.errors import DataError
from tests.data import makers


def entry(path, **more):
    return Entry(name="mine", source=Source(path=str(path)), **more)


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "a.nc"
    makers.weather().to_netcdf(path)
    return path


def test_one_variable_a_file_is_merged(tmp_path):
    ds = makers.weather()
    ds.to_netcdf(tmp_path / "t2m.nc")
    ds.rename(t2m="u10").to_netcdf(tmp_path / "u10.nc")
    both = open_raw(entry(tmp_path))
    assert set(both.data_vars) == {"t2m", "u10"} and both.sizes == ds.sizes


def test_files_on_other_grids_do_not_fit_together(tmp_path):
    ds = makers.weather()
    ds.isel(time=slice(4)).to_netcdf(tmp_path / "0.nc")
    ds.isel(time=slice(4, 8), latitude=slice(5)).to_netcdf(tmp_path / "1.nc")
    with pytest.raises(DataError, match="2 files do not fit together"):
        open_raw(entry(tmp_path))


def test_a_checksum_is_held(plain):
    with pytest.raises(DataError, match="its sha256 is"):
        open_raw(entry(plain, sha256="0" * 64))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"engine": "zarr"}, "check `engine: zarr`"),
        ({"engine": "nonsense"}, "check `engine: nonsense`"),
        ({"open_kwargs": {"no_such": 1}}, "check `open_kwargs`"),
        ({"engine": "csv"}, "expected shape: \\[rows, columns\\]"),
        ({"engine": "csv", "open_kwargs": {"shape": [2, 2]}}, "not a table of numbers"),
    ],
)
def test_wrong_readers_name_the_key(plain, more, message):
    with pytest.raises(DataError, match=message):
        open_raw(entry(plain, **more))


def test_rows_of_another_length_are_refused(tmp_path):
    np.savetxt(tmp_path / "a.csv", np.zeros((3, 5)), delimiter=",")
    told = {"shape": [2, 2]}
    with pytest.raises(DataError, match="rows of 5 values, but `shape: \\[2, 2\\]`"):
        open_raw(entry(tmp_path / "a.csv", engine="csv", open_kwargs=told))


def test_times_that_cannot_be_decoded_say_so(tmp_path):
    ds = makers.weather(times=2).assign_coords(time=("time", [0, 1], {"units": "days since noon"}))
    ds.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DataError, match="times' units and calendar"):
        open_raw(entry(tmp_path / "a.nc"))


def test_what_is_not_there(tmp_path):
    for path, message in (
        (tmp_path, "a folder with no data"),
        (tmp_path / "no.nc", "no such file"),
        (tmp_path / "*.nc", "no file matches"),
    ):
        with pytest.raises(DataError, match=message):
            files.locate(entry(path))
    lost = Source(package="iris_sample_data:no/such.nc")
    with pytest.raises(DataError, match="has no no/such.nc"):
        files.locate(Entry(name="mine", source=lost))
    (tmp_path / "a.grib").write_bytes(b"GRIB" + bytes(60))
    with pytest.raises(DataError, match="a.grib"):
        open_raw(entry(tmp_path / "a.grib"))


def test_a_duration_stays_a_number(tmp_path):
    ds = makers.weather()
    ds["t2m"].attrs["units"] = "s"
    ds.to_netcdf(tmp_path / "a.nc")
    assert open_raw(entry(tmp_path / "a.nc"))["t2m"].dtype == np.float32


def test_opening_reads_no_field(plain):
    ds = open_raw(entry(plain))
    assert not ds["t2m"]._in_memory and isinstance(ds, xr.Dataset)


@pytest.mark.parametrize("name", ["u", "x"])  # A coordinate is read, and so unpacked, at once.
@pytest.mark.parametrize("value", ["abc", [1.0, 2.0]])
@pytest.mark.parametrize("key", ["scale_factor", "add_offset"])
def test_packing_by_no_number_names_file_variable_and_value(key, value, name, tmp_path):
    path = tmp_path / "packed.nc"
    ds = xr.Dataset({"u": ("x", np.ones(4))}, {"x": np.arange(4.0)})
    ds[name].attrs[key] = value
    ds.to_netcdf(path)
    told = f"{path}: variable {name}: its attribute {key} is .*expected one number"
    with pytest.raises(DataError, match=told):
        open_raw(entry(path))

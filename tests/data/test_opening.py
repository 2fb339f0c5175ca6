"""Opening from Python: canonical, lazy, and the same values as a run reads."""

import json

import numpy as np
import pytest
import xarray as xr

import diffsci
from diffsci.data import reader
from diffsci.data.catalog import Entry, Source, Variable
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.errors import ConfigError, DataError
from diffsci.sections import Part
from tests.data import makers

MADE = [(Weather(), makers.weather), (Pde(), makers.pde), (Image(), makers.images)]


@pytest.mark.parametrize(("domain", "make"), MADE)
def test_what_is_opened_holds_the_same_tensors_and_so_does_a_copy_on_disk(domain, make, tmp_path):
    make().to_netcdf(tmp_path / "a.nc")
    wanted = reader.read(str(tmp_path / "a.nc"), domain, Part())
    with diffsci.open_data(tmp_path / "a.nc") as opened:
        opened.to_netcdf(tmp_path / "b.nc")
    found = reader.read(str(tmp_path / "b.nc"), domain, Part())
    assert found.digest == wanted.digest and found.grid == wanted.grid
    assert found.time_unit == wanted.time_unit


def test_units_are_converted_where_values_are_read_and_nowhere_else(tmp_path):
    ds = makers.weather()
    ds["t2m"] = (ds["t2m"] - 273.15).assign_attrs(units="degC")
    ds.isel(latitude=slice(None, None, -1)).to_netcdf(tmp_path / "a.nc")
    source = Source(path=str(tmp_path / "a.nc"))
    entry = Entry(name="a", source=source, variables={"t2m": Variable(units="K")})
    wanted = reader.read(entry, Weather(), Part()).values[0, :, 0]
    with diffsci.open_data(entry, domain="weather") as opened:
        assert not opened["t2m"].variable._in_memory
        assert opened["t2m"].attrs == {"units": "K"} and opened["t2m"].dtype == np.float32
        some = opened["t2m"].isel(time=[5, 2], longitude=slice(3, None, 2))
        assert np.array_equal(some.values, wanted[[5, 2], :, 3::2])
        assert np.array_equal(opened["t2m"].values, wanted)


def test_arrays_from_python_are_a_source_and_stay_as_they_are():
    ds = makers.weather().rename(latitude="LAT").isel(LAT=slice(None, None, -1))
    before = ds.copy(deep=True)
    opened = diffsci.open_data(ds, domain="weather")
    assert opened["latitude"].values[0] == 40 and opened["t2m"].dims[1] == "latitude"
    assert ds.identical(before)
    entry = Entry(name="mine", source=Source(data=ds))
    assert reader.read(entry, Weather(), Part()).values.shape == (1, 8, 1, 7, 9)
    odd = ds.assign_coords(LAT=ds["LAT"] + 100)
    with pytest.raises(DataError, match=r"arrays \(arrays from Python\): .*expected distinct lat"):
        diffsci.open_data(odd, domain="weather")


def test_boundaries_and_units_of_time_are_plain_attributes():
    opened = diffsci.open_data(makers.pde())
    assert json.loads(opened.attrs["boundary"]) == {"*": ["periodic", "periodic"]}
    assert opened["time"].attrs["units"] == "s"


def test_what_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="no catalog entry 'era5uk'.*did you mean 'era5_uk'"):
        diffsci.open_data("era5uk")
    with pytest.raises(DataError, match="no such file"):
        diffsci.open_data(tmp_path / "a.nc")
    with pytest.raises(ConfigError, match="weathr"):
        diffsci.open_data(makers.weather(), domain="weathr")
    with pytest.raises(ConfigError, match="did you mean 't2m'"):
        diffsci.open_data(makers.weather(), variables=("t2",))


def test_a_lazy_array_is_indexed_as_numpy_indexes(tmp_path):
    """By xarray's orthogonal indexing of the plain array: slices either way, lists, numbers."""
    from diffsci.data import lazy

    plain = np.arange(6 * 5 * 4).reshape(6, 5, 4)
    parts = [
        lazy.variable(("a", "b", "c"), (2, 5, 4), plain.dtype, lambda k, i=i: plain[i : i + 2][k])
        for i in (0, 2, 4)
    ]
    made, wanted = lazy.joined(parts, 0), xr.Variable(("a", "b", "c"), plain)
    keys = [
        (slice(None), slice(None), slice(None)),
        (3, slice(1, 4), 2),
        (slice(5, None, -2), 0, slice(None, None, -1)),
        (slice(1, 6, 3), [4, 0], slice(2, 3)),
        (np.array([5, 0, 3]), slice(None), np.array([1, 1])),
        (slice(2, 2), slice(None), 0),
        (-1, -2, -3),
    ]
    for key in keys:
        assert np.array_equal(made[key].values, wanted[key].values), key
    double = lazy.derived(made, lambda v: 2.0 * v, float)
    for key in keys:
        assert np.array_equal(double[key].values, 2.0 * wanted[key].values), key

"""Axes as MATLAB has them, matrices of one row or column: read exactly, or told by name."""

import numpy as np
import pytest
import xarray as xr

import diffsci
from diffsci.data import reader
from diffsci.data.checks import preflight
from diffsci.data.domains.weather import Weather
from tests.data import makers
from tests.data.test_archives import opened
from tests.data.test_reader import ALL, same, save

T, X = np.linspace(0, 2, 9), np.linspace(-1, 1, 6)
U = np.random.default_rng(0).normal(size=(9, 6))
ROWS, COLUMN = T[None], X[:, None]

LAID_OUT = {
    "along the field's dims": {
        "x": (("nx", "one"), COLUMN), "t": (("one", "nt"), ROWS), "u": (("nt", "nx"), U),
    },
    "phony dims": {
        "x": (("phony_dim_0", "phony_dim_1"), COLUMN), "t": (("phony_dim_1", "phony_dim_2"), ROWS),
        "u": (("phony_dim_2", "phony_dim_0"), U),
    },
    "dims of their own": {
        "x": (("a", "b"), COLUMN), "t": (("c", "d"), ROWS), "u": (("time", "space"), U),
    },
    "under the names of their dims": {
        "x": (("one", "x"), COLUMN.T), "t": (("t", "one"), ROWS.T), "u": (("t", "x"), U),
    },
    "arrays of one dim, along others": {
        "x": (("a",), X), "t": (("c",), T), "u": (("time", "space"), U),
    },
}  # fmt: skip


@pytest.mark.parametrize("how", LAID_OUT)
@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_axes_count_the_dim_of_their_length(how, kind, tmp_path):
    ds, path = xr.Dataset(LAID_OUT[how]), tmp_path / f"a.{kind}"
    ds.to_netcdf(path) if kind == "nc" else ds.to_zarr(path, consolidated=False)
    assert preflight.check_entry(str(path)) == []
    for found in (
        diffsci.open_data(path),
        opened(f"source: ../a.{kind}\nvariables: {{u: {{}}}}\n", tmp_path),
    ):
        assert np.array_equal(found["time"].values, T) and np.array_equal(found["x"].values, X)
        assert np.array_equal(found["u"].transpose("time", "x", ...).values.squeeze(), U)


def test_of_two_dims_of_one_length_none_is_guessed(tmp_path):
    square = {"x": (("a", "b"), COLUMN), "u": (("time", "ny", "nx"), np.random.rand(9, 6, 6))}
    xr.Dataset(square).to_netcdf(tmp_path / "a.nc")
    (problem,) = preflight.check_entry(str(tmp_path / "a.nc"))
    assert problem.code == "axis-ambiguous" and problem.coordinate == "x"
    assert problem.value == "x(a 6, b 1) may count ny or nx, which are as long"
    assert "`ds['x'] = ('ny', ds['x'].values.ravel())`" in problem.fix


def test_a_parameter_of_each_sample_may_be_a_column(tmp_path):
    plain = makers.pde()
    column = plain.assign(
        viscosity=(("sample", "one"), plain["viscosity"].values[:, None], plain["viscosity"].attrs)
    )
    column.to_netcdf(tmp_path / "a.nc")
    found = diffsci.open_data(tmp_path / "a.nc")
    assert found["viscosity"].dims == ("sample",)
    assert np.array_equal(found["viscosity"].values, plain["viscosity"].values)


def test_dates_and_places_may_be_rows_and_columns(tmp_path):
    plain = makers.weather(times=5)
    hours = 6.0 * np.arange(5)
    matrices = {
        "lat": (("north", "one"), plain["latitude"].values[:, None]),
        "lon": (("one", "east"), plain["longitude"].values[None]),
        "time": (("one", "step"), hours[None], {"units": "hours since 2001-01-01"}),
        "t2m": (("step", "north", "east"), plain["t2m"].values, {"units": "K"}),
    }
    xr.Dataset(matrices).to_netcdf(tmp_path / "a.nc")
    found = reader.read(str(tmp_path / "a.nc"), Weather(), ALL)
    same(found, reader.read(save(plain, tmp_path / "b.nc"), Weather(), ALL))


def test_a_line_across_the_globe_is_no_axis(tmp_path):
    """Latitude and longitude along one dim: a cut or a track, whose fields have no map."""
    line = {"lat": (("one", "p"), X[None]), "lon": (("one", "p"), X[None])}
    ds = xr.Dataset({**line, "sst": (("time", "p"), U, {"units": "K"})})
    ds.to_netcdf(tmp_path / "a.nc")
    (problem,) = preflight.check_entry(str(tmp_path / "a.nc"), Weather())
    assert problem.coordinate == "cell_area" and "some lie on one another" in problem.fix

"""Channels: which ones are components of a vector, and which inputs of a network that makes so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source, Variable
from diffsci.data.domains.weather import Weather
from diffsci.data.fields import LEVEL, Channel
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.sections import Part
from tests.data import makers


def channel(name="u", **attributes):
    return Channel(variable=name, unit="m s-1", attributes=tuple(attributes.items()))


@pytest.mark.parametrize(
    ("standard_name", "vector"),
    [
        ("eastward_wind", True),
        ("northward_wind", True),
        ("x_wind", True),
        ("surface_downward_eastward_stress", True),
        ("surface_downward_y_stress", True),
        ("tendency_of_northward_wind", True),
        ("eastward_sea_water_velocity", True),
        ("product_of_northward_wind_and_air_temperature", True),
        ("product_of_eastward_wind_and_northward_wind", False),
        ("square_of_eastward_wind", False),
        ("upward_air_velocity", False),
        ("wind_speed", False),
        ("air_temperature", False),
        ("atmosphere_relative_vorticity", False),
        ("", False),
    ],
)
def test_standard_names_tell_the_components_of_vectors(standard_name, vector):
    assert channel(standard_name=standard_name).vector == vector
    assert not channel(long_name=standard_name).vector


def test_an_entry_has_the_last_word_and_a_level_none():
    assert channel(vector="true").vector
    assert not channel(standard_name="eastward_wind", vector="false").vector
    assert not channel(**{LEVEL + "standard_name": "x_wind"}).vector


def test_the_mark_is_read_from_the_entry_and_from_the_file(tmp_path):
    ds = makers.global_weather()
    winds = {
        "u10": ds["t2m"].assign_attrs(units="m s-1"),
        "v10": ds["t2m"].assign_attrs(units="m s-1", standard_name="northward_wind"),
        "speed": ds["t2m"].assign_attrs(units="m s-1"),
    }
    ds.assign(winds).drop_vars("t2m").to_netcdf(tmp_path / "winds.nc")
    entry = Entry(
        name="winds",
        source=Source(path=str(tmp_path / "winds.nc")),
        variables={"u10": Variable(vector=True), "v10": Variable(), "speed": Variable()},
    )
    canonical = Weather().canonical(reader.open_raw(entry), entry)
    found = Weather().fields(canonical, "winds").channels
    assert {one.variable: one.vector for one in found} == {"u10": True, "v10": True, "speed": False}


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        (Generate(), (0, 2)),
        (Downscale(factor=2), (0, 2, 3, 5)),
        (Forecast(), (0, 2, 3, 5)),
        (Forecast(history=3, stride=2), (0, 2, 3, 5, 6, 8, 9, 11)),
    ],
)
def test_conditions_repeat_the_state_s_marks(task, wanted):
    """The very channels: where the state's components are marked by 1, so are the inputs."""
    channels = (channel(vector="true"), channel("t"), channel("v", standard_name="y_wind"))
    assert task.vectors(channels) == wanted
    fields = makers.fields(space=(6, 8), channels=3)
    fields = replace(fields, values=np.zeros_like(fields.values))
    fields.values[:, :, [0, 2]] = 1.0
    window = torch.from_numpy(fields.values[:1, : task.frames])
    given = task.condition(task.observe(window, fields.grid), fields.grid)
    marks = [1.0, 0.0, 1.0] if given is None else [1.0, 0.0, 1.0, *given[0, :, 0, 0].tolist()]
    assert tuple(np.flatnonzero(marks)) == wanted


def test_components_on_a_grid_with_a_pole_are_scaled_and_not_centred():
    """A mean would be added with the wrong sign beyond the pole."""
    fields = makers.fields(space=(6, 8), channels=2)
    marked = replace(fields, channels=(channel(vector="true"), channel("t")))
    polar = replace(
        marked,
        grid=replace(
            fields.grid, boundary=(("open", "pole"), ("periodic", "periodic")), geometry="sphere"
        ),
    )
    flat, found = fit_statistics(marked, Forecast()), fit_statistics(polar, Forecast())
    wide = fields.values.astype(np.float64)
    assert found.state_mean[0] == 0 and found.state_mean[1] == flat.state_mean[1]
    assert np.isclose(found.state_std[0], np.sqrt((wide[:, :, 0] ** 2).mean()), rtol=1e-12)
    assert found.state_std[1] == flat.state_std[1]
    assert found.target_mean[0] == 0 and found.condition_mean[0] == 0
    assert flat.target_mean[0] != 0 and flat.state_mean[0] > 2
    # The core sees variance 1 about 0 all the same.
    scaled = found.encode(fields.values).astype(np.float64)[:, :, 0]
    tendency = (scaled[:, 1:] - scaled[:, :-1]) / found.target_std[0]
    assert np.isclose((tendency**2).mean(), 1, rtol=1e-6)


def test_gaussian_rows_end_at_poles(tmp_path):
    """Their last row lies 0.77 cells from the pole; a row less at each end, and it is a band."""
    rows = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))
    ds = makers.global_weather(spacing=5.625).assign_coords(latitude=rows)
    ds.to_netcdf(tmp_path / "gauss.nc")
    found = reader.read(str(tmp_path / "gauss.nc"), Weather(), Part()).grid
    assert found.boundary == (("pole", "pole"), ("periodic", "periodic"))
    ds.isel(latitude=slice(1, -1)).to_netcdf(tmp_path / "band.nc")
    found = reader.read(str(tmp_path / "band.nc"), Weather(), Part()).grid
    assert found.boundary[0] == ("open", "open")

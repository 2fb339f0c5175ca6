"""The inferred entry: saved and loaded it reads the same tensors; what is open stands in it."""

import cftime
import numpy as np
import pytest
import xarray as xr
import yaml
from click.testing import CliRunner

from diffsci.cli import main
from diffsci.data import describing, reader
from diffsci.data.catalog import load_entry
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.sections import Part
from tests.data import makers


def odd_weather():
    ds = makers.global_weather().rename(time="valid_time", latitude="LAT", longitude="lon")
    time = [cftime.Datetime360Day(2001, m, 30) for m in range(1, 5)]
    ds = ds.assign_coords(valid_time=time).isel(LAT=slice(None, None, -1))
    ds["LAT"].attrs["units"] = "degrees_north"
    wind = ds["t2m"].rename("u").assign_attrs(units="m s-1", standard_name="eastward_wind")
    return xr.merge([ds, wind]).assign_attrs(title="Odd: a title", license="CC0-1.0")


MADE = {
    "weather": (Weather(), makers.weather),
    "odd weather": (Weather(), odd_weather),
    "pde": (Pde(), lambda: makers.pde().rename(sample="trajectory", x="width")),
    "image": (Image(), makers.images),
}


@pytest.mark.parametrize("kind", MADE)
def test_the_entry_reads_what_the_bare_path_reads(kind, tmp_path):
    domain, make = MADE[kind]
    make().to_netcdf(tmp_path / "a.nc")
    text, problems = describing.described(str(tmp_path / "a.nc"))
    assert problems == []
    (tmp_path / "saved.yaml").write_text(text)
    wanted = reader.read(str(tmp_path / "a.nc"), domain, Part())
    found = reader.read(str(tmp_path / "saved.yaml"), domain, Part())
    assert found.digest == wanted.digest and found.grid == wanted.grid
    assert found.channels == wanted.channels and found.scalar_names == wanted.scalar_names
    again, _ = describing.described(str(tmp_path / "saved.yaml"))
    assert yaml.safe_load(again) == yaml.safe_load(text)


def test_what_was_recognised_is_written_out(tmp_path):
    odd_weather().to_netcdf(tmp_path / "a.nc")
    text, _ = describing.described(str(tmp_path / "a.nc"))
    plain = yaml.safe_load(text)
    assert plain["rename"] == {"valid_time": "time", "LAT": "latitude", "lon": "longitude"}
    assert plain["domain"] == "weather" and plain["title"] == "Odd: a title"
    assert plain["license"] == "CC0-1.0"
    assert plain["variables"]["u"]["standard_name"] == "eastward_wind"
    assert "# time: 4, 2001-01-30T00:00:00 to 2001-04-30T00:00:00, every 1 months" in text
    assert "calendar 360_day" in text and "# latitude: 6, -75 to 75 degrees_north" in text


def test_what_keeps_it_from_being_read_is_told_and_ends_with_3(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ds = makers.weather()
    ds["t2m"].attrs.clear()
    ds.to_netcdf("no_units.nc")
    ds.assign_coords(time=np.arange(8.0)).to_netcdf("no_dates.nc")
    result = CliRunner().invoke(main, ["data", "describe", "no_units.nc"])
    assert result.exit_code == 3
    assert "# fault: " in result.output and "t2m: {units: UNIT}" in result.output
    result = CliRunner().invoke(main, ["data", "describe", "no_dates.nc"])
    assert result.exit_code == 3 and "write `time: {units: hours since" in result.output
    assert yaml.safe_load(result.output)["domain"] == "weather"
    result = CliRunner().invoke(main, ["data", "describe", "no_such.nc"])
    assert result.exit_code == 3 and "no such file" in result.output
    makers.weather().to_netcdf("good.nc")
    result = CliRunner().invoke(main, ["data", "describe", "good.nc"])
    assert result.exit_code == 0 and load_entry("good.nc").name == "good"


def test_a_domain_can_be_asked_for(tmp_path):
    makers.images().to_netcdf(tmp_path / "a.nc")
    text, _ = describing.described(str(tmp_path / "a.nc"), "pde")
    assert yaml.safe_load(text)["domain"] == "pde"

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
from diffsci.data.checks import preflight
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


def test_what_a_person_decides_is_a_comment(tmp_path):
    """Gaps, fields of other dims, and where a grid lies: told, and never written as a guess."""
    ds = makers.weather()
    ds["t2m"][:, :2, :3] = np.nan
    north, east = np.meshgrid(ds["latitude"].values, ds["longitude"].values, indexing="ij")
    flat = ds.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x")
    flat = flat.assign_coords(lat=(("y", "x"), north + 0.1 * east), lon=(("y", "x"), east))
    flat["u"] = (("time", "y", "edge"), np.zeros((8, 7, 10)), {"units": "m s-1"})
    flat.to_netcdf(tmp_path / "a.nc")
    text, problems = describing.described(str(tmp_path / "a.nc"))
    assert problems == [] and "missing" not in yaml.safe_load(text)["variables"]["t2m"]
    assert "# gaps (NaN) in t2m: say `missing: static`" in text
    assert "# left out, having other dims: u(time 8, y 7, edge 10)" in text
    low, high = (north + 0.1 * east).min(), (north + 0.1 * east).max()
    assert f"# latitude, over y and x: {low:.6g} to {high:.6g}" in text
    saved = tmp_path / "saved.yaml"
    saved.write_text(text.replace("{units: K", "{missing: static, units: K"))
    again, _ = describing.described(str(saved))
    assert "gaps" not in again and "left out" not in again


def test_a_file_of_one_kind_of_field_has_no_notes(tmp_path):
    makers.global_weather().to_netcdf(tmp_path / "a.nc")
    text, _ = describing.described(str(tmp_path / "a.nc"))
    assert text.count("#") == 4  # The head, and a line for each dim.


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_of_images_is_images_and_may_be_frames(inside, tmp_path):
    for number in range(4):
        folder = tmp_path / "films" / (f"v{number // 2}" if inside else "")
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{number}.npy", np.random.default_rng(number).normal(size=(6, 8)))
    text, _ = describing.described(str(tmp_path / "films"))
    assert yaml.safe_load(text)["domain"] == "image"
    each = "subfolder is a class" if inside else "file is a sample"
    assert f"# each {each}; if they are frames in time, write `open_kwargs: {{layout:" in text
    (tmp_path / "saved.yaml").write_text(text + "open_kwargs: {layout: frames}\n")
    assert "frames in time" not in describing.described(str(tmp_path / "saved.yaml"))[0]


def test_a_standard_name_that_says_unknown_says_nothing(tmp_path):
    """So GRIB readers write it; as a name it silenced the question of winds at a pole."""
    ds = makers.global_weather().rename(t2m="u10")
    ds["u10"].attrs.update(units="m s**-1", standard_name="unknown")
    ds.to_netcdf(tmp_path / "a.nc")
    text, _ = describing.described(str(tmp_path / "a.nc"))
    assert "standard_name" not in yaml.safe_load(text)["variables"]["u10"]
    assert "vector" in {problem.code for problem in preflight.check_entry(str(tmp_path / "a.nc"))}


def test_two_kinds_of_a_reanalysis_are_told_how_to_be_one(tmp_path):
    ds = makers.weather().expand_dims(expver=[1, 5])
    ds.to_netcdf(tmp_path / "a.nc")
    (problem,) = preflight.check_entry(str(tmp_path / "a.nc"))
    assert "`ds.sel(expver=1).combine_first(ds.sel(expver=5))`" in problem.fix

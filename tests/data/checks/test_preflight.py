"""Preflight: all faults in one pass, none on clean data."""

import json

import numpy as np
import pytest
import xarray as xr

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source, entries
from diffsci.data.checks import preflight
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.errors import DataError
from diffsci.sections import Part
from tests.data import makers


@pytest.mark.parametrize("name", [name for name in entries() if not name.startswith("ks")])
def test_shipped_data_is_clean(name):
    assert preflight.check_entry(name) == []


@pytest.mark.parametrize("make", [makers.weather, makers.global_weather, makers.pde, makers.images])
def test_clean_files_raise_no_alarm(make, tmp_path):
    make().to_netcdf(tmp_path / "a.nc")
    assert preflight.check_entry(str(tmp_path / "a.nc")) == []


def test_all_faults_are_told_at_once(tmp_path):
    ds = makers.weather(times=10)
    ds = ds.assign(u=ds["t2m"] * 1, v=ds["t2m"] * 0 + 5, w=ds["t2m"] * 1)
    ds["u"][3, 2, 1] = np.nan
    ds["v"].attrs["units"] = "m s-1"
    ds["u"].attrs["units"] = ds["t2m"].attrs["units"] = "K"
    ds["w"].attrs.clear()
    ds = ds.isel(time=[0, 1, 2, 2, 3, 6, 5, 8, 9])
    ds.to_netcdf(tmp_path / "a.nc")
    (tmp_path / "e.yaml").write_text(
        "source: a.nc\nrename: {nothing: something}\nvariables:\n  t2m: {units: Pa}\n"
        "  u: {}\n  v: {}\n  w: {}\n  missing: {units: K}\n"
    )
    found = preflight.check_entry(str(tmp_path / "e.yaml"), Weather())
    by_code = {problem.code: problem for problem in found}
    wanted = {"rename-missing", "variable-missing", "units", "units-missing", "nan", "constant",
              "time-duplicate", "time-unsorted", "gap"}  # fmt: skip
    assert set(by_code) == wanted
    assert by_code["nan"].variable == "u" and "latitude=45" in by_code["nan"].value
    assert by_code["units-missing"].variable == "w"
    assert by_code["gap"].warning and not by_code["nan"].warning
    keys = ["code", "file", "variable", "coordinate", "value", "fix"]
    assert all(list(p) == keys for p in json.loads(json.dumps([p.to_dict() for p in found])))
    assert all(problem.fix for problem in found)


def test_every_broken_file_is_a_problem_of_its_own(tmp_path):
    makers.weather().to_netcdf(tmp_path / "0.nc")
    (tmp_path / "1.nc").write_bytes(b"")
    (tmp_path / "2.nc").write_bytes(b"<html>")
    found = preflight.check_entry(str(tmp_path / "*.nc"))
    assert [problem.file for problem in found] == [str(tmp_path / f"{i}.nc") for i in (1, 2)]


def test_what_cannot_be_found_is_one_problem(tmp_path):
    for name in ("no_such_entry", str(tmp_path / "no.nc")):
        (problem,) = preflight.check_entry(name)
        assert problem.code == "entry" and name in problem.file


def test_irregular_meshes_and_missing_parameters(tmp_path):
    raw = makers.pde()
    raw = raw.assign_coords(x=np.cumsum(np.linspace(1, 2, 16)))
    raw["viscosity"][2] = np.nan
    raw.to_netcdf(tmp_path / "a.nc")
    codes = [p.code for p in preflight.check_entry(str(tmp_path / "a.nc"))]
    assert codes == ["mesh", "parameter-missing"]


def test_a_parameter_without_a_logarithm_is_named():
    raw = makers.pde()
    raw["viscosity"][2] = 0.0
    entry = Entry(name="made", source=Source(path="made.nc"))
    for log, told in (
        ("viscosity", "1 trajectories have no logarithm of it, the first is 2 with 0, expected ab"),
        ("length", "data.domain.log asks for length, and the parameters are viscosity"),
    ):
        domain = Pde(log=(log,))
        with pytest.raises(DataError, match=told):
            domain.fields(domain.canonical(raw, entry), "made")


def test_ks_is_not_generated_by_a_check(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSCI_CACHE", str(tmp_path))
    assert preflight.check_entry("ks_train") == [] and not list(tmp_path.iterdir())


def test_domains_are_inferred():
    from diffsci.data.catalog import Entry, Source

    entry = Entry(name="a", source=Source(path="a.nc"))
    for make, name in ((makers.weather, "Weather"), (makers.pde, "Pde"), (makers.images, "Image")):
        assert type(preflight.infer_domain(make(), entry)).__name__ == name
    assert isinstance(preflight.infer_domain(xr.Dataset(), entry), object)


def test_a_part_is_checked_for_what_a_run_reads_and_no_more(tmp_path):
    ds = makers.weather(times=20)
    ds["t2m"][15, 2, 1] = np.nan
    ds = ds.assign(bad=ds["t2m"].drop_attrs() * np.nan, still=xr.full_like(ds["t2m"], 5))
    ds["still"].attrs["units"] = "K"
    ds = ds.isel(time=[*range(8), *range(9, 20)])
    path = str(tmp_path / "a.nc")
    ds.to_netcdf(path)
    early, late = Part(time=("2001-01-01", "2001-01-02")), Part(time=("2001-01-04", "2001-01-05"))

    def codes(part, *variables, **options):
        found = preflight.check_part(path, Weather(), part, (), variables, **options)
        return [problem.code for problem in found]

    assert codes(early, "t2m") == []
    assert codes(late, "t2m") == ["nan"]
    assert codes(Part(time=("2001-01-02", "2001-01-03")), "t2m") == ["gap"]
    assert codes(early) == ["units-missing", "nan"]
    assert codes(early, "still") == [] and codes(early, "still", learnt="values") == ["constant"]
    assert codes(Part(time=("1990", "1991")), "t2m") == ["data"]
    (typo,) = preflight.check_part(path, Weather(), early, (), ("t2n",))
    assert "did you mean 't2m'" in str(typo)
    assert {"nan", "gap", "constant"} <= {p.code for p in preflight.check_entry(path)}
    for part, variables in ((early, ("t2m",)), (late, ("t2m",)), (early, ())):
        clean = all(p.warning for p in preflight.check_part(path, Weather(), part, (), variables))
        try:
            reader.read(path, Weather(), part, variables=variables)
        except DataError:
            assert not clean
        else:
            assert clean


def test_a_part_may_name_its_own_entry(tmp_path):
    makers.weather().to_netcdf(tmp_path / "a.nc")
    part = Part(entry=str(tmp_path / "a.nc"))
    assert preflight.check_part("no_such_entry", Weather(), part) == []
    (problem,) = preflight.check_part("no_such_entry", Weather(), Part())
    assert problem.code == "entry"


@pytest.mark.parametrize(
    "kind", ["nan", "sentinel", "constant", "static", "clean", "gap", "standing"]
)
@pytest.mark.parametrize("make", [makers.weather, makers.pde])
def test_what_is_read_in_blocks_is_judged_as_what_is_read_whole(kind, make, tmp_path, monkeypatch):
    from diffsci.data.checks import streaming

    ds = make()
    name = "t2m" if "t2m" in ds else "u"
    values = ds[name].values
    if kind == "nan":
        values.flat[[17, 90, 200]] = [np.nan, np.inf, np.nan]
    elif kind == "sentinel":
        values.flat[[17, 90, 200]] = -9999
    elif kind == "constant":
        values[...] = 3.0
    elif kind == "static":
        values[..., :2] = np.nan
        values[-1, ..., 3] = np.nan
        ds[name].attrs["missing"] = "static"
    elif kind == "standing":
        values[...] = values[:1] if name == "t2m" else values[:, :1]
    elif kind == "gap":
        ds = ds.isel(time=[0, 1, 2, 4, 5])
    ds.to_netcdf(tmp_path / "a.nc")
    whole = preflight.check_entry(str(tmp_path / "a.nc"))
    monkeypatch.setattr(streaming, "IN_MEMORY", 0)
    monkeypatch.setattr(streaming.blocks, "__defaults__", (500,))
    assert preflight.check_entry(str(tmp_path / "a.nc")) == whole
    assert bool(whole) == (kind != "clean")


@pytest.mark.parametrize("chunks", [(8, 7, 9), (4, 3, 9), (1, 7, 9), (8, 1, 1)])
def test_the_cost_of_a_field_is_that_of_the_chunks_it_touches(chunks, tmp_path, monkeypatch):
    from diffsci.data.checks import layout

    encoding = {"t2m": {"chunks": chunks}}
    makers.weather().to_zarr(tmp_path / "a.zarr", consolidated=False, encoding=encoding)
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False, chunks=None) as ds:
        found = layout.amplification(ds["t2m"])
    touched = -(-7 // chunks[1]) * -(-9 // chunks[2])
    assert found == pytest.approx(touched * np.prod(chunks) / 63, rel=1e-12)
    monkeypatch.setattr(layout, "LARGE", 0)
    monkeypatch.setattr(layout, "FACTOR", 5.0)
    codes = [p.code for p in preflight.check_entry(str(tmp_path / "a.zarr"))]
    assert codes == (["chunks"] if found >= 5 else [])


def test_pictures_of_a_few_fields(tmp_path):
    from click.testing import CliRunner

    from diffsci.cli import main

    makers.weather().to_netcdf(tmp_path / "a.nc")
    makers.pde().to_netcdf(tmp_path / "b.nc")
    arguments = ["check", str(tmp_path / "a.nc"), str(tmp_path / "b.nc"), str(tmp_path / "no.nc")]
    result = CliRunner().invoke(main, [*arguments, "--figures", str(tmp_path / "shown")])
    assert result.exit_code == 3
    names = sorted(path.name for path in (tmp_path / "shown").iterdir())
    assert names == ["a-t2m.png", "b-u.png"]

"""Files as users have them: what is exact is understood, what is not is refused with the fix."""

import numpy as np
import pytest
import xarray as xr

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source, Variable
from diffsci.data.checks import preflight
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.errors import ConfigError, DataError
from diffsci.sections import Part
from tests.data import makers
from tests.data.test_reader import ALL, entry_file, same, save


def read_as(folder, ds, told, domain=None, part=ALL, **options):
    save(ds, folder / "a.nc")
    name = entry_file(folder, "mine", f"source: ../a.nc\n{told}\n")
    return reader.read(name, domain or Weather(), part, roots=(folder,), **options)


# Latitude, longitude, levels ----------------------------------------------------------------------


def flat(ds, names=("lat", "lon")):
    """The same with copies of latitude and longitude over two dims."""
    lat, lon = np.meshgrid(ds["latitude"].values, ds["longitude"].values, indexing="ij")
    ds = ds.rename(latitude="j", longitude="i").drop_vars(["j", "i"])
    made = {name: (("j", "i"), v) for name, v in zip(names, (lat, lon), strict=True)}
    return ds.assign_coords(made)


@pytest.mark.parametrize("names", [("lat", "lon"), ("latitude", "longitude")])
@pytest.mark.parametrize("turn", [False, True])
def test_latitude_and_longitude_as_copies_over_two_dims(names, turn, tmp_path):
    plain = makers.weather().isel(latitude=slice(None, None, -1))
    odd = flat(plain, names)
    odd = odd.assign_coords(j=np.arange(7)) if turn else odd
    odd = odd.transpose("i", "time", "j") if turn else odd
    found = reader.read(save(odd, tmp_path / "a.nc"), Weather(), ALL)
    same(found, reader.read(save(plain, tmp_path / "b.nc"), Weather(), ALL))
    told = odd.reset_coords(names)
    told[names[0]].attrs["units"] = told[names[1]].attrs["units"] = "degrees"
    same(read_as(tmp_path, told, "variables: {t2m: {units: K}}"), found)


def test_a_box_across_the_date_line_stays_one_box(tmp_path):
    ds = makers.weather(longitudes=8).isel(latitude=slice(None, None, -1))
    east = 172.5 + 2.5 * np.arange(8)
    plain = ds.assign_coords(longitude=("longitude", east, {"units": "degrees_east"}))
    found = reader.read(save(plain, tmp_path / "a.nc"), Weather(), ALL)
    assert found.grid.coordinates[1] == tuple(east)
    signed = plain.assign_coords(longitude=(plain["longitude"] + 180) % 360 - 180)
    same(reader.read(save(signed, tmp_path / "b.nc"), Weather(), ALL), found)
    same(reader.read(save(signed.sortby("longitude"), tmp_path / "c.nc"), Weather(), ALL), found)


def test_a_grid_that_bends_ever_so_little_is_curvilinear(tmp_path):
    odd = flat(makers.weather())
    odd["lat"][3, 4] += 1e-3
    found = reader.read(save(odd, tmp_path / "a.nc"), Weather(), ALL)
    assert found.grid.dims == ("y", "x") and found.grid.places is not None


def test_singleton_dims_of_single_variables_and_of_levels(tmp_path):
    ds = makers.weather()
    both = xr.Dataset(
        {
            "t2m": ds["t2m"].expand_dims(height=[2.0]),
            "u10": ds["t2m"].rename("u10").expand_dims(realization=[0]),
        }
    )
    found = reader.read(save(both, tmp_path / "a.nc"), Weather(), ALL)
    assert [c.name for c in found.channels] == ["t2m", "u10"]
    assert np.array_equal(found.values[:, :, 0], found.values[:, :, 1])
    levels = xr.concat([ds["t2m"]] * 2, "plev").assign_coords(
        plev=("plev", [850.0, 500.0], {"units": "hPa"})
    )
    mixed = xr.Dataset({"ta": levels, "zg": ds["t2m"].expand_dims(depth=[0.0])})
    found = reader.read(save(mixed, tmp_path / "b.nc"), Weather(), ALL)
    assert [c.name for c in found.channels] == ["ta@500", "ta@850", "zg"]


PRESSURE = {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"}
DEPTH = {"standard_name": "depth", "units": "m", "positive": "down"}
HEIGHT = {"standard_name": "height", "units": "m", "positive": "up", "axis": "Z"}
SIGMA = {"standard_name": "atmosphere_sigma_coordinate", "positive": "down"}
NUMBERS = {"long_name": "level number"}
LEVELS = [
    ("plev", [85000.0, 50000.0], {"units": "Pa"}, [500, 850], PRESSURE),
    ("plev", [85.0, 50.0], {"units": "kPa"}, [500, 850], PRESSURE),
    ("lev", [850, 500], {"units": "millibars"}, [500, 850], PRESSURE),
    ("z", [85000.0, 101325.0], {"units": "Pa", "standard_name": "air_pressure"}, [850, 1013.25],
     PRESSURE),
    ("level", [500, 850], {}, [500, 850], PRESSURE),
    ("plev", [500, 501], {}, [500, 501], PRESSURE),
    ("depth", [5.5, 0.5], DEPTH, [0.5, 5.5], DEPTH),
    ("height", [2.0, 10.0], HEIGHT, [2, 10], HEIGHT),
    ("level", [1, 2], {}, [1, 2], NUMBERS),
    ("lev", [0.2, 1.0], SIGMA, [0.2, 1], SIGMA),
    ("level", [100.0, 500.0], {"units": "Pa", "standard_name": "sea_water_pressure"}, [100, 500],
     {"units": "Pa", "standard_name": "sea_water_pressure"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "told", "wanted", "attributes"), LEVELS)
def test_only_pressures_become_hectopascals(name, values, told, wanted, attributes, tmp_path):
    ds = makers.weather()
    stack = xr.concat([ds["t2m"] * 1, ds["t2m"] + 10], name).assign_coords(
        {name: (name, values, told)}
    )
    path = save(stack.to_dataset(name="ta"), tmp_path / "a.nc")
    found = reader.read(path, Weather(), ALL)
    assert [c.level for c in found.channels] == wanted
    assert all(c.level_attributes == attributes for c in found.channels)
    domain = Weather()
    cases = domain.cases(found, np.array([[0, 0]]), ())
    store = domain.label(found.values[:, None, :1], cases, found.channels, found.grid, None)
    assert store["level"].attrs == attributes
    assert not any(key.startswith("level:") for key in store["ta"].attrs)
    again = domain.fields(domain.canonical(store, Entry(name="s", source=Source(path="s"))), "s")
    assert [c.level for c in again.channels] == wanted
    assert all(c.level_attributes == attributes for c in again.channels)


def test_pressures_of_unknown_units_are_refused(tmp_path):
    ds = xr.concat([makers.weather()["t2m"]] * 2, "plev").assign_coords(plev=[85000.0, 50000.0])
    with pytest.raises(DataError, match=r"level: pressures up to 85000 .*attrs\['units'\] = 'Pa'"):
        reader.read(save(ds.to_dataset(name="ta"), tmp_path / "a.nc"), Weather(), ALL)


# Variables ----------------------------------------------------------------------------------------


def with_nuisances():
    ds = makers.weather()
    return ds.assign(
        unitless=ds["t2m"].drop_attrs(),
        ensemble=xr.concat([ds["t2m"]] * 3, "realization"),
        pressures=xr.concat([ds["t2m"]] * 2, "plev").assign_coords(plev=[500.0, 850.0]),
        depths=xr.concat([ds["t2m"]] * 2, "depth").assign_coords(depth=[5.0, 9.0]),
    )


@pytest.mark.parametrize("told", ["", "variables: {t2m: {}, ensemble: {}, depths: {}}"])
def test_variables_that_are_not_asked_for_do_not_stop_the_read(told, tmp_path):
    plain = reader.read(save(makers.weather(), tmp_path / "b.nc"), Weather(), ALL)
    with pytest.raises(DataError):
        read_as(tmp_path, with_nuisances(), told)
    found = read_as(tmp_path, with_nuisances(), told, variables=("t2m",))
    assert found.digest == plain.digest
    found = read_as(tmp_path, with_nuisances(), told, variables=("depths",))
    assert [c.name for c in found.channels] == ["depths@5", "depths@9"]
    with pytest.raises(ConfigError, match="has no 'tm2'; did you mean 't2m'"):
        read_as(tmp_path, with_nuisances(), told, variables=("t2m", "tm2"))
    with pytest.raises(DataError, match="realization of length 3"):
        read_as(tmp_path, with_nuisances(), told, variables=("ensemble",))


def test_pde_and_image_variables_are_chosen_before_they_are_judged(tmp_path):
    raw = makers.pde()
    raw = raw.assign(
        v=2 * raw["u"], other=(("sample", "q", "r", "s", "t2"), np.zeros((5, 2, 2, 2, 2)))
    )
    found = reader.read(save(raw, tmp_path / "a.nc"), Pde(), ALL, variables=("v",))
    assert [c.name for c in found.channels] == ["v"] and found.scalar_names == ("viscosity",)
    images = makers.images().assign(deep=(("sample", "y", "x", "d"), np.zeros((6, 5, 5, 2))))
    found = reader.read(save(images, tmp_path / "b.nc"), Image(), ALL, variables=("ink",))
    assert found.scalar_names == ("label=0", "label=1", "label=2")


@pytest.mark.parametrize(
    ("domain", "make", "name", "units"),
    [(Weather(), makers.weather, "t2m", "degC"), (Pde(), makers.pde, "u", "1")],
)
def test_units_are_converted_after_the_selection(domain, make, name, units, tmp_path):
    ds = make()
    ds = ds if name == "t2m" else ds.isel(sample=0)
    save(ds, tmp_path / "a.nc")
    entry = Entry(
        name="a",
        source=Source(path=str(tmp_path / "a.nc")),
        variables={name: Variable(units=units)},
    )
    raw = reader.open_raw(entry)
    canonical = domain.canonical(raw, entry)
    assert not canonical[name].variable._in_memory
    part = reader.select(canonical.isel(time=slice(2, 4)), ALL, entry)
    found = domain.fields(part, "a").values[0, :, 0]
    exact = ds[name].transpose("time", ...).values[2:4].astype("f8") - (
        273.15 if name == "t2m" else 0
    )
    # 2^-24: half a unit in the last place of float32, of the Celsius value.
    assert np.allclose(found, exact, rtol=6e-8, atol=0)
    raw.close()


LARGE = np.linspace(1, 9, 8 * 7 * 9).reshape(8, 7, 9)


@pytest.mark.parametrize(
    ("values", "fill"),
    [
        (LARGE * 1e15, None),
        (LARGE * 1e30, None),
        (-LARGE * 1e20, None),
        (np.where(LARGE > 8.99, 3e16, LARGE * 1e15), None),
        (np.where(LARGE > 8.5, 1e20, LARGE), "1e\\+20"),
        (np.where(LARGE > 8.5, 9.96921e36, LARGE * 1e15), "9.96921e\\+36"),
        (np.where(LARGE > 8.5, -1e30, LARGE), "-1e\\+30"),
        (np.where(LARGE > 8.5, -999.9, LARGE), "-999.9"),
        (np.where(LARGE > 8.5, -1000, LARGE), "-1000"),
        (np.where(LARGE > 8.5, 9999, LARGE), "9999"),
        (np.where(LARGE > 8.5, 32767, LARGE), "32767"),
        (np.where(LARGE > 8.5, -9999, LARGE * -1500), None),
        (np.where(LARGE > 8.5, 9999, LARGE * 1150), None),
    ],
)
def test_huge_data_is_no_fill_value_and_a_huge_fill_value_is(values, fill, tmp_path):
    ds = makers.weather()
    ds["t2m"] = (ds["t2m"].dims, values.astype("f4"), ds["t2m"].attrs)
    path = save(ds, tmp_path / "a.nc", encoding={"t2m": {"_FillValue": None}})
    if fill is None:
        assert np.isfinite(reader.read(path, Weather(), ALL).values).all()
    else:
        with pytest.raises(DataError, match=f"{fill}, which looks like a fill value"):
            reader.read(path, Weather(), ALL)


@pytest.mark.parametrize("huge", [-1000.0, -9999.0, 9999.0, 1e20])
def test_a_fill_value_is_told_in_the_units_of_its_file(huge, tmp_path):
    """-1000 degC are -726.85 K, which is no usual fill value."""
    ds = makers.weather()
    ds["t2m"] = (ds["t2m"] - 273.15).assign_attrs(units="degC")
    ds["t2m"][2, 3, 4] = huge
    with pytest.raises(DataError, match="looks like a fill value") as told:
        read_as(tmp_path, ds, "variables: {t2m: {units: K}}")
    assert f"1 of 504 values are {huge:g}, " in str(told.value)
    assert f"`variables: {{t2m: {{fill: {huge:g}, missing: static}}}}` in" in str(told.value)
    found = read_as(
        tmp_path, ds, f"variables: {{t2m: {{units: K, fill: {huge!r}, missing: moving}}}}"
    )
    assert np.isnan(found.values).sum() == 1


# Boundaries ---------------------------------------------------------------------------------------


def test_boundaries_of_weather_as_words_of_the_file(tmp_path):
    ds = makers.global_weather()
    for attributes in (
        {"boundary_latitude": "open"},
        {"boundary_latitude": ["open", "open"]},
        {"boundary": '{"latitude": "open"}'},
    ):
        found = reader.read(save(ds.assign_attrs(attributes), tmp_path / "a.nc"), Weather(), ALL)
        assert found.grid.boundary == (("open", "open"), ("periodic", "periodic"))


@pytest.mark.parametrize(
    ("domain", "make", "dim"),
    [(Weather(), makers.global_weather, "latitude"), (Pde(), makers.pde, "x")],
)
def test_boundaries_that_mean_nothing_are_refused(domain, make, dim, tmp_path):
    for sides, message in (
        ("wal", "wal"),
        (["open", "wall", "open"], "one word or two"),
        (3, "one word or two"),
    ):
        ds = make().assign_attrs({f"boundary_{dim}": sides})
        path = save(ds, tmp_path / "a.nc")
        with pytest.raises(DataError, match=rf"boundary of {dim}.*{message}.*write `boundary: "):
            reader.read(path, domain, ALL)
        assert [p.code for p in preflight.check_entry(path, domain)] == ["boundary"]
    with pytest.raises(
        DataError,
        match=rf"no such space dim; did you mean '{dim}'" if dim != "x" else "no such space dim",
    ):
        read_as(tmp_path, make(), f"boundary: {{{dim}x: open}}", domain)


@pytest.mark.parametrize("listed", [False, True])
def test_a_variable_may_be_renamed_to_its_dim(listed, tmp_path):
    plain = makers.weather()
    names = {"time": "T", "latitude": "NORTH"}
    odd = plain.drop_vars([*names])
    for dim, name in names.items():
        odd[name] = (dim, plain[dim].values, plain[dim].attrs)
    odd = odd.set_coords(list(names.values())) if listed else odd
    told = "rename: {T: time, NORTH: latitude}"
    found = read_as(tmp_path, odd, told, part=Part(time=("2001-01-01", "2001-01-01")))
    whole = reader.read(save(plain, tmp_path / "b.nc"), Weather(), ALL)
    assert np.array_equal(found.values, whole.values[:, :4]) and found.grid == whole.grid
    hours = odd.assign(T=("time", 6 * np.arange(8)))
    told += "\ntime: {units: hours since 2001-01-01}"
    same(read_as(tmp_path, hours, told), whole)

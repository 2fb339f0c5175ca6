"""Odd files of one field give bitwise equal tensors; what cannot be mapped is refused by name."""

import gzip

import cftime
import numpy as np
import pytest
import xarray as xr

from diffsci.data import reader
from diffsci.data.catalog import load_entry
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.errors import ConfigError, DataError
from diffsci.sections import Part
from tests.data import makers

ALL = Part()


def save(ds, path, **options):
    ds.to_netcdf(path, **options)
    return str(path)


def entry_file(folder, name, text):
    catalog = folder / "data_catalog"
    catalog.mkdir(exist_ok=True)
    (catalog / f"{name}.yaml").write_text(text)
    return name


def same(found, wanted):
    assert np.array_equal(found.values, wanted.values)
    assert found.grid == wanted.grid
    assert [str(t) for t in found.times] == [str(t) for t in wanted.times]


LAYOUTS = {
    "flipped latitude": lambda ds: ds.isel(latitude=slice(None, None, -1)),
    "rolled longitude": lambda ds: ds.roll(longitude=5, roll_coords=True),
    "-180..180": lambda ds: ds.assign_coords(longitude=(ds.longitude + 180) % 360 - 180).sortby(
        "longitude"
    ),
    "20..380": lambda ds: ds.assign_coords(longitude=(ds.longitude - 15) % 360 + 15).sortby(
        "longitude"
    ),
    "swapped dims": lambda ds: ds.transpose("longitude", "time", "latitude"),
    "upper case": lambda ds: ds.rename(time="TIME", latitude="LAT", longitude="LON"),
    "CF attributes alone": lambda ds: ds.rename(latitude="a", longitude="b", time="c").pipe(
        lambda d: d.assign_coords(
            a=("a", d.a.values, {"standard_name": "latitude"}),
            b=("b", d.b.values, {"units": "degrees_east"}),
            c=("c", d.c.values, {"axis": "T"}),
        )
    ),
    "float32 coordinates": lambda ds: ds.assign_coords(
        latitude=ds.latitude.astype("f4"), longitude=ds.longitude.astype("f4") + np.float32(1e-5)
    ),
    "foreign dim of length 1": lambda ds: ds.expand_dims(height=[2.0]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [makers.weather, makers.global_weather])
def test_every_layout_of_one_field_gives_the_same_tensor(layout, make, tmp_path):
    plain = reader.read(save(make(), tmp_path / "plain.nc"), Weather(), ALL)
    odd = reader.read(save(LAYOUTS[layout](make()), tmp_path / "odd.nc"), Weather(), ALL)
    same(odd, plain)
    assert odd.digest == plain.digest


@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "zarr2 plain", "netcdf3", "glob", "folder"])
def test_every_format_gives_the_same_tensor(kind, tmp_path):
    ds = makers.weather()
    plain = reader.read(save(ds, tmp_path / "plain.nc"), Weather(), ALL)
    if kind.startswith("zarr"):
        path = tmp_path / "a.zarr"
        consolidated = kind == "zarr2"
        ds.to_zarr(path, zarr_format=int(kind[4]), consolidated=consolidated)
    elif kind == "netcdf3":
        path = save(ds, tmp_path / "a.dat", format="NETCDF3_64BIT")
    else:
        (tmp_path / "many").mkdir()
        for i in range(4):
            save(ds.isel(time=slice(2 * i, 2 * i + 2)), tmp_path / "many" / f"{i}.nc")
        path = tmp_path / "many" / ("*.nc" if kind == "glob" else "")
    same(reader.read(str(path), Weather(), ALL), plain)


def test_packed_integers_give_what_unpacking_gives(tmp_path):
    ds = makers.weather()
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768}
    path = save(ds, tmp_path / "packed.nc", encoding={"t2m": packing})
    with xr.open_dataset(path) as unpacked:
        by_hand = unpacked["t2m"].values.astype("f4")
    found = reader.read(path, Weather(), ALL)
    assert np.array_equal(found.values[0, :, 0], by_hand)
    assert np.abs(by_hand - ds["t2m"].values).max() <= 0.005 + 2e-5  # half a step, and float32


@pytest.mark.parametrize(
    ("calendar", "year"), [("360_day", 1860), ("noleap", 2001), ("standard", 1500)]
)
def test_foreign_calendars_survive(calendar, year, tmp_path):
    stamps = [cftime.datetime(year + i, 6, 1, calendar=calendar) for i in range(5)]
    ds = makers.weather(times=5).assign_coords(time=stamps)
    path = save(ds, tmp_path / "old.nc")
    found = reader.read(path, Weather(), Part(time=(str(year + 1), float(year + 3))))
    assert len(found.times) == 3 and not found.breaks.any()
    assert isinstance(found.times[0], cftime.datetime)
    assert found.times[0].year == year + 1 and found.times[0].month == 6


def test_a_box_across_greenwich_stays_one_box(tmp_path):
    ds = makers.weather(longitudes=8).assign_coords(
        longitude=[350.0, 352.5, 355, 357.5, 0, 2.5, 5, 7.5]
    )
    ds["longitude"].attrs["units"] = "degrees_east"
    found = reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    assert found.grid.coordinates[1] == (-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5)
    west = ds.assign_coords(longitude=(ds.longitude + 180) % 360 - 180)
    same(reader.read(save(west, tmp_path / "b.nc"), Weather(), ALL), found)


def test_boundaries_of_the_globe_and_of_a_box(tmp_path):
    globe = reader.read(save(makers.global_weather(), tmp_path / "g.nc"), Weather(), ALL)
    assert globe.grid.boundary == (("pole", "pole"), ("periodic", "periodic"))
    tropics = makers.global_weather().sel(latitude=slice(-60, 60))
    band = reader.read(save(tropics, tmp_path / "t.nc"), Weather(), ALL)
    assert band.grid.boundary == (("open", "open"), ("periodic", "periodic"))
    box = reader.read(save(makers.weather(), tmp_path / "b.nc"), Weather(), ALL)
    assert box.grid.boundary == (("open", "open"), ("open", "open"))


def test_levels_become_channels_and_pascals_become_hectopascals(tmp_path):
    surface = makers.weather()
    levels = xr.concat([surface["t2m"] + 10 * i for i in range(3)], "plev").rename("ta")
    ds = surface.assign(ta=levels).assign_coords(
        plev=("plev", [85000.0, 50000.0, 100000.0], {"units": "Pa"})
    )
    found = reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    assert [c.name for c in found.channels] == ["t2m", "ta@500", "ta@850", "ta@1000"]
    assert np.array_equal(found.values[0, :, 1], ds["ta"].isel(plev=1).values)


UNITS = [
    ("degC", "K", lambda v: v + 273.15),
    ("hPa", "Pa", lambda v: v * 100),
    ("m", "mm", lambda v: v * 1000),
    ("m/s", "m s**-1", lambda v: v),
]


@pytest.mark.parametrize(("found", "wanted", "convert"), UNITS)
def test_units_convert_by_the_table(found, wanted, convert, tmp_path):
    ds = makers.weather()
    ds["t2m"].attrs["units"] = found
    save(ds, tmp_path / "a.nc")
    name = entry_file(
        tmp_path, "mine", f"source: ../a.nc\nvariables: {{t2m: {{units: '{wanted}'}}}}\n"
    )
    fields = reader.read(name, Weather(), ALL, roots=(tmp_path,))
    exact = convert(ds["t2m"].values.astype("f8"))
    assert fields.channels[0].unit == wanted
    # 2^-24: half a unit in the last place of float32.
    assert np.allclose(fields.values[0, :, 0], exact, rtol=6e-8, atol=0)


def test_units_without_a_conversion_are_refused_with_both(tmp_path):
    save(makers.weather(), tmp_path / "a.nc")
    name = entry_file(tmp_path, "mine", "source: ../a.nc\nvariables: {t2m: {units: Pa}}\n")
    with pytest.raises(DataError, match=r"t2m.*'K'.*'Pa'.*write `units: K`"):
        reader.read(name, Weather(), ALL, roots=(tmp_path,))


def test_missing_units_name_the_line_to_write(tmp_path):
    ds = makers.weather()
    del ds["t2m"].attrs["units"]
    with pytest.raises(DataError, match=r"t2m.*units.*write `variables: \{t2m: \{units: UNIT\}\}`"):
        reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)


def test_times_without_units_take_those_of_the_entry(tmp_path):
    ds = makers.weather(times=4).assign_coords(time=[0, 6, 12, 18])
    path = save(ds, tmp_path / "a.nc")
    with pytest.raises(DataError, match=r"time.*without units.*write `time: "):
        reader.read(path, Weather(), ALL)
    told = "source: ../a.nc\ntime: {units: hours since 2001-01-01, calendar: 360_day}\n"
    found = reader.read(entry_file(tmp_path, "mine", told), Weather(), ALL, roots=(tmp_path,))
    assert str(found.times[3]) == "2001-01-01 18:00:00" and found.times[3].calendar == "360_day"


FAULTS = {
    "nan": (lambda ds: ds.where(ds.t2m != ds.t2m[3, 2, 1]), r"t2m.*1 of 504.*2001-01-01T18:00:00, "
            r"latitude=45, longitude=12.5"),
    "duplicate": (lambda ds: xr.concat([ds, ds.isel(time=[2])], "time").sortby("time"),
                  r"time.*more than once: 2001-01-01T12:00:00"),
    "unsorted": (lambda ds: ds.isel(time=[0, 2, 1, 3]), r"2001-01-01T06:00:00 after 2001-01-01T12"),
    "sentinel": (lambda ds: ds.where(ds.t2m != ds.t2m[0, 0, 0], -9999.0), r"t2m.*-9999.*fill"),
    "1e20": (lambda ds: ds.where(ds.t2m != ds.t2m[0, 0, 0], 1e20), r"t2m.*1e\+20.*fill"),
    "no latitude": (lambda ds: ds.rename(latitude="foo").drop_vars("foo"), "no latitude"),
    "ensemble": (lambda ds: xr.concat([ds, ds], "realization"), "realization of length 2"),
    "both 0 and 360": (lambda ds: xr.concat([ds, 1.01 * ds.isel(longitude=[0]).assign_coords(
        longitude=ds.longitude[:1] + 360)], "longitude"), "meridian is there twice"),
    "curvilinear": (lambda ds: ds.rename(latitude="j", longitude="i").drop_vars(["i", "j"])
                    .assign_coords(lat=(("j", "i"), np.zeros((7, 9)))), "no longitude that does"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused_by_name(fault, tmp_path):
    change, message = FAULTS[fault]
    path = save(change(makers.weather()), tmp_path / "a.nc")
    with pytest.raises(DataError, match=message):
        reader.read(path, Weather(), ALL)


def test_gaps_are_breaks(tmp_path):
    ds = makers.weather(times=20).isel(time=[*range(5), *range(7, 12), *range(13, 20)])
    found = reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    assert np.flatnonzero(found.breaks).tolist() == [5, 10]


def test_calendar_months_are_a_regular_step(tmp_path):
    months = np.arange("2001-01", "2003-01", dtype="datetime64[M]").astype("datetime64[ns]")
    ds = makers.weather(times=24).assign_coords(time=months)
    assert not reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL).breaks.any()
    gap = ds.isel(time=[*range(7), *range(8, 24)])
    found = reader.read(save(gap, tmp_path / "b.nc"), Weather(), ALL)
    assert np.flatnonzero(found.breaks).tolist() == [7]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part(time=("1990", "1991")), "it has 2001-01-01T00:00:00 to 2001-01-02T18:00:00"),
        (Part(time=("2001-01-02", "2001-01-01")), "nothing within time"),
        (Part(time=("soon", "later")), "not understood"),
        (Part(samples=(0, 3)), "no samples: select by time"),
    ],
)
def test_empty_selections_are_refused_with_the_valid_range(part, message, tmp_path):
    path = save(makers.weather(), tmp_path / "a.nc")
    with pytest.raises(DataError, match=message):
        reader.read(path, Weather(), part)


def test_partial_dates_are_inclusive(tmp_path):
    path = save(makers.weather(), tmp_path / "a.nc")
    found = reader.read(path, Weather(), Part(time=("2001-01-01T06", "2001-01-02")))
    assert str(found.times[0])[:16] == "2001-01-01T06:00" and len(found.times) == 7


def test_numeric_times_and_samples_are_selected(tmp_path):
    path = save(makers.pde(), tmp_path / "a.nc")
    found = reader.read(path, Pde(), Part(time=(0.2, 0.6), samples=(1, 4)))
    assert found.values.shape == (3, 3, 1, 16)
    assert found.trajectories.tolist() == [1, 2, 3] and np.allclose(found.times, [0.2, 0.4, 0.6])
    assert found.scalar_names == ("viscosity",) and found.scalars.shape == (3, 1)
    assert found.grid.boundary == (("periodic", "periodic"),) and found.time_unit == "s"
    with pytest.raises(DataError, match="it has samples 0 to 4"):
        reader.read(path, Pde(), Part(samples=(3, 6)))


def test_shares_that_meet_leave_nothing_out_and_share_nothing(tmp_path):
    """Of the time stamps; where there are several trajectories, of these."""
    weather = save(makers.weather(), tmp_path / "a.nc")
    pde = save(makers.pde(), tmp_path / "b.nc")
    bounds = [(0.0, 0.35), (0.35, 0.5), (0.5, 1.0)]
    times = [reader.read(weather, Weather(), Part(share=share)).times for share in bounds]
    assert [len(part) for part in times] == [3, 1, 4]
    assert np.array_equal(np.concatenate(times), reader.read(weather, Weather(), ALL).times)
    halves = [
        reader.read(pde, Pde(), Part(share=share)).trajectories.tolist()
        for share in [(0.0, 0.4), (0.4, 1.0)]
    ]
    assert halves == [[0, 1], [2, 3, 4]]
    with pytest.raises(DataError, match="0.01.* of its 8 time stamps is none of them"):
        reader.read(weather, Weather(), Part(share=(0.0, 0.01)))


def test_classes_do_not_depend_on_the_part(tmp_path):
    path = save(makers.images(), tmp_path / "a.nc")
    found = reader.read(path, Image(), Part(samples=(0, 2)))
    assert found.scalar_names == ("label=0", "label=1", "label=2")
    assert np.array_equal(found.scalars, np.eye(3)[:2])


def test_variables_can_be_chosen(tmp_path):
    ds = makers.weather()
    path = save(ds.assign(sst=ds["t2m"] + 1), tmp_path / "a.nc")
    found = reader.read(path, Weather(), ALL, variables=("sst",))
    assert [c.name for c in found.channels] == ["sst"]
    with pytest.raises(ConfigError, match="did you mean 'sst'"):
        reader.read(path, Weather(), ALL, variables=("sts",))


BROKEN = {
    "empty.nc": (b"", "is empty"),
    "page.nc": (b"<!DOCTYPE html><html>404</html>", "a web page"),
    "text.nc": (b"hello, this is not data at all", "neither NetCDF"),
    "cut.nc": (None, "cut.nc"),
}


def test_every_broken_file_among_many_is_named(tmp_path):
    ds = makers.weather()
    for i in range(4):
        save(ds.isel(time=[i]), tmp_path / f"{i}.nc")
    whole = (tmp_path / "0.nc").read_bytes()
    for name, (content, _) in BROKEN.items():
        (tmp_path / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DataError) as caught:
        reader.read(str(tmp_path / "*.nc"), Weather(), ALL)
    for name, (_, message) in BROKEN.items():
        assert name in str(caught.value) and message in str(caught.value)
    assert "0.nc" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_classic_file_cut_off_is_not_filled_with_zeros(share, tmp_path):
    """The NetCDF library reads zeros beyond the end of such a file."""
    path = tmp_path / "a.nc"
    save(makers.weather(times=50), path, format="NETCDF3_CLASSIC")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="a.nc"):
        reader.read(str(path), Weather(), ALL)


def test_a_damaged_chunk_names_the_store(tmp_path):
    makers.weather().to_zarr(tmp_path / "a.zarr", consolidated=False)
    chunk = next(p for p in (tmp_path / "a.zarr" / "t2m" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"a.zarr: cannot be read to the end"):
        reader.read(str(tmp_path / "a.zarr"), Weather(), ALL)


def test_calendars_are_never_mixed(tmp_path):
    for i, calendar in enumerate(("360_day", "noleap")):
        time = [cftime.datetime(2000 + i, 1, 1, calendar=calendar)]
        save(makers.weather(times=1).assign_coords(time=time), tmp_path / f"{i}.nc")
    with pytest.raises(DataError, match="calendars differ: 360_day in 0.nc, noleap in 1.nc"):
        reader.read(str(tmp_path / "*.nc"), Weather(), ALL)


def test_overlapping_files_are_refused_with_the_stamps(tmp_path):
    ds = makers.weather()
    save(ds.isel(time=slice(0, 5)), tmp_path / "0.nc")
    save(ds.isel(time=slice(4, 8)), tmp_path / "1.nc")
    with pytest.raises(DataError, match="2001-01-02T00:00:00"):
        reader.read(str(tmp_path / "*.nc"), Weather(), ALL)


def test_a_table_of_images_is_read(tmp_path):
    rows = np.array([[1, 2, 3, 4, 5, 6, 0], [6, 5, 4, 3, 2, 1, 1]])
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        np.savetxt(file, rows, delimiter=",")
    told = (
        "source: ../t.csv.gz\nengine: csv\n"
        "open_kwargs: {shape: [2, 3], variable: ink, label: last}\n"
    )
    name = entry_file(tmp_path, "table", told)
    found = reader.read(name, Image(), ALL, roots=(tmp_path,))
    assert found.values[0, 0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert np.array_equal(found.scalars, np.eye(2))


def test_generated_data_is_made_once_and_never_half(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSCI_CACHE", str(tmp_path / "cache"))
    told = (
        "source:\n  generator: {use: kuramoto_sivashinsky, trajectories: 2, frames: 3, points: 32, "
        "spin_up: 1}\nboundary: {x: periodic}\nvariables: {u: {units: 1}}\n"
    )
    name = entry_file(tmp_path, "tiny", told)
    first = reader.read(name, Pde(), ALL, roots=(tmp_path,))
    (store,) = (tmp_path / "cache").iterdir()
    stamp = store.stat().st_mtime_ns
    assert reader.read(name, Pde(), ALL, roots=(tmp_path,)).digest == first.digest
    assert store.stat().st_mtime_ns == stamp
    assert first.values.shape == (2, 3, 1, 32)

    def killed(self, *args, **kwargs):
        (tmp_path / "cache" / "debris").mkdir()
        raise KeyboardInterrupt

    entry_file(tmp_path, "tiny", told.replace("frames: 3", "frames: 4"))
    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_zarr", killed)
        with pytest.raises(KeyboardInterrupt):
            reader.read(name, Pde(), ALL, roots=(tmp_path,))
    assert reader.read(name, Pde(), ALL, roots=(tmp_path,)).values.shape[1] == 4


def test_wrong_generators_name_the_key(tmp_path):
    for text, message in {
        "{use: kuramoto}": "kuramoto_sivashinsky",
        "{use: kuramoto_sivashinsky, frame: 3}": "did you mean 'frames'",
        "{use: kuramoto_sivashinsky, frames: many}": "frames: got 'many', expected int",
        "{use: kuramoto_sivashinsky, frames: -1}": "frames: got -1, expected 1 or more",
    }.items():
        name = entry_file(tmp_path, "wrong", f"source: {{generator: {text}}}\n")
        with pytest.raises(DataError, match=message):
            reader.read(name, Pde(), ALL, roots=(tmp_path,))


def test_describe_says_what_is_there():
    text = reader.describe(load_entry("digits"))
    assert "1797" in text and "BSD-3-Clause" in text and "intensity [1]" in text


def test_files_of_a_glob_that_disagree_are_refused(tmp_path):
    """xarray labels all with the first one's units, and drops a variable of other dims."""
    ds = makers.weather()
    name = next(iter(ds.data_vars))
    later = ds.assign_coords(time=ds.time + np.timedelta64(2, "D"))
    save(ds, tmp_path / "a.nc")
    celsius = later.copy(deep=True)
    celsius[name] = celsius[name] - 273.15
    celsius[name].attrs["units"] = "degC"
    save(celsius, tmp_path / "b.nc")
    with pytest.raises(DataError, match=f"{name} has units .* in a.nc and 'degC' in b.nc"):
        reader.read(str(tmp_path / "*.nc"), Weather(), ALL)
    save(xr.Dataset({name: (("p", "q"), np.zeros((2, 3)))}), tmp_path / "b.nc")
    with pytest.raises(DataError, match=f"{name} has dims .* in a.nc and .* in b.nc; make the"):
        reader.read(str(tmp_path / "*.nc"), Weather(), ALL)
    save(later, tmp_path / "b.nc")
    assert len(reader.read(str(tmp_path / "*.nc"), Weather(), ALL).times) == 16


def test_a_date_that_is_none_is_told_with_the_part_and_how_dates_are_written(tmp_path):
    path = save(makers.weather(), tmp_path / "a.nc")
    with pytest.raises(DataError, match=r"2000-13-31.*data\.split.*dates are written 2000-12-31"):
        reader.read(path, Weather(), Part(time=("2000-01-01", "2000-13-31")))

"""Time axes as users have them: decoded exactly, or refused with the fix."""

import logging

import cftime
import numpy as np
import pytest

from diffsci.data import reader
from diffsci.data.canonical import times as stamps
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.errors import DataError
from diffsci.sections import Part
from tests.data import makers
from tests.data.test_reader import ALL, entry_file, same, save
from tests.data.test_user_files import read_as


def numbered(numbers, **attributes):
    ds = makers.weather(times=len(numbers))
    return ds.assign_coords(time=("time", np.asarray(numbers), attributes))


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_hours_as_float_days_are_a_regular_step(calendar, tmp_path):
    ds = numbered(40000 + np.arange(30) / 24, units="days since 1900-01-01", calendar=calendar)
    found = reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    assert not found.breaks.any()
    assert all(str(time)[14:19] in ("00:00",) for time in found.times)


def test_whole_months_since_a_date_are_calendar_months(tmp_path):
    ds = numbered([0, 1, 2, 13], units="months since 1850-01-15 12:00:00")
    found = reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    wanted = ["1850-01-15T12", "1850-02-15T12", "1850-03-15T12", "1851-02-15T12"]
    assert found.times.tolist() == [
        t.astype("datetime64[ns]").item() for t in map(np.datetime64, wanted)
    ]
    assert np.flatnonzero(found.breaks).tolist() == [3]
    years = numbered([0, 1, 2], units="years since 1850-07-01", calendar="noleap")
    found = reader.read(save(years, tmp_path / "b.nc"), Weather(), ALL)
    assert found.times[2] == cftime.DatetimeNoLeap(1852, 7, 1)


def test_half_months_have_no_date(tmp_path):
    """UDUNITS takes a twelfth of a year, CDO the days of the month: 12 hours apart and more."""
    ds = numbered([0.5, 1.5], units="months since 1850-01-01")
    told = r"a.nc: time: .*no fixed length.*; count them in days, such as by `cdo settunits,days"
    with pytest.raises(DataError, match=told):
        reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    alike = numbered([0.5, 1.5], units="months since 1850-01-01", calendar="360_day")
    found = reader.read(save(alike, tmp_path / "b.nc"), Weather(), ALL)
    assert [stamps.name(t)[:10] for t in found.times] == ["1850-01-16", "1850-02-16"]


DIGITS = [
    ("month as %Y%m.%f", [199011.5, 199012.5, 199101.5], "standard"),
    ("month as %Y%m.%f", [199011, 199012, 199101], "360_day"),
    ("month as %Y%m", np.array([199011, 199012, 199101], "f4"), "noleap"),
    ("day as %Y%m%d.%f", [19901101.0, 19901201.0, 19910101.0], "365_day"),
]


@pytest.mark.parametrize(("units", "numbers", "calendar"), DIGITS)
def test_digits_are_dates_as_cdo_reads_them(units, numbers, calendar, tmp_path):
    """Half a month is how CDO writes that it knows the month alone; it reads its first day."""
    ds = numbered(numbers, units=units, calendar=calendar)
    found = reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL).times
    assert [stamps.name(t)[:10] for t in found] == ["1990-11-01", "1990-12-01", "1991-01-01"]
    wanted = "noleap" if calendar == "365_day" else calendar
    assert stamps.calendar(found[0]) == wanted


def test_digits_of_years_are_years(tmp_path):
    ds = numbered([1990, 1991, 1992], units="year as %Y.%f", calendar="proleptic_gregorian")
    found = reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    assert [stamps.name(t) for t in found.times[:2]] == [
        "1990-01-01T00:00:00",
        "1991-01-01T00:00:00",
    ]
    assert not found.breaks.any()


@pytest.mark.parametrize(
    ("units", "numbers", "told"),
    [
        ("month as %Y%m.%f", [199011.25, 199012.25], "a share of 0.25 of a month is no date"),
        ("year as %Y.%f", [1990.5, 1991.5], "a share of 0.5 of a year is no date"),
        ("month as %Y%m.%f", [199013.0, 199101.0], "Month out of range"),
        ("day as %Y%m%d.%f", np.array([20010131, 20010201], "f4"), "float32 holds no such digits"),
        ("day as %Y%m%d.%f", np.array([10131.25, 10201.25], "f4"), "float32 holds no such digits"),
    ],
)
def test_digits_that_are_no_date_are_refused(units, numbers, told, tmp_path):
    with pytest.raises(DataError, match=f"a.nc: time: '{units}' cannot be understood .*({told})"):
        reader.read(save(numbered(numbers, units=units), tmp_path / "a.nc"), Weather(), ALL)


def test_a_climatology_of_the_year_0_is_told_what_to_write(tmp_path):
    for units in ("days since 0000-01-01 00:00:00", "days since 0-1-1"):
        ds = numbered([15.0, 45.0, 74.0], units=units)
        with pytest.raises(DataError, match="standard has no year 0.*0001-.*calendar: standard"):
            reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    told = "time: {units: days since 0001-01-01 00:00:00, calendar: standard}"
    assert stamps.name(read_as(tmp_path, ds, told).times[0]) == "0001-01-16T00:00:00"
    own = numbered([15.0, 45.0, 74.0], units="days since 0000-01-01", calendar="noleap")
    found = reader.read(save(own, tmp_path / "b.nc"), Weather(), ALL)
    assert stamps.name(found.times[0]) == "0000-01-16T00:00:00"


@pytest.mark.parametrize("units", ["days since noon", "fortnights since 2000-01-01"])
def test_the_entry_helps_where_the_files_units_cannot_be_read(units, tmp_path):
    ds = numbered([0, 1, 2], units=units)
    with pytest.raises(DataError, match="`time:` in"):
        reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL)
    found = read_as(tmp_path, ds, "time: {units: months since 2000-11-30}")
    assert [str(t)[:10] for t in found.times] == ["2000-11-30", "2000-12-31", "2001-01-31"]


def test_the_entry_helps_under_the_files_own_name_and_in_each_file(tmp_path):
    for i in range(2):
        ds = numbered([4 * i, 4 * i + 2]).rename(time="T")
        save(ds, tmp_path / f"{i}.nc")
    told = "source: ../*.nc\nrename: {T: time}\ntime: {units: hours since 2001-01-01}\n"
    found = reader.read(entry_file(tmp_path, "mine", told), Weather(), ALL, roots=(tmp_path,))
    assert [str(t)[11:13] for t in found.times] == ["00", "02", "04", "06"]


def test_an_entry_that_contradicts_the_file_is_refused(tmp_path):
    ds = numbered([0, 1, 2], units="days since 2001-01-01")
    first = read_as(tmp_path, ds, "time: {units: days since 2001-01-01}")
    assert str(first.times[1])[:10] == "2001-01-02"
    assert read_as(tmp_path, ds, "time: {units: days since 2001-1-1 00:00}").digest == first.digest
    for told in ("{units: days since 2002-01-01}", "{units: hours since 2001-01-01}"):
        with pytest.raises(
            DataError, match=r"a.nc: time: the file says 'days since 2001-01-01'.*`time:`"
        ):
            read_as(tmp_path, ds, f"time: {told}")
    # The file is silent on its calendar, so the entry may say it; then it may not be another.
    found = read_as(tmp_path, ds, "time: {units: days since 2001-01-01, calendar: noleap}")
    assert found.times[0].calendar == "noleap"
    ds["time"].attrs["calendar"] = "360_day"
    with pytest.raises(DataError, match="360_day.*noleap"):
        read_as(tmp_path, ds, "time: {units: days since 2001-01-01, calendar: noleap}")


def test_units_of_other_variables_do_not_stop_the_read(tmp_path):
    ds = makers.weather()
    ds["onset"] = ("latitude", np.arange(7.0), {"units": "days since the monsoon"})
    assert reader.read(save(ds, tmp_path / "a.nc"), Weather(), ALL).values.shape[1] == 8


def test_one_time_and_a_scalar_time_are_read(tmp_path):
    one = reader.read(save(makers.weather(times=1), tmp_path / "a.nc"), Weather(), ALL)
    assert one.values.shape[:2] == (1, 1) and not one.breaks.any()
    scalar = save(makers.weather(times=1).isel(time=0), tmp_path / "b.nc")
    same(reader.read(scalar, Weather(), ALL), one)
    part = Part(time=("2001", "2001"))
    same(reader.read(scalar, Weather(), part), one)


@pytest.mark.parametrize(
    ("bounds", "count"),
    [
        ((20010101.0, 20010102.0), 8),
        ((20010101.0, 20010101.0), 4),
        ((200101.0, 200101.0), 8),
        ((2001.0, 2001.0), 8),
    ],
)
@pytest.mark.parametrize("foreign", [False, True])
def test_dates_that_yaml_reads_as_numbers_stay_whole(bounds, count, foreign, tmp_path):
    ds = makers.weather()
    if foreign:
        ds = ds.assign_coords(
            time=[cftime.DatetimeNoLeap(2001, 1, 1 + i // 4, 6 * (i % 4)) for i in range(8)]
        )
    path = save(ds, tmp_path / "a.nc")
    assert len(reader.read(path, Weather(), Part(time=bounds)).times) == count


def test_a_time_coordinate_may_lie_along_a_dim_of_another_name(tmp_path):
    plain = makers.weather()
    record = plain.rename_dims(time="record").drop_indexes("time")
    found = reader.read(save(record, tmp_path / "a.nc"), Weather(), ALL)
    same(found, reader.read(save(plain, tmp_path / "b.nc"), Weather(), ALL))


def test_gaps_are_logged_once_with_count_and_dates(tmp_path, caplog):
    ds = makers.weather(times=20).isel(time=[*range(5), *range(7, 12), *range(13, 20)])
    path = save(ds, tmp_path / "a.nc")
    with caplog.at_level(logging.WARNING, logger="diffsci"):
        reader.read(path, Weather(), ALL)
    (record,) = caplog.records
    assert "2 steps are not the regular one" in record.getMessage()
    assert "2001-01-02T00:00:00 to 2001-01-02T18:00:00" in record.getMessage()
    caplog.clear()
    reader.read(path, Weather(), Part(time=("2001-01-01", "2001-01-01")))
    assert not caplog.records


def test_the_unit_of_time_survives_a_rename(tmp_path):
    ds = makers.pde().rename(time="clock")
    found = read_as(tmp_path, ds, "rename: {clock: time}", Pde())
    assert found.time_unit == "s"
    assert read_as(tmp_path, ds, "rename: {clock: time}\ntime: {units: s}", Pde()).time_unit == "s"
    with pytest.raises(DataError, match="the file says 's', `time:` says 'ms'"):
        read_as(tmp_path, ds, "rename: {clock: time}\ntime: {units: ms}", Pde())
    ds["clock"].attrs.clear()
    assert (
        read_as(tmp_path, ds, "rename: {clock: time}\ntime: {units: ms}", Pde()).time_unit == "ms"
    )


def test_numbers_since_a_date_may_be_read_as_numbers(tmp_path):
    ds = makers.pde()
    ds["time"].attrs["units"] = "s since 2000-01-01"
    with pytest.raises(DataError, match="its times are dates"):
        reader.read(save(ds, tmp_path / "a.nc"), Pde(), ALL)
    found = read_as(tmp_path, ds, "time: {units: s}", Pde(), Part(time=(0.2, 0.6)))
    assert found.time_unit == "s" and np.allclose(found.times, [0.2, 0.4, 0.6])


def test_time_differences_become_seconds(tmp_path):
    ds = makers.pde()
    ds = ds.assign_coords(time=(1e9 * ds["time"].values).astype("timedelta64[ns]"))
    found = reader.read(save(ds, tmp_path / "a.nc"), Pde(), Part(time=(0.2, 0.6)))
    assert found.time_unit == "s" and np.allclose(found.times, [0.2, 0.4, 0.6])


def test_frames_are_times_and_may_carry_them(tmp_path):
    plain = makers.pde()
    bare = plain.drop_vars("time").rename(time="frame")
    found = reader.read(save(bare, tmp_path / "a.nc"), Pde(), Part(time=(1.0, 3.0)))
    assert found.values.shape == (5, 3, 1, 16) and found.times.tolist() == [1, 2, 3]
    carried = bare.assign_coords(time=("frame", plain["time"].values, {"units": "s"}))
    found = reader.read(save(carried, tmp_path / "b.nc"), Pde(), ALL)
    assert found.digest == reader.read(save(plain, tmp_path / "c.nc"), Pde(), ALL).digest


def test_only_data_variables_along_samples_are_parameters(tmp_path):
    ds = makers.pde().assign_coords(
        seed=("sample", np.arange(5)),
        trajectory=("sample", np.arange(5)),
        start_time=("sample", np.zeros(5)),
    )
    ds = ds.assign(
        name=("sample", list("abcde")),
        flag=("sample", np.arange(5) > 2),
        n=("sample", np.arange(5)),
    )
    found = reader.read(save(ds, tmp_path / "a.nc"), Pde(), ALL)
    assert found.scalar_names == ("viscosity", "n")


def test_one_trajectory_or_one_snapshot_needs_no_axis(tmp_path):
    raw = makers.pde()
    whole = reader.read(save(raw, tmp_path / "a.nc"), Pde(), ALL).values
    single = raw.isel(sample=0)
    found = reader.read(
        save(single, tmp_path / "b.nc"), Pde(), Part(samples=(0, 1), time=(0.2, 0.6))
    )
    assert np.array_equal(found.values, whole[:1, 1:4])
    still = raw["u"].isel(sample=0, time=0, drop=True).to_dataset()
    assert np.array_equal(
        reader.read(save(still, tmp_path / "c.nc"), Pde(), ALL).values, whole[:1, :1]
    )

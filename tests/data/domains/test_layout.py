"""The forecast store's layout, dim by dim, as other tools expect it."""

from dataclasses import replace

import cftime
import numpy as np
import pytest
import xarray as xr

from diffsci.data.catalog import Entry, Source
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.data.examples.cases import cases_given
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from tests.data import makers

ENTRY = Entry(name="made", source=Source(path="made.nc"))


def opened(domain, raw):
    return domain.fields(domain.canonical(raw, ENTRY), "made")


def labelled(domain, task, raw, members=3, leads=2):
    fields = opened(domain, raw)
    found = cases_given(fields, task, domain, fit_statistics(fields, task), leads=leads)
    values = np.repeat(found.truth.read()[:, None], members, axis=1)
    args = (found.cases, fields.channels, fields.grid)
    ensemble = domain.label(values, *args, np.arange(members), fields.time_unit)
    truth = domain.label(found.truth.read()[:, None], *args, None, fields.time_unit)
    return ensemble, truth, fields


def with_levels():
    ds = makers.weather()
    levels = xr.concat([ds["t2m"] + 10 * i for i in range(2)], "level").rename("ta")
    return ds.assign(ta=levels).assign_coords(level=[500.0, 850.0])


LAYOUTS = [
    (Weather(), Forecast(), makers.weather(),
     ("time", "number", "prediction_timedelta", "latitude", "longitude")),
    (Weather(), Forecast(stride=2), with_levels()[["ta"]],
     ("time", "number", "prediction_timedelta", "level", "latitude", "longitude")),
    (Weather(), Downscale(factor=2), makers.weather(), ("time", "number", "latitude", "longitude")),
    (Weather(), Generate(), makers.weather(), ("sample", "number", "latitude", "longitude")),
    (Pde(), Forecast(), makers.pde(), ("sample", "number", "time", "x")),
    (Pde(), Downscale(factor=4), makers.pde(), ("sample", "number", "x")),
    (Pde(), Generate(), makers.pde(), ("sample", "number", "x")),
    (Image(), Generate(), makers.images(), ("sample", "number", "y", "x")),
    (Image(), Downscale(factor=2), makers.images().expand_dims(rgb=3).assign(
        label=makers.images()["label"]), ("sample", "number", "y", "x", "channel")),
    (Image(), Forecast(), xr.concat([makers.images(seed=i)[["ink"]] for i in range(4)], "frame"),
     ("sample", "number", "time", "y", "x")),
]  # fmt: skip


@pytest.mark.parametrize(("domain", "task", "raw", "dims"), LAYOUTS)
@pytest.mark.parametrize("version", [2, 3])
def test_dims_and_a_round_trip_through_zarr(domain, task, raw, dims, version, tmp_path):
    ensemble, truth, fields = labelled(domain, task, raw)
    name = fields.channels[0].variable
    assert ensemble[name].dims == dims
    assert truth[name].dims == tuple(dim for dim in dims if dim != "number")
    ensemble.to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
    back = xr.open_zarr(tmp_path / "a.zarr", consolidated=False, chunks=None)
    assert back[name].dtype == np.float32 and np.isnan(back[name].encoding["_FillValue"])
    values = domain.unlabel(back, fields.channels, fields.grid)
    assert np.array_equal(values, domain.unlabel(ensemble, fields.channels, fields.grid))
    xr.testing.assert_equal(back.load(), ensemble)


def test_weather_forecasts_carry_cf_names_and_timedelta_leads():
    ensemble, _, _ = labelled(Weather(), Forecast(), with_levels())
    standard = {name: ensemble[name].attrs["standard_name"] for name in ensemble.coords}
    assert standard == {
        "time": "forecast_reference_time",
        "prediction_timedelta": "forecast_period",
        "valid_time": "time",
        "number": "realization",
        "latitude": "latitude",
        "longitude": "longitude",
        "level": "air_pressure",
    }
    assert (
        ensemble["level"].attrs["units"] == "hPa" and ensemble["level"].attrs["positive"] == "down"
    )
    assert ensemble["prediction_timedelta"].dtype == "timedelta64[ns]"
    assert ensemble["prediction_timedelta"].values[1] == np.timedelta64(12, "h")
    valid = ensemble["time"].values[:, None] + ensemble["prediction_timedelta"].values
    assert np.array_equal(ensemble["valid_time"].values, valid)
    assert ensemble["t2m"].attrs["units"] == "K" and ensemble.attrs["Conventions"] == "CF-1.11"


def test_foreign_calendars_survive_in_the_store(tmp_path):
    stamps = [cftime.Datetime360Day(1860 + i, 6, 1) for i in range(8)]
    raw = makers.weather().assign_coords(time=stamps)
    ensemble, _, _ = labelled(Weather(), Forecast(), raw)
    ensemble.to_zarr(tmp_path / "a.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "a.zarr", consolidated=False, chunks=None)
    assert back["valid_time"].values[0, 1] == cftime.Datetime360Day(1862, 6, 1)
    assert back["prediction_timedelta"].values[0] == np.timedelta64(360, "D")


def test_keys_do_not_depend_on_which_cases_are_chosen():
    for domain, raw in ((Weather(), makers.weather()), (Pde(), makers.pde())):
        fields = opened(domain, raw)
        rows = np.array([[0, 1], [0, 3], [0, 5]])
        every = domain.cases(fields, rows, (1,)).keys
        assert domain.cases(fields, rows[2:], (1,)).keys == every[2:]
    assert every == ("sample=0,time=0.2", "sample=0,time=0.6", "sample=0,time=1")
    images = opened(Image(), makers.images())
    assert Image().cases(images, np.array([[4, 0]]), ()).keys == ("sample=4",)


def test_several_starts_of_one_trajectory_are_told_apart():
    ensemble, _, _ = labelled(Pde(), Forecast(), makers.pde(samples=2))
    assert ensemble["sample"].values.tolist() == list(range(8))
    assert ensemble["trajectory"].values.tolist() == [0] * 4 + [1] * 4
    assert np.allclose(ensemble["start_time"].values[:4], [0, 0.2, 0.4, 0.6])
    assert (
        np.allclose(ensemble["time"].values, [0.2, 0.4]) and ensemble["time"].attrs["units"] == "s"
    )


def test_pde_dims_may_be_missing_named_oddly_or_split_into_fields():
    raw = makers.pde()
    single = opened(Pde(), raw.isel(sample=0).rename(x="X", time="T"))
    assert single.values.shape == (1, 6, 1, 16)
    snapshots = opened(Pde(), raw.isel(time=0))
    assert snapshots.values.shape == (5, 1, 1, 16)
    both = xr.concat([raw["u"], 2 * raw["u"]], "field").assign_coords(field=["u", "v"])
    fields = opened(Pde(), both.to_dataset(name="state").assign_attrs(boundary='{"x": "wall"}'))
    assert [c.name for c in fields.channels] == ["u", "v"]
    assert np.array_equal(fields.values[:, :, 1], 2 * fields.values[:, :, 0])
    assert fields.grid.boundary == (("wall", "wall"),)


def test_space_is_ordered_by_name():
    values = np.arange(24, dtype="f4").reshape(2, 3, 4)
    raw = xr.Dataset({"u": (("time", "x", "y"), values)})
    fields = opened(Pde(), raw)
    assert fields.grid.dims == ("y", "x")
    assert np.array_equal(fields.values[0, :, 0], values.transpose(0, 2, 1))


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
@pytest.mark.parametrize("freq", ["MS", "ME", "YS", "QE-NOV"])
@pytest.mark.parametrize("stride", [1, 2])
def test_valid_times_of_calendar_months_are_those_of_the_truth(calendar, freq, stride, tmp_path):
    dates = xr.date_range("1999-01-01", freq=freq, periods=15, calendar=calendar)
    raw = makers.weather(times=15).assign_coords(time=dates.values)
    domain, task = Weather(), Forecast(stride=stride)
    ensemble, truth, fields = labelled(domain, task, raw, leads=5)
    found = cases_given(fields, task, domain, fit_statistics(fields, task), leads=5)
    rows = found.cases.rows[:, 1:] + stride * np.arange(1, 6)
    for store in (ensemble, truth):
        assert np.array_equal(store["valid_time"].values, fields.times[rows])
    # Beyond the data months are counted on, as a trained model does from one frame.
    alone = replace(found.cases, stamps=None)
    labels = domain.label(found.truth.read()[:, None], alone, fields.channels, fields.grid, None)
    assert np.array_equal(labels["valid_time"].values, fields.times[rows])
    leads = ensemble["prediction_timedelta"].values
    # Leads are multiples of a mean step: never further off than a month and its mean are.
    apart = ensemble["valid_time"] - ensemble["time"] - ensemble["prediction_timedelta"]
    assert len(set(np.diff(leads))) == 1
    assert np.abs(apart).max() < np.timedelta64(4, "D")
    ensemble.to_zarr(tmp_path / "a.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "a.zarr", consolidated=False, chunks=None)
    assert np.array_equal(back["valid_time"].values, fields.times[rows])


def test_mid_month_stamps_are_the_datas_own():
    months = np.arange("2001-01", "2003-01", dtype="datetime64[M]")
    starts, ends = months.astype("datetime64[ns]"), (months + 1).astype("datetime64[ns]")
    raw = makers.weather(times=24).assign_coords(time=starts + (ends - starts) // 2)
    ensemble, _, fields = labelled(Weather(), Forecast(), raw, leads=3)
    assert np.array_equal(ensemble["valid_time"].values[:, 2], fields.times[3:])


def test_parameters_are_coordinates_of_the_samples():
    raw = makers.pde().assign(number=("sample", 10 * np.arange(5)), label=("sample", np.arange(5)))
    for task in (Forecast(), Generate()):
        ensemble, truth, fields = labelled(Pde(), task, raw)
        assert fields.scalar_names == ("viscosity", "number", "label")
        for store in (ensemble, truth):
            each = len(store["sample"]) // 5
            assert store["viscosity"].dims == ("sample",)
            assert np.array_equal(store["viscosity"], np.repeat(raw["viscosity"], each))
            assert np.array_equal(store["parameter_number"], np.repeat(raw["number"], each))
            assert np.array_equal(store["parameter_label"], np.repeat(raw["label"], each))
        assert ensemble["number"].values.tolist() == [0, 1, 2]

"""Forecasts from files: the same bits as from the catalog, and every misfit refused by its name."""

import dask
import distributed
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from diffsci import cli, pipeline
from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.forecasting.requests import starts as starts_module
from diffsci.forecasting.requests.plausible import WITHIN
from diffsci.forecasting.store.disk import open_store
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place
from diffsci.stages.ensembles import verifying
from diffsci.stages.ensembles.from_files import Request, sample_from
from tests import tiny_runs

UK = "era5_uk_2m_temperature_2019-03.nc"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A trained run of each kind, made when it is asked for."""
    made = {}

    def run(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            tiny_runs.run(
                tiny_runs.make(folder, kind), "sample.cases=3", "evaluate=null", out=folder / "run"
            )
            made[kind] = folder
        return made[kind]

    return run


def sampled(folder, data, tmp_path, *starts, **asked):
    """The store made from a data set that was written to a file."""
    file = tmp_path / "mine.nc"
    data.to_netcdf(file)
    request = Request(source=str(file), starts=starts, **asked)
    with open_store(sample_from(folder / "run", request, tmp_path / "out.zarr")) as made:
        return made.load()


def starts_of(folder):
    with open_store(folder / "run" / "forecast.zarr") as stored:
        return stored.load()


def test_other_units_names_and_orders_are_mapped(runs, tmp_path):
    """Latitude from the north and other names of dims: the same bits. hPa: within one rounding."""
    folder, stored = runs("weather"), starts_of(runs("weather"))
    data = tiny_runs.weather().rename(latitude="lat", longitude="lon")
    data = data.isel(lat=slice(None, None, -1)).transpose("lon", "lat", "time")
    wanted = [str(time)[:16] for time in stored.time.values]
    made = sampled(folder, data, tmp_path, *wanted)
    for name in made.data_vars:
        np.testing.assert_array_equal(made[name], stored[name])
    (tmp_path / "hpa").mkdir()
    data["msl"] = (data["msl"].astype("f8") / 100).assign_attrs(units="hPa")
    made = sampled(folder, data, tmp_path / "hpa", *wanted)
    np.testing.assert_allclose(made["msl"], stored["msl"], rtol=1e-6)


@pytest.mark.parametrize("kind", ["weather", "downscale", "pde", "image"])
def test_the_same_frames_give_the_same_bits(kind, runs, tmp_path):
    folder, stored = runs(kind), starts_of(runs(kind))
    data = {"pde": tiny_runs.waves, "image": tiny_runs.images}.get(kind, tiny_runs.weather)()
    if kind in ("weather", "downscale"):
        made = sampled(folder, data, tmp_path, *[str(t)[:19] for t in stored.time.values])
        for name in made.data_vars:
            np.testing.assert_array_equal(made[name], stored[name])
        if kind == "weather":
            np.testing.assert_array_equal(made.valid_time, stored.valid_time)
        return
    data = data.assign_coords(sample=np.arange(data.sizes["sample"]))
    starts = sorted({f"{time:g}" for time in stored.start_time.values}) if kind == "pde" else []
    made = sampled(folder, data, tmp_path, *starts)
    name = next(iter(made.data_vars))
    where = ["trajectory"] if kind == "image" else ["trajectory", "start_time"]
    labels = [tuple(float(made[w][i]) for w in where) for i in range(made.sizes["sample"])]
    for case in range(stored.sizes["sample"]):
        label = tuple(float(stored[w][case]) for w in where)
        np.testing.assert_array_equal(made[name][labels.index(label)], stored[name][case])


def test_the_latest_possible_start_is_the_default(runs, tmp_path):
    made = sampled(runs("weather"), tiny_runs.weather(), tmp_path, lead="12h")
    assert made.time.values.tolist() == tiny_runs.weather().time.values[-1:].tolist()
    assert made.sizes["prediction_timedelta"] == 2


def test_gaps_elsewhere_and_finer_times_do_no_harm(runs, tmp_path):
    """History 2 at 0.25: of times at 0.125, the frames are those at the model's step."""
    fine = tiny_runs.waves(times=24).assign_coords(time=0.125 * np.arange(24))
    fine["time"].attrs["units"] = "s"
    fine = fine.isel(time=[0, 1, *range(4, 24)], sample=slice(0, 1))
    made = sampled(runs("pde"), fine, tmp_path, "1")
    assert made.start_time.values.tolist() == [1.0]
    (tmp_path / "b").mkdir()
    coarse = sampled(runs("pde"), fine.isel(time=[6 - 2, 8 - 2]), tmp_path / "b")
    np.testing.assert_array_equal(made["u"], coarse["u"])


def degrees(data):
    return data.assign(t2m=(data["t2m"] - 273.15).assign_attrs(units="degF-ish"))


def without_units(data):
    return data.assign(t2m=data["t2m"].drop_attrs())


def with_nan(data):
    values = data["t2m"].copy()
    values[-1, 2, 3] = np.nan
    return data.assign(t2m=values)


WEATHER = [
    (
        lambda d: d.drop_vars("msl").assign(MSL=d["msl"]),
        (),
        r"mine.nc: variable msl: the data has no such variable; the file has t2m, MSL; "
        r"rename it there, such as `ds.rename\(MSL='msl'\)`$",
    ),
    (
        degrees,
        (),
        "t2m: the data is in 'degF-ish', the model takes 'K', .*; convert it in the file and set",
    ),
    (without_units, (), "variable t2m has no units; the model's are K"),
    (
        lambda d: d.isel(longitude=slice(1, None)),
        (),
        "its grid is .*longitude 12 .*the model's is .*; it does not reach as far along longitude",
    ),
    (lambda d: d.assign_coords(latitude=d.latitude + 1), (), "its grid is latitude 9 from 41"),
    (
        lambda d: d.interp(latitude=np.linspace(40, 56, 17)),
        (),
        r"ds.interp\(latitude=numpy.linspace\(40, 56, 9\), longitude=numpy.linspace\(0, 36, 13\)\)",
    ),
    (
        with_nan,
        (),
        "t2m: 1 of 117 values are NaN, the first at .*; fill them in the file: the model",
    ),
    (
        lambda d: d.rename(latitude="north").assign_coords(north=np.arange(9.0)),
        (),
        r"no latitude coordinate.*; rename it in the file, such as `ds.rename\(OLD='latitude'\)`",
    ),
    (
        lambda d: d.assign(t2m=(d["t2m"] - 273.15).assign_attrs(units="K")),
        (),
        r"variable t2m has the mean .* K at 2000-01-06T18:00:00, \d+\.\d standard deviations from "
        r"that of training, 2\d\d\.\d+ K; in degC it would be .* from it; 10 is .*--within inf",
    ),
    (
        lambda d: d.assign(msl=(d["msl"] / 100).assign_attrs(units="Pa")),
        (),
        "variable msl has the mean 10.* Pa .*; in hPa it would be",
    ),
    (
        lambda d: d,
        ("2000-02-01",),
        "mine.nc has no such time; the file has 24 times from 2000-01-01",
    ),
    (lambda d: d, ("2000-01-02T03",), "has no such time"),
    (lambda d: d, ("yesterday",), "expected a date such as 2026-01-01T00"),
    (lambda d: d, ("2000-13-01",), "expected a date such as 2026-01-01T00"),
    (lambda d: d, ("2000-01-02", "2000-01-02T00"), "one start is there twice"),
    (lambda d: d.assign_coords(time=np.arange(24.0)), (), "times are plain numbers"),
]


@pytest.mark.parametrize("change, starts, message", WEATHER)
def test_what_does_not_fit_is_refused_by_name(change, starts, message, runs, tmp_path):
    with pytest.raises(DataError, match=message):
        sampled(runs("weather"), change(tiny_runs.weather()), tmp_path, *starts)
    assert not (tmp_path / "out.zarr").exists()


def test_missing_history_is_named(runs, tmp_path):
    waves = tiny_runs.waves().isel(time=[0, 1, 3], sample=slice(0, 1))
    with pytest.raises(DataError, match=r"from 0.75 needs 2 frames .* 0.25 s apart, and 0.5 is "):
        sampled(runs("pde"), waves, tmp_path, "0.75")
    made = sampled(runs("pde"), waves, tmp_path)  # the latest possible is the one before
    assert made.start_time.values.tolist() == [0.25]


def test_missing_frames_are_told_as_spans_and_counted():
    days = np.datetime64("2000-01-01", "ns") + np.arange(10) * np.timedelta64(1, "D")
    found = [0, None, None, None, 1, None, 2, 3, None, None]
    assert starts_module._spans(list(days), found) == (
        "2000-01-02T00:00:00 to 2000-01-04T00:00:00, 2000-01-06T00:00:00, "
        "2000-01-09T00:00:00 to 2000-01-10T00:00:00"
    )
    assert starts_module._spans(list(range(12)), [None, 1] * 6).endswith(" and 2 more spans")


def test_what_was_not_trained_on_is_taken_where_it_is_said_so(runs, tmp_path):
    data = tiny_runs.weather()
    data = data.assign(t2m=(data["t2m"] - 273.15).assign_attrs(units="K"))
    made = sampled(runs("weather"), data, tmp_path, within=np.inf)
    assert abs(float(made["t2m"].mean())) < 100  # of kelvin it would be 280


def test_other_days_and_places_are_no_false_alarm():
    """Statistics of one day, or of a quarter of the region, asked of all: 4.3 and 3.0."""
    with xr.open_dataset(tiny_runs.REPOSITORY / "data_catalog/samples" / UK) as ds:
        values = next(iter(ds.data_vars.values())).values
    north, west = values.shape[1] // 2, values.shape[2] // 2
    quarters = [values[:, y, x] for y in (slice(north), slice(north, None))
                for x in (slice(west), slice(west, None))]  # fmt: skip
    days = [values[hour : hour + 24] for hour in range(0, len(values), 24)]
    pairs = [(day, values) for day in days] + [(a, b) for a in quarters for b in quarters]
    off = [np.abs(b.mean(axis=(1, 2)) - a.mean()).max() / a.std() for a, b in pairs]
    assert max(off) < WITHIN / 2
    assert min(273.15 / a.std() for a, _ in pairs) > 5 * WITHIN  # degrees Celsius


def test_a_store_of_a_file_is_verified_with_it(runs, tmp_path):
    for kind, data in (("weather", tiny_runs.weather()), ("pde", tiny_runs.waves())):
        (tmp_path / kind).mkdir()
        run = runs(kind) / "run"
        starts = ("2000-01-02", "2000-01-03") if kind == "weather" else ("1", "1.5")
        sampled(runs(kind), data, tmp_path / kind, *starts, members=2, lead="1", seed=7)
        store = tmp_path / kind / "out.zarr"
        request = Request(source=str(tmp_path / kind / "mine.nc"))
        keys = list(Ledger.read(Place.of(store)).cases)
        told = verifying.verify_from(run, request, store, [1], keys[-1:])
        assert f"member 1 of {keys[-1]} comes out the same, bit by bit" in told
    done = CliRunner().invoke(
        cli.main,
        ["verify", str(runs("weather") / "run"), "--store", str(tmp_path / "weather" / "out.zarr")],
    )
    assert done.exit_code == 3 and "made from the file mine: give that with --from" in done.stderr
    done = CliRunner().invoke(cli.main, ["verify", str(run), "--from", "mine.nc"])
    assert done.exit_code == 2 and "name it by --store" in done.stderr
    other = tiny_runs.weather(seed=1)
    other.to_netcdf(tmp_path / "weather" / "mine.nc")
    request = Request(source=str(tmp_path / "weather" / "mine.nc"))
    with pytest.raises(StorageError, match="2000-01-02"):
        verifying.verify_from(
            runs("weather") / "run", request, tmp_path / "weather" / "out.zarr", [], []
        )


def test_nothing_is_said_to_be_written_where_nothing_was_lacking(runs, tmp_path, caplog):
    caplog.set_level("INFO", logger="diffsci")
    for word in ("wrote", "has all that is asked for"):
        caplog.clear()
        sampled(runs("weather"), tiny_runs.weather(), tmp_path, "2000-01-02", members=2)
        assert word in caplog.text


def test_a_place_that_cannot_be_written_is_named(runs, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "out.zarr", tmp_path / "file" / "below" / "out.zarr"):
        done = CliRunner().invoke(
            cli.main,
            ["sample", str(runs("weather") / "run"), "--members", "1", "--out", str(place)],
        )
        assert done.exit_code == 5, done.output
        assert f"cannot write {place.parent}: " in done.stderr
        assert ".lock" not in done.stderr and "--out" in done.stderr


def test_fewer_cases_than_asked_for_are_told(runs, tmp_path, caplog):
    pipeline.sample(runs("weather") / "run", 1, None, tmp_path / "x.zarr", ("sample.cases=999",))
    assert "sample.cases: 999 are asked for, and data.split.test has 6: all of" in caplog.text


def test_parameters_and_classes_are_asked_for(runs, tmp_path):
    with pytest.raises(DataError, match="lacks the parameters speed"):
        sampled(runs("pde"), tiny_runs.waves().drop_vars("speed"), tmp_path)
    with pytest.raises(DataError, match=r"mine.nc: no class 7; there are 0, 1"):
        images = tiny_runs.images()
        sampled(runs("image"), images.assign(label=("sample", np.full(24, 7))), tmp_path)
    with pytest.raises(DataError, match="--start: this model generates"):
        sampled(runs("image"), tiny_runs.images(), tmp_path, "3")


def test_the_command(runs, tmp_path):
    folder = runs("weather")
    tiny_runs.weather().to_netcdf(tmp_path / "my.nc")

    def call(*arguments):
        return CliRunner().invoke(cli.main, ["sample", *map(str, arguments)])

    out = tmp_path / "x.zarr"
    done = call(folder / "run", "--from", tmp_path / "my.nc", "--start", "2000-01-03T00",
                "--start", "2000-01-02", "--members", 2, "--lead", "18h", "--out", out)  # fmt: skip
    assert done.exit_code == 0, done.output
    with open_store(out) as made:
        assert made.sizes["time"] == 2 and made.sizes["number"] == 2
        assert made.sizes["prediction_timedelta"] == 3
        assert made.attrs["diffsci_from"] == "my"
    for arguments, code, message in (
        ((folder / "run", "--from", tmp_path / "m.nc"), 3, "m.nc: no such file"),
        ((folder / "run", "--start", "2000-01-03"), 2, "name it with --from FILE"),
        ((folder / "run", "--from", tmp_path / "my.nc", "--lead", "7h"), 2, "whole steps of 6h"),
        ((folder / "run", "--from", tmp_path / "my.nc", "train.steps=1"), 2, "only sample.*"),
        (
            (folder / "run", "--from", tmp_path / "my.nc", "--members", 0),
            2,
            "0 is not in the range",
        ),
        ((tmp_path / "none", "--from", tmp_path / "my.nc"), 2, "no such run"),
    ):
        failed = call(*arguments)
        assert failed.exit_code == code and message in failed.stderr, failed.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_dask_workers_take_units_of_a_file(runs, tmp_path):
    data, folder = tiny_runs.weather(), runs("weather")
    alone = sampled(folder, data, tmp_path, "2000-01-02", "2000-01-03", members=2)
    (tmp_path / "dask").mkdir()
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
    ):
        where = (f"runtime.dask={cluster.scheduler_address}",)
        starts = ("2000-01-02", "2000-01-03")
        made = sampled(folder, data, tmp_path / "dask", *starts, members=2, overrides=where)
    xr.testing.assert_equal(made, alone)


def test_only_sampling_can_be_other():
    with pytest.raises(ConfigError, match="data.split: a trained model|only sample"):
        Request(source="x.nc", overrides=("data.split.test=null",))


@pytest.mark.parametrize("kind", ["weather", "pde"])
def test_a_store_grows_by_one_start_after_the_other(kind, runs, tmp_path):
    """It is, byte for byte, the store of both at once; a file without the first is refused."""
    data = tiny_runs.weather() if kind == "weather" else tiny_runs.waves()
    starts = ("2000-01-03", "2000-01-02") if kind == "weather" else ("1.5", "1")
    for folder, steps in (("whole", [starts]), ("grown", [[each] for each in starts])):
        (tmp_path / folder).mkdir()
        for step in steps:
            sampled(runs(kind), data, tmp_path / folder, *step, members=2, lead="1")
    whole, grown = (tiny_runs.tree(tmp_path / each / "out.zarr") for each in ("whole", "grown"))
    assert grown == whole
    if kind == "weather":
        with pytest.raises(DataError, match="store that is to grow has 2000-01-02T00:00:00, 2000"):
            sampled(runs(kind), data.isel(time=slice(12, None)), tmp_path / "grown", members=2)
        assert tiny_runs.tree(tmp_path / "grown" / "out.zarr") == whole


def test_a_growing_store_keeps_what_it_has(runs, tmp_path):
    data = tiny_runs.weather()
    first = sampled(runs("weather"), data, tmp_path, "2000-01-02", members=2)
    both = sampled(runs("weather"), data, tmp_path, "2000-01-02", "2000-01-03", members=2)
    assert both.sizes["time"] == 2
    xr.testing.assert_equal(both.isel(time=[0]), first)

"""Exports: each tool's own rules are written out and find what they look for, bit for bit."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
import xskillscore
from click.testing import CliRunner
from scores.probability import crps_for_ensemble

import diffsci
from diffsci import cli
from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.evaluation.scores.crps import crps
from diffsci.forecasting.store import views
from diffsci.forecasting.store.exporting import export, one_start
from diffsci.forecasting.store.layouts import LAYOUTS, layout_of
from diffsci.forecasting.store.views import View, by_valid_time, view
from tests.forecasting import stores


@pytest.fixture
def store(tmp_path):
    return stores.written(stores.weather(), tmp_path / "forecast.zarr")


def open_again(path):
    """As a tool opens it that knows nothing of us: no option at all."""
    with xr.open_dataset(path) if path.suffix == ".nc" else xr.open_zarr(path) as opened:
        return opened.load()


# What is written below as `_loader_...` are the rules of the tools' own loaders.


def _weatherbenchx_loader(ds):
    """weatherbenchX/data_loaders/xarray_loaders.py, `rename_dimensions="ecmwf"`, the default."""
    if "lat" in ds.coords and "lon" in ds.coords:
        ds = ds.rename({"lat": "latitude", "lon": "longitude"})
    if "prediction_timedelta" in ds.coords:
        return ds.rename({"time": "init_time", "prediction_timedelta": "lead_time"})
    return ds.rename({"time": "valid_time"})


def _weatherbench2_by_init(ds):
    """weatherbench2/schema.py, `apply_time_conventions(by_init=True)`."""
    ds = ds.rename({"prediction_timedelta": "lead_time"}).rename({"time": "init_time"})
    ds.coords["valid_time"] = ds.init_time + ds.lead_time
    assert not hasattr(ds, "time")
    return ds


def _earth2studio_stack(ds):
    """earth2studio/data/xr.py, `DataVarFile`: one array of all variables, in this order of dims."""
    return ds.to_array(dim="variable").transpose(
        "ensemble", "time", "lead_time", "variable", "lat", "lon"
    )


def test_a_store_opens_lazily_with_leads_and_valid_times(store, tmp_path):
    made = stores.weather()
    opened = diffsci.open_forecast(tmp_path)  # a run folder; the store's own path does as well
    assert opened.prediction_timedelta.dtype == np.dtype("timedelta64[ns]")
    assert (opened.valid_time == opened.time + opened.prediction_timedelta).all()
    for name in ("t2m", "z"):
        chunks = dict(zip(opened[name].dims, opened[name].chunks, strict=True))
        assert chunks["number"] == (4,) and chunks["time"] == (2, 2, 1)
    xr.testing.assert_identical(diffsci.open_forecast(store).load().drop_attrs(), made.drop_attrs())


def test_a_file_is_no_store_and_is_told_how_it_opens(tmp_path):
    (tmp_path / "f.nc").write_bytes(b"CDF")
    with pytest.raises(StorageError, match="f.nc: is a file; .*xarray.open_dataset"):
        diffsci.open_forecast(tmp_path / "f.nc")


def test_a_store_of_a_simulation_keeps_the_numbers_of_its_time(tmp_path):
    place = stores.written(stores.waves(unit="s"), tmp_path / "forecast.zarr")
    opened = diffsci.open_forecast(place)
    assert opened.time.values.tolist() == [0.25, 0.5, 0.75, 1.0, 1.25]
    assert opened.time.attrs["units"] == "s"


def test_weatherbench2_finds_its_names(store, tmp_path):
    found = open_again(export(store, "wb2", tmp_path / "wb2.zarr"))
    assert set(found.data_vars) == {"2m_temperature", "geopotential"}
    assert found["geopotential"].dims == (
        "time", "realization", "prediction_timedelta", "level", "latitude", "longitude",
    )  # fmt: skip
    by_init = _weatherbench2_by_init(found)
    assert by_init["geopotential"].dims[:3] == ("init_time", "realization", "lead_time")
    np.testing.assert_array_equal(found["2m_temperature"], stores.weather()["t2m"])


def test_weatherbenchx_loads_forecasts_and_fields_without_leads_by_its_defaults(store, tmp_path):
    place = export(store, "weatherbenchx", tmp_path / "wbx.zarr")
    found = _weatherbenchx_loader(open_again(place))
    assert found["2m_temperature"].dims == (
        "init_time", "number", "lead_time", "latitude", "longitude",
    )  # fmt: skip
    start, lead = np.datetime64("2020-01-01T06"), np.timedelta64(12, "h")
    chosen = found.sel(init_time=[start], lead_time=[lead])["2m_temperature"]
    np.testing.assert_array_equal(chosen, stores.weather()["t2m"].values[1:2, :, 1:2])
    flat = stores.written(stores.weather(leads=0), tmp_path / "flat.zarr")
    found = _weatherbenchx_loader(open_again(export(flat, "weatherbenchx", tmp_path / "f.zarr")))
    assert found["2m_temperature"].dims[:2] == ("valid_time", "number")


def test_earth2studio_stacks_every_variable_into_one_array(store, tmp_path):
    stacked = _earth2studio_stack(open_again(export(store, "earth2studio", tmp_path / "e2s.zarr")))
    assert stacked["variable"].values.tolist() == ["t2m", "z500", "z850"]
    made = stores.weather()
    for name, values in (("t2m", made["t2m"]), ("z850", made["z"].sel(level=850))):
        one = values.transpose("number", "time", "prediction_timedelta", ...)
        np.testing.assert_array_equal(stacked.sel(variable=name), one)
    flat = stores.written(stores.weather(leads=0), tmp_path / "flat.zarr")
    found = _earth2studio_stack(open_again(export(flat, "earth2studio", tmp_path / "f.zarr")))
    assert found["lead_time"].values.tolist() == [0]


@pytest.mark.parametrize("make", [stores.weather, stores.waves, stores.images])
def test_xskillscore_and_scores_agree_with_our_own_numbers(make, tmp_path):
    """Each by its defaults; ecdf of both, fair of `scores`, against the closed sums in `crps`."""
    place = stores.written(make(), tmp_path / "forecast.zarr")
    found = open_again(export(place, "xskillscore"))
    name = next(iter(found.data_vars))
    members = found[name]
    observed = members.isel(member=0, drop=True) + 0.5
    axis = members.dims.index("member")
    ours = {
        fair: crps(
            np.moveaxis(members.values, axis, 1).astype("f8"),
            observed.values.astype("f8"),
            fair=fair,
        ).mean()
        for fair in (True, False)
    }
    theirs = xskillscore.crps_ensemble(observed, members)
    assert theirs.dims == () and abs(float(theirs) - ours[False]) < 1e-5  # float32 sums
    ranks = xskillscore.rank_histogram(observed, members)
    assert ranks.sizes == {"rank": members.sizes["member"] + 1}
    assert int(ranks.sum()) == observed.size
    for method, fair in (("ecdf", False), ("fair", True)):
        value = crps_for_ensemble(members, observed, "member", method=method)
        assert abs(float(value) - ours[fair]) < 1e-5


def test_valid_times_gather_what_was_forecast_for_them(store, tmp_path):
    found, made = open_again(export(store, "valid-time", tmp_path / "v.zarr")), stores.weather()
    assert found.sizes["time"] == 5 + 3 - 1  # starts and leads 6 h apart
    seen = 0
    for valid in found.time.values:
        for lead in found.prediction_timedelta.values:
            one = found.sel(time=valid, prediction_timedelta=lead)
            start = one.forecast_reference_time.values
            if np.isnat(start):
                assert np.isnan(one["t2m"]).all()
                continue
            assert start + lead == valid
            source = made.sel(time=start, prediction_timedelta=lead)
            np.testing.assert_array_equal(one["z"], source["z"])
            seen += 1
    assert seen == 5 * 3
    assert set(made.time.values[1:]) <= set(found.time.values)  # a truth by time aligns


def test_two_starts_of_one_valid_time_are_refused():
    made = stores.weather()
    twice = made.assign_coords(valid_time=made.valid_time.copy(data=made.valid_time.values[:1]
                                                               .repeat(5, axis=0)))  # fmt: skip
    with pytest.raises(DataError, match="two starts are valid at one date at lead 1"):
        by_valid_time(twice, LAYOUTS["valid-time"])


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_pieces_are_the_whole_once_each_and_small(name, monkeypatch):
    """Memory is that of a piece, here a 40th or less, and any cut gives one result."""
    made = stores.weather(cases=7, members=16, leads=10)
    layout = layout_of(name, made)
    make = by_valid_time if name == "valid-time" else view
    whole = _assembled(make(made, layout))
    monkeypatch.setattr(views, "_PIECE_BYTES", 10_000)
    cut = make(made, layout)
    for _, part in cut.pieces():
        assert part.nbytes < 15_000 < made.nbytes / 40  # coordinates come on top
    found = _assembled(cut)
    for each, values in whole.items():
        np.testing.assert_array_equal(found[each], values)


def _assembled(made: View):
    """Values by name; no place is filled twice, and what is not filled is NaN."""
    values = {n: np.full(v.shape, np.nan, np.float32) for n, v in made.template.data_vars.items()}
    filled = {n: np.zeros(v.shape, int) for n, v in made.template.data_vars.items()}
    for region, part in made.pieces():
        for name, variable in part.data_vars.items():
            assert variable.dims == made.template[name].dims
            where = tuple(region.get(dim, slice(None)) for dim in variable.dims)
            values[name][where] = variable.values
            filled[name][where] += 1
    for name, counts in filled.items():
        assert counts.max() == 1
        assert (counts == 0).sum() == np.isnan(values[name]).sum()
    return values


@pytest.fixture(params=["weather", "flat", "waves", "seconds", "images"])
def netcdf(request, tmp_path):
    """A CF file of each kind of store, and what it is of."""
    made = {
        "weather": lambda: stores.weather(cases=1),
        "flat": lambda: stores.weather(leads=0),
        "waves": stores.waves,
        "seconds": lambda: stores.waves(unit="s"),
        "images": stores.images,
    }[request.param]()
    place = stores.written(made, tmp_path / "forecast.zarr")
    return export(place, "cf-netcdf", tmp_path / "cf.nc"), made


def test_netcdf_has_every_value_and_no_fill_in_coordinates(netcdf):
    path, made = netcdf
    found = open_again(path)
    if "prediction_timedelta" in made.dims:
        made = made.isel(time=0, drop=True).drop_vars("valid_time")
        made = made.rename(prediction_timedelta="time")
    elif "time" in made.dims and "sample" in made.dims:
        made = made.rename(time="elapsed_time")
    for name, values in made.data_vars.items():
        np.testing.assert_array_equal(found[name], values.transpose(*found[name].dims))
    assert found.attrs["Conventions"].startswith("CF-1.")
    assert all("_FillValue" not in found[name].encoding for name in found.coords)


def test_each_start_is_a_file_along_valid_time(store, tmp_path):
    folder = export(store, "cf-netcdf", tmp_path / "starts")
    files = sorted(path.name for path in folder.iterdir())
    assert files[:2] == ["2020-01-01T000000.nc", "2020-01-01T060000.nc"] and len(files) == 5
    found = open_again(folder / files[1])
    assert found.forecast_reference_time == np.datetime64("2020-01-01T06")
    assert found["forecast_period"].values.tolist() == [6, 12, 18]
    assert found["forecast_period"].attrs["units"] == "hours"
    lead = found.forecast_period.astype(int).values * np.timedelta64(1, "h")
    assert (found.time == found.forecast_reference_time.values + lead).all()
    with pytest.raises(ConfigError, match="has 5 starts, and a file holds one"):
        export(store, "cf-netcdf", tmp_path / "one.nc")


def test_months_keep_their_valid_times():
    made = stores.weather(cases=1)
    valid = np.array([["2020-02-01", "2020-03-01", "2020-04-01"]], "datetime64[ns]")
    one = one_start(made.assign_coords(valid_time=(made.valid_time.dims, valid)), 0)
    np.testing.assert_array_equal(one.time, valid[0])


def test_ncdump_reads_the_file(netcdf):
    if shutil.which("ncdump") is None:
        pytest.skip("ncdump is not installed (netcdf-bin)")
    path, made = netcdf
    told = subprocess.run(["ncdump", "-h", path], capture_output=True, text=True, check=True).stdout
    for name in made.data_vars:
        assert f"float {name}(" in told


@pytest.mark.parametrize("tool", ["cdo", "ncks"])
def test_cdo_and_nco_read_the_file(tool, tmp_path):
    """The mean over all of t2m as cdo has it; the names as nco has them."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    made = stores.weather(cases=1)
    place = stores.written(made, tmp_path / "forecast.zarr")
    path = export(place, "cf-netcdf", tmp_path / "cf.nc")
    if tool == "ncks":
        told = subprocess.run([tool, "-m", path], capture_output=True, text=True, check=True)
        assert "realization" in told.stdout
        return
    command = [tool, "-s", "-outputf,%.8g", "-vertmean", "-selname,t2m", path]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    found = np.array(told.stdout.split(), dtype=float)
    exact = made["t2m"].isel(time=0).mean("number").values.ravel()
    np.testing.assert_allclose(found, exact, rtol=1e-6)  # float32


@pytest.mark.slow
def test_the_compliance_checker_finds_no_error(netcdf):
    pytest.importorskip("compliance_checker", reason="25 packages: not in the dev extra")
    path, _ = netcdf
    program = (
        "import sys; from compliance_checker.runner import ComplianceChecker, CheckSuite;"
        "CheckSuite().load_all_available_checkers();"
        "ok, _ = ComplianceChecker.run_checker(sys.argv[1], ['cf:1.11'], 0, 'lenient',"
        "output_filename=sys.argv[2], output_format='json'); "
    )
    report = path.with_suffix(".json")
    subprocess.run([sys.executable, "-c", program, path, report], check=True, capture_output=True)
    import json

    found = json.loads(report.read_text())["cf:1.11"]
    assert [each for each in found["high_priorities"] if each["msgs"]] == []


def test_layouts_without_a_meaning_are_refused_by_name(tmp_path):
    waves = stores.written(stores.waves(), tmp_path / "waves.zarr")
    flat = stores.written(stores.weather(leads=0), tmp_path / "flat.zarr")
    for name in ("wb2", "weatherbenchx", "earth2studio", "valid-time"):
        with pytest.raises(
            ConfigError, match=f"--layout {name}: .* dims are .*x; take xskillscore"
        ):
            export(waves, name)
    with pytest.raises(ConfigError, match="this store has no leads .* its times are the valid"):
        export(flat, "valid-time")
    with pytest.raises(ConfigError, match="--layout: expected one of wb2"):
        export(flat, None)


def test_names_that_no_vocabulary_knows_stay_and_are_told(tmp_path, caplog):
    made = stores.weather()
    made["t2m"].attrs["units"] = "degC"  # not the table's: the name would promise kelvin
    place = stores.written(made, tmp_path / "forecast.zarr")
    with caplog.at_level("INFO", logger="diffsci"):
        found = open_again(export(place, "wb2", tmp_path / "o.zarr"))
    assert set(found.data_vars) == {"t2m", "geopotential"}
    assert "no wb2 name is known for t2m (degC); kept as it is" in caplog.text
    own = open_again(export(place, "wb2", tmp_path / "own.zarr", vocabulary="own"))
    assert set(own.data_vars) == {"t2m", "z"}
    short = open_again(export(place, "xskillscore", tmp_path / "s.zarr", vocabulary="ecmwf"))
    assert set(short.data_vars) == {"t2m", "z"}


def test_two_variables_of_one_name_are_refused(tmp_path):
    made = stores.weather().drop_vars("z")
    made["tas"] = made["t2m"]
    place = stores.written(made, tmp_path / "forecast.zarr")
    with pytest.raises(ConfigError, match="t2m and tas would both be 2m_temperature; take --names"):
        export(place, "wb2")


def test_the_command_says_where_and_overwrites_nothing(store, tmp_path):
    arguments = ["export", str(store), "--layout", "wb2"]
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "forecast-wb2.zarr")
    again = CliRunner().invoke(cli.main, arguments)
    assert again.exit_code == StorageError.exit_code and "exists already" in again.stderr
    wrong = CliRunner().invoke(
        cli.main, ["export", str(tmp_path / "forcast.zarr"), "--layout", "wb2"]
    )
    assert wrong.exit_code == StorageError.exit_code and "no such run or store" in wrong.stderr
    place = str(tmp_path / "x.txt")
    odd = CliRunner().invoke(cli.main, [*arguments, "--out", place])
    assert odd.exit_code == ConfigError.exit_code and "ends in .zarr or .nc" in odd.stderr


def test_a_failed_export_leaves_nothing(store, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("in the middle")

    for name in ("a.zarr", "a.nc", "folder"):
        with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="in the middle"):
            patched.setattr(views, "_regions", broken)
            export(store, "cf-netcdf" if name == "folder" else "wb2", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["forecast.zarr"]

"""The parts of a run: which go together, and how their leads and classes are told."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from diffsci import config
from diffsci.errors import DataError
from diffsci.stages.alike import Known, require_alike
from diffsci.stages.prepare import leads_of, prepare
from tests import tiny_runs
from tests.forecasting import makers


def prepared(folder, kind, *overrides):
    loaded = config.load(tiny_runs.make(folder, kind), overrides)
    return prepare(loaded.pipeline, loaded.roots)


def test_what_is_alike_passes_and_itself_is_alike():
    fields = makers.weather_fields()
    require_alike(Known.of(fields), makers.weather_fields(seed=1), "test", steps=True)
    nudged = [tuple(x + 1e-5 for x in at) for at in fields.grid.coordinates]
    other = replace(fields, grid=replace(fields.grid, coordinates=tuple(nudged)))
    require_alike(Known.of(fields), other, "test", steps=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: {"channels": (replace(f.channels[0], variable="z"),)}, "its variables are"),
        (lambda f: {"channels": (replace(f.channels[0], unit="m"),)}, "its units are"),
        (lambda f: {"scalar_names": ("nu",)}, "its parameters are"),
        (lambda f: {"time_unit": "d"}, "its time unit are"),
        (
            lambda f: {"grid": replace(f.grid, boundary=(("open", "open"),))},
            "its boundaries are",
        ),
        (lambda f: {"times": 0.4 * np.arange(8)}, "0.4 1 apart.*0.2 1"),
    ],
)
def test_what_differs_is_named(change, told):
    fields = makers.ring_fields()
    other = replace(fields, **change(fields))
    with pytest.raises(DataError, match=told):
        require_alike(Known.of(fields), other, "test", steps=True)


def test_a_step_matters_only_to_forecasts_and_months_are_of_unequal_length():
    fields = makers.weather_fields()
    stamps = np.datetime64("2001-01-01", "ns") + np.arange(6) * np.timedelta64(12, "h")
    other = replace(fields, times=stamps)
    require_alike(Known.of(fields), other, "test", steps=False)
    with pytest.raises(DataError, match="12 h apart in the test part.*6 h"):
        require_alike(Known.of(fields), other, "test", steps=True)
    months = np.arange("2000-01", "2000-07", dtype="datetime64[M]").astype("datetime64[ns]")
    thirty = months[0] + np.arange(6) * np.timedelta64(30, "D")
    require_alike(
        Known.of(replace(fields, times=months)), replace(fields, times=thirty), "t", steps=True
    )


def test_leads_are_hours_for_dates_and_free_of_rounding(tmp_path):
    weather = prepared(tmp_path, "weather")
    assert weather.leads() == [6.0, 12.0]
    assert weather.lead_unit == "h"
    assert weather.step() == 6 * 3600e9
    cases = replace(weather.evaluation.cases, step=0.1 + 0.2, leads=(1, 3))
    assert leads_of(cases) == [0.3, 0.9]  # 0.30000000000000004 is not shown
    assert leads_of(replace(cases, leads=())) is None


def test_downscaling_has_no_leads_and_images_have_classes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    down = prepared(tmp_path / "a", "downscale")
    assert (down.leads(), down.lead_unit, down.step()) == (None, "", None)
    assert down.labels() is None
    assert down.train_labels(down.examples.windows) is None
    assert down.ports.condition == down.ports.target == 1
    images = prepared(tmp_path / "b", "image")
    np.testing.assert_array_equal(images.labels(), np.arange(16, 24) % 2)
    some = images.examples.windows[[3, 4, 8]]
    np.testing.assert_array_equal(images.train_labels(some), [1, 0, 0])
    assert (images.ports.scalars, images.ports.condition) == (2, 0)


def test_digests_tell_every_part_and_only_its_content(tmp_path):
    one = prepared(tmp_path, "downscale").digests
    assert set(one) == {"train", "valid", "test"}
    with xr.open_dataset(tmp_path / "weather.nc") as data:
        changed = data.load()
    changed.t2m[-1, 0, 0] += 1
    changed.to_netcdf(tmp_path / "weather.nc")
    loaded = config.load(tmp_path / "downscale.yaml")
    two = prepare(loaded.pipeline, loaded.roots).digests
    assert one["test"] != two["test"]
    assert (one["train"], one["valid"]) == (two["train"], two["valid"])


def test_time_without_a_unit_is_told_as_time_units(tmp_path):
    tiny_runs.make(tmp_path, "pde")
    data = tiny_runs.waves()
    del data.time.attrs["units"]
    data.to_zarr(tmp_path / "waves.zarr", mode="w", zarr_format=2, consolidated=True)
    loaded = config.load(tmp_path / "pde.yaml")
    assert prepare(loaded.pipeline, loaded.roots).lead_unit == "time units"


def test_ports_know_the_components_of_vectors_by_the_data(tmp_path):
    file = tiny_runs.make(tmp_path, "weather")
    ds = xr.load_dataset(tmp_path / "weather.nc")
    first, second = ds.data_vars
    ds[second].attrs["standard_name"] = "northward_wind"
    ds.to_netcdf(tmp_path / "weather.nc")
    loaded = config.load(file, ("data.task={use: forecast, history: 2}",))
    ports = prepare(loaded.pipeline, loaded.roots).ports
    assert (ports.target, ports.condition, ports.vectors) == (2, 4, (1, 3, 5))

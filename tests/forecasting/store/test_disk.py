"""The forecast store: whole or absent, checked, and open to the field's tools."""

import hashlib
import warnings

import numpy as np
import pytest
import scores
import xarray as xr
import xskillscore
import zarr

from diffsci.errors import StorageError
from diffsci.forecasting.store.disk import (
    bounded_chunks,
    cases_in_chunk,
    open_store,
    require_name,
    write_whole,
)
from diffsci.forecasting.store.places import Place
from tests.forecasting import makers


def labelled(leads=0, members=range(4)):
    model = makers.forecasting() if leads else makers.downscaling()
    fields = makers.ring_fields() if leads else makers.weather_fields()
    rows = np.array([[i, 0] for i in range(3)]) if leads else np.array([[0, i] for i in range(6)])
    cases = model.pipeline.data.domain.cases(fields, rows, tuple(range(1, leads + 1)))
    count = 1 if members is None else len(members)
    shape = (len(cases), count, max(1, leads), 1, *model.grid.sizes)
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return model.label(values, cases, None if members is None else np.arange(count))


def tree(folder):
    """Hash of every file of a store."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("leads", [0, 3])
def test_comes_back_as_it_was(tmp_path, leads, zarr_format):
    dataset = labelled(leads=leads)
    write_whole(tmp_path / "w.zarr", dataset, "sample" if leads else "time", 2, zarr_format)
    with open_store(tmp_path / "w.zarr") as found:
        xr.testing.assert_identical(found.load(), dataset)


def test_what_stood_there_is_replaced(tmp_path):
    write_whole(tmp_path / "w.zarr", labelled(), "time", 2)
    other = labelled() + 1
    write_whole(tmp_path / "w.zarr", other, "time", 2)
    with open_store(tmp_path / "w.zarr") as found:
        xr.testing.assert_equal(found.load(), other)
    assert [path.name for path in tmp_path.iterdir()] == ["w.zarr"]


def test_every_array_of_the_store_is_checked(tmp_path):
    """Coordinates too: the codecs end with a crc32c, and in version 2 Zstandard has its own."""
    write_whole(tmp_path / "3.zarr", labelled(), "time", 2)
    for _, array in zarr.open_group(tmp_path / "3.zarr", mode="r").arrays():
        assert type(array.metadata.codecs[-1]).__name__ == "Crc32cCodec"
    write_whole(tmp_path / "2.zarr", labelled(), "time", 2, 2)
    for _, array in zarr.open_group(tmp_path / "2.zarr", mode="r").arrays():
        assert array.metadata.compressor.get_config()["checksum"]


def test_chunks_of_nothing_but_nan_are_there(tmp_path):
    dataset = labelled() * np.nan
    write_whole(tmp_path / "w.zarr", dataset, "time", 2)
    assert len(list((tmp_path / "w.zarr" / "2m_temperature" / "c").iterdir())) == 3


def test_no_store(tmp_path):
    with pytest.raises(StorageError, match="no such store"):
        open_store(tmp_path / "none.zarr")


@pytest.mark.parametrize("name", ["f.nc", "f", ".zarr", "f.zarr.zip"])
def test_names_that_readers_do_not_know(name):
    with pytest.raises(StorageError, match=r"must end in \.zarr"):
        require_name(Place.of(f"somewhere/{name}"))


def test_members_lie_in_one_chunk_which_scorers_need(tmp_path):
    """With members in several chunks xskillscore and the ecdf CRPS of `scores` raise."""
    write_whole(tmp_path / "f.zarr", labelled(), "time", 2)
    write_whole(tmp_path / "t.zarr", labelled(members=None), "time", 2)
    forecast = xr.open_zarr(tmp_path / "f.zarr")["2m_temperature"]
    truth = xr.open_zarr(tmp_path / "t.zarr")["2m_temperature"]
    assert forecast.encoding["chunks"][1] == forecast.sizes["number"]
    one = xskillscore.crps_ensemble(truth, forecast, member_dim="number").compute()
    two = scores.probability.crps_for_ensemble(forecast, truth, "number", method="ecdf").compute()
    assert abs(float(one) - float(two)) < 1e-6
    fair = scores.probability.crps_for_ensemble(forecast, truth, "number", method="fair").compute()
    assert float(fair) < float(two)


def test_leads_are_time_differences_by_the_attribute_that_readers_look_for(tmp_path):
    data = xr.Dataset(
        {"t": (("time", "number", "prediction_timedelta"), np.zeros((1, 2, 3), np.float32))},
        {
            "prediction_timedelta": np.arange(1, 4)
            * np.timedelta64(6, "h").astype("timedelta64[ns]")
        },
    )
    write_whole(tmp_path / "f.zarr", data, "time", 1)
    stored = zarr.open_array(tmp_path / "f.zarr" / "prediction_timedelta", mode="r")
    assert stored.attrs["dtype"] == "timedelta64[ns]"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = xr.open_zarr(tmp_path / "f.zarr")
    assert found.prediction_timedelta.dtype.kind == "m"


@pytest.mark.parametrize(
    ("cases", "size", "expected"), [(10, 1, 10), (3, 10**9, 1), (1, 1, 1), (1000, 1_000_000, 4)]
)
def test_cases_in_a_chunk(cases, size, expected):
    assert cases_in_chunk(cases, size) == expected


@pytest.mark.parametrize(
    ("shape", "cases", "expected"),
    [
        # 50 members of one case at 0.25 degrees: 208 MB a lead, so that latitudes are split, too.
        ((3, 50, 40, 721, 1440), 1, (1, 50, 1, 347, 1440)),
        ((3, 10, 40, 121, 240), 2, (2, 10, 40, 121, 240)),
        ((3, 10, 400, 121, 240), 1, (1, 10, 86, 121, 240)),
    ],
)
def test_chunks_are_bounded_and_keep_the_members_together(shape, cases, expected):
    dims = ("time", "number", "prediction_timedelta", "latitude", "longitude")
    found = tuple(bounded_chunks(dict(zip(dims, shape, strict=True)), "time", cases).values())
    assert found == expected
    assert np.prod(found) * 4 <= 100_000_000

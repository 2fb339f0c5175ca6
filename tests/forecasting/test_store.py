"""The forecast store: whole or absent, gone on with after a kill, and open to the field's tools."""

import hashlib

import numpy as np
import pytest
import scores
import xarray as xr
import xskillscore

from diffsci.errors import StorageError
from diffsci.forecasting import store
from diffsci.forecasting.store import Growing, blocks_of, chunks_of, open_store, write_whole
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


def grow(path, dataset, *, stop_after=None, case_dim="time", digest="a"):
    """Write `dataset` in blocks of two cases; stop after some of them, as a kill would."""
    count = dataset.sizes[case_dim]
    blocks = tuple((i, min(i + 2, count)) for i in range(0, count, 2))
    growing = Growing(path=path, case_dim=case_dim, blocks=blocks, digest=digest)
    growing.begin(lambda: dataset.copy(deep=True))
    written = 0
    for block in growing.missing():
        if written == stop_after:
            return written
        growing.write(block, dataset.isel({case_dim: slice(*block)}))
        written += 1
    growing.finish()
    return written


@pytest.mark.parametrize("stops", [(0,), (1,), (2,), (1, 1)])
def test_interrupted_and_whole_stores_are_the_same_bytes(tmp_path, stops):
    dataset = labelled()
    grow(tmp_path / "whole.zarr", dataset)
    path = tmp_path / "stopped.zarr"
    for stop in stops:
        grow(path, dataset, stop_after=stop)
        assert not path.exists()
    assert grow(path, dataset) == 3 - sum(stops)
    assert tree(path) == tree(tmp_path / "whole.zarr")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".stopped")] == []


def test_what_was_made_from_something_else_is_begun_anew(tmp_path):
    dataset = labelled()
    grow(tmp_path / "f.zarr", dataset, stop_after=2, digest="a")
    assert grow(tmp_path / "f.zarr", dataset, digest="b") == 3


@pytest.mark.parametrize("leads", [0, 3])
def test_comes_back_as_it_was(tmp_path, leads):
    dataset = labelled(leads=leads)
    grow(tmp_path / "f.zarr", dataset, case_dim="sample" if leads else "time")
    with open_store(tmp_path / "f.zarr") as found:
        xr.testing.assert_identical(found.load(), dataset)
    write_whole(tmp_path / "w.zarr", dataset, "sample" if leads else "time", 2)
    with open_store(tmp_path / "w.zarr") as found:
        xr.testing.assert_identical(found.load(), dataset)


def test_an_existing_store_is_never_overwritten(tmp_path):
    grow(tmp_path / "f.zarr", labelled())
    before = tree(tmp_path / "f.zarr")
    with pytest.raises(StorageError, match="exists already; choose another name"):
        grow(tmp_path / "f.zarr", labelled())
    assert tree(tmp_path / "f.zarr") == before


def test_no_store(tmp_path):
    with pytest.raises(StorageError, match="no such store"):
        open_store(tmp_path / "none.zarr")


def test_members_lie_in_one_chunk_which_scorers_need(tmp_path):
    """With members in several chunks xskillscore and the ecdf CRPS of `scores` raise."""
    grow(tmp_path / "f.zarr", labelled())
    write_whole(tmp_path / "t.zarr", labelled(members=None), "time", 2)
    forecast = xr.open_zarr(tmp_path / "f.zarr")["2m_temperature"]
    truth = xr.open_zarr(tmp_path / "t.zarr")["2m_temperature"]
    assert forecast.encoding["chunks"][1] == forecast.sizes["number"]
    one = xskillscore.crps_ensemble(truth, forecast, member_dim="number").compute()
    two = scores.probability.crps_for_ensemble(forecast, truth, "number", method="ecdf").compute()
    assert abs(float(one) - float(two)) < 1e-6
    fair = scores.probability.crps_for_ensemble(forecast, truth, "number", method="fair").compute()
    assert float(fair) < float(two)


@pytest.mark.parametrize(
    ("cases", "size", "most", "sizes"),
    [(10, 1, 100, [10]), (10, 1, 4, [4, 4, 2]), (3, 10**9, 5, [1, 1, 1]), (1, 1, 1, [1])],
)
def test_blocks_cover_all_cases_once(cases, size, most, sizes):
    blocks = blocks_of(cases, size, most)
    assert [after - first for first, after in blocks] == sizes
    assert [case for first, after in blocks for case in range(first, after)] == list(range(cases))


def test_truth_shares_the_chunks_of_the_ensemble_along_the_cases(tmp_path):
    grow(tmp_path / "f.zarr", labelled())
    write_whole(tmp_path / "t.zarr", labelled(members=None), "time", 2)
    with open_store(tmp_path / "f.zarr") as forecast, open_store(tmp_path / "t.zarr") as truth:
        assert forecast["2m_temperature"].encoding["chunks"] == (2, 4, 9, 13)
        assert truth["2m_temperature"].encoding["chunks"] == (2, 9, 13)


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
    # A view of one number: the sizes count alone.
    variable = xr.DataArray(np.broadcast_to(np.float32(0), shape), dims=dims)
    found = tuple(chunks_of(variable, "time", cases).values())
    assert found == expected
    assert np.prod(found) * 4 <= 100_000_000


def test_a_store_whose_cases_are_larger_than_a_chunk_comes_back(tmp_path, monkeypatch):
    """Leads and space are split as well; the store still grows block by block to the same bytes."""
    monkeypatch.setattr(store, "_MOST_BYTES", 100)
    dataset = labelled(leads=3)
    grow(tmp_path / "a.zarr", dataset, case_dim="sample", stop_after=1)
    grow(tmp_path / "a.zarr", dataset, case_dim="sample")
    grow(tmp_path / "b.zarr", dataset, case_dim="sample")
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")
    with open_store(tmp_path / "a.zarr") as found:
        assert found["u"].encoding["chunks"] == (2, 4, 1, 3)
        xr.testing.assert_identical(found.load(), dataset)

"""The forecast store: whole or absent, gone on with after a kill, and open to the field's tools."""

import hashlib

import numpy as np
import pytest
import scores
import xarray as xr
import xskillscore

from diffsci.errors import StorageError
from diffsci.forecasting.store import Growing, blocks_of, open_store, write_whole
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
    store = Growing(path=path, case_dim=case_dim, blocks=blocks, digest=digest)
    store.begin(lambda: dataset.copy(deep=True))
    written = 0
    for block in store.missing():
        if written == stop_after:
            return written
        store.write(block, dataset.isel({case_dim: slice(*block)}))
        written += 1
    store.finish()
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
    write_whole(tmp_path / "w.zarr", dataset)
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
    write_whole(tmp_path / "t.zarr", labelled(members=None))
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

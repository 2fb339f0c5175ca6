"""Readers of prepared stores: one contract, the same numbers, damage told, safe in any worker."""

import logging
import multiprocessing
import pickle

import numpy as np
import pytest
import torch

from diffsci.data.catalog import Entry, Source
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.data.prepared import states
from diffsci.data.prepared.blocks import Plan
from diffsci.data.prepared.preparing import prepare
from diffsci.errors import DataError
from tests.data import makers


@pytest.fixture(params=["weather", "pde"])
def prepared(request, tmp_path):
    """A store, its values, and how many lead dims it has."""
    if request.param == "weather":
        ds, domain = makers.weather(times=20), Weather()
        ds = ds.assign(u10=(2 * ds["t2m"]).assign_attrs(units="m s-1"))
        values = np.stack([ds["t2m"].values, ds["u10"].values], axis=1)
    else:
        ds, domain = makers.pde(), Pde()
        values = ds["u"].values[:, :, None]
    entry = Entry(name="a", source=Source(data=ds))
    return prepare(
        Plan(entry=entry, domain=domain, target=tmp_path / "a.zarr", memory=9000)
    ), values


def readers(store, folder):
    common = states.told(store)
    array = states.zarr.open_group(store, mode="r")[common["variables"][0]]
    plain = states.Chunks(**common)
    yield plain
    yield states.Shards(**common, shards=array.shards)
    yield states.loaded(plain)
    yield states.mapped(plain, folder / "a.npy")
    pytest.importorskip("tensorstore")
    yield states.Concurrent(**common)


def test_every_reader_gives_the_same_numbers(prepared, tmp_path):
    store, values = prepared
    lead = values.shape[: states.told(store)["leads"]]
    rows = np.stack(np.unravel_index([3, 0, 11, 3, int(np.prod(lead)) - 1], lead), axis=1)
    for reader in readers(store, tmp_path):
        assert np.array_equal(reader.read(rows), values[tuple(rows.T)]), type(reader)
        assert len(reader) == np.prod(lead) and reader.nbytes == values.nbytes
        again = pickle.loads(pickle.dumps(reader))
        assert np.array_equal(again.read(rows[:1]), values[tuple(rows[:1].T)])


class Numbered(torch.utils.data.Dataset):
    def __init__(self, reader):
        self.reader = reader

    def __len__(self):
        return len(self.reader)

    def __getitem__(self, number):
        return self.reader.read(np.array([[number]]))[0]


@pytest.mark.parametrize("kind", ["Chunks", "Shards", "Concurrent"])
@pytest.mark.slow
def test_workers_read_after_their_parent_has_read(kind, tmp_path):
    ds = makers.weather(times=20)
    entry = Entry(name="a", source=Source(data=ds))
    store = prepare(Plan(entry=entry, domain=Weather(), target=tmp_path / "a.zarr"))
    (reader,) = [r for r in readers(store, tmp_path) if type(r).__name__ == kind]
    reader.read(np.array([[0]]))
    loader = torch.utils.data.DataLoader(
        Numbered(reader), batch_size=4, num_workers=2,
        multiprocessing_context=multiprocessing.get_context("forkserver"), timeout=120,
    )  # fmt: skip
    found = torch.cat(list(loader)).numpy()
    assert np.array_equal(found[:, 0], ds["t2m"].values)


def test_the_choice_says_why(prepared, caplog):
    store, values = prepared
    with caplog.at_level(logging.INFO, logger="diffsci"):
        assert type(states.best(store)).__name__ == "Memory"
        assert type(states.best(store, memory=100)).__name__ == "Shards"
    assert "fit into memory" in caplog.text and "read by shards: larger than memory" in caplog.text


def test_a_foreign_store_is_read_by_what_fits_it(tmp_path):
    ds = makers.weather()
    ds.to_zarr(tmp_path / "b.zarr", consolidated=False, zarr_format=2)
    reader = states.best(tmp_path / "b.zarr", memory=100)
    assert type(reader).__name__ == "Chunks"
    assert np.array_equal(reader.read(np.array([[5]]))[0, 0], ds["t2m"].values[5])


def test_every_damage_of_a_chunk_is_told_by_its_number(prepared, tmp_path):
    store, _ = prepared
    (_, reader, *_) = readers(store, tmp_path)
    name = reader.variables[0]
    row = np.zeros((1, reader.leads), dtype=int)
    path = store / name / "c" / "/".join("0" * len(reader.shape))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    size = 4 * int(np.prod(reader.shape[reader.leads :]))
    start = int.from_bytes(whole[-reader_index(reader) :][:8], "little")
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[start + int(random.integers(size + 4))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"a.zarr: variable {name}, field \[0.*checksum"):
            reader.read(row)
    for place in range(1, 20):
        damaged = bytearray(whole)
        damaged[-place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="index does not fit"):
            reader.read(row)
    for share in (0.0, 0.3, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match="a.zarr: variable"):
            reader.read(row)
    path.unlink()
    with pytest.raises(DataError, match="its shard is missing"):
        reader.read(row)


def reader_index(reader):
    return 16 * int(np.prod(reader.shards[: reader.leads])) + 4

"""Addresses: allowed protocols alone, bounded tries, no secret in a message."""

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from diffsci.data import addresses, reader, remote
from diffsci.data.catalog import Entry, Source, load_entry
from diffsci.data.domains.weather import Weather
from diffsci.errors import DataError
from diffsci.sections import Part
from tests.data import makers


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFSCI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "WAIT", 0.0)
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def put(system, local, address):
    system.put(str(local), address, recursive=local.is_dir())
    return f"memory://{address}"


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not")
def test_a_remote_store_is_read_where_it_lies(version, consolidated, memory, tmp_path):
    ds = makers.weather()
    ds.to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=consolidated)
    address = put(memory, tmp_path / "a.zarr", "/box/a.zarr")
    wanted = reader.read(str(tmp_path / "a.zarr"), Weather(), Part())
    raw = reader.open_raw(load_entry(address))
    assert not raw["t2m"].variable._in_memory
    assert reader.read(address, Weather(), Part()).digest == wanted.digest


def test_a_remote_file_is_fetched_once_and_anew_when_it_changes(memory, tmp_path):
    makers.weather().to_netcdf(tmp_path / "a.nc")
    address = put(memory, tmp_path / "a.nc", "/box/a.nc")
    first = reader.read(address, Weather(), Part())
    kept = tmp_path / "cache" / "remote"
    assert reader.read(address, Weather(), Part()).digest == first.digest
    assert len(list(kept.iterdir())) == 1
    makers.weather(times=9, seed=1).to_netcdf(tmp_path / "a.nc")
    put(memory, tmp_path / "a.nc", "/box/a.nc")
    assert reader.read(address, Weather(), Part()).digest != first.digest
    assert len(list(kept.iterdir())) == 2


def test_tries_are_bounded_and_named(memory, tmp_path, monkeypatch):
    makers.weather().to_netcdf(tmp_path / "a.nc")
    address = put(memory, tmp_path / "a.nc", "/box/a.nc")
    calls, plain = [], MemoryFileSystem.get_file

    def failing(self, *args, **kwargs):
        calls.append(1)
        if len(calls) < allowed:
            raise ConnectionResetError("reset by peer, token=abc")
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "get_file", failing)
    allowed = 10**9
    with pytest.raises(DataError, match=r"memory://box/a.nc|memory:///box/a.nc") as caught:
        reader.read(address, Weather(), Part())
    assert len(calls) == remote.TRIES and f"after {remote.TRIES} tries" in str(caught.value)
    assert "token" not in str(caught.value)
    assert not [p for p in (tmp_path / "cache" / "remote").iterdir()]
    calls.clear()
    allowed = remote.TRIES
    assert reader.read(address, Weather(), Part()).values.shape == (1, 8, 1, 7, 9)


@pytest.mark.parametrize("version", [2, 3])
def test_chunks_of_a_store_are_tried_again_and_read_once(version, memory, tmp_path, monkeypatch):
    ds = makers.weather()
    ds.to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
    address = put(memory, tmp_path / "a.zarr", "/box/a.zarr")
    calls, plain = [], MemoryFileSystem.cat_file

    def failing(self, path, *args, **kwargs):
        calls.append(path)
        if len(calls) in failures:
            raise ConnectionResetError("reset by peer, token=abc")
        return plain(self, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing)
    failures = (2, 3)  # twice in a row, then never again
    wanted = reader.read(str(tmp_path / "a.zarr"), Weather(), Part()).digest
    assert reader.read(address, Weather(), Part()).digest == wanted
    first = len(calls)
    assert reader.read(address, Weather(), Part()).digest == wanted
    again = [path.rpartition("/")[2] for path in calls[first:]]
    assert not [name for name in again if not name.startswith((".z", "zarr.json"))]
    failures = range(10**6)
    memory.rm("/box/a.zarr", recursive=True)
    put(memory, tmp_path / "a.zarr", "/box/a.zarr")  # a newer version
    calls.clear()
    with pytest.raises(DataError, match=rf"box/a.zarr: .*after {remote.TRIES} tries") as caught:
        reader.read(address, Weather(), Part())
    assert "token" not in str(caught.value)


def test_nothing_there_is_told_without_trying_again(memory):
    with pytest.raises(DataError, match="there is nothing"):
        reader.read("memory://box/no.nc", Weather(), Part())


@pytest.mark.parametrize(
    "text",
    [
        "reference://x.json", "simplecache::file:///etc/passwd", "github://a:b@c/d", "ftp://a/b.nc",
        "blockcache::s3://a", "tar://a.nc::s3://b", "sftp://host/a", "zip://a.nc::memory://b.zip",
    ],
)  # fmt: skip
def test_other_protocols_and_chains_are_refused_by_name(text):
    with pytest.raises(DataError, match="not allowed|chained"):
        load_entry(text)


def test_no_secret_is_ever_shown():
    for text in (
        "https://me:hunter2@host/a.nc?sig=hunter2",
        "weird://hunter2@host/a?token=hunter2",
        "s3::https://a:hunter2@b/c#hunter2",
    ):
        with pytest.raises(DataError) as caught:
            load_entry(text)
        assert "hunter2" not in str(caught.value)
    entry = Entry(name="a", source=Source(path="https://host/a.nc?sig=hunter2"))
    assert entry.location == "https://host/a.nc"
    assert addresses.shown("https://host/a b.nc?x#y") == "https://host/a b.nc"
    assert not addresses.is_address("/a/b:c.nc") and not addresses.is_address("C:/a.nc")


def test_a_local_address_is_a_path(tmp_path):
    makers.weather().to_netcdf(tmp_path / "a.nc")
    found = reader.read(f"file://{tmp_path}/a.nc", Weather(), Part())
    assert np.isfinite(found.values).all()

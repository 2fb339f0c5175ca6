"""Data that stays on disk: the numbers of memory, whatever reads it; damage told by time."""

import logging
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source, Variable, load_entry
from diffsci.data.checks import preflight
from diffsci.data.checks.leaks import assert_no_leak
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.data.examples.cases import cases_given
from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from diffsci.data.prepared.blocks import Plan
from diffsci.data.prepared.holding import held
from diffsci.data.prepared.preparing import prepare
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.errors import DataError
from diffsci.sections import Part
from tests.data import makers


def levels():
    """Two variables, one of them on levels."""
    ds = makers.weather(times=20)
    z = xr.concat([ds["t2m"] * k for k in (1, 3, 2)], dim="level").transpose("time", "level", ...)
    z = z.assign_coords(level=("level", [850, 500, 250], {"units": "hPa"}))
    return ds.assign(z=z.assign_attrs(units="m"))


def colours():
    """RGB images with a class each."""
    ds = makers.images()
    ink = xr.concat([ds["ink"] * k for k in (1, 2, 3)], dim="channel").transpose("sample", ...)
    return ds.assign(ink=ink.transpose("sample", "y", "x", "channel"))


KINDS = {
    "weather": (Weather(), levels, Part(time=("2001-01-01T12", "2001-01-04")), Forecast(history=2)),
    "pde": (Pde(), makers.pde, Part(samples=(1, 4), time=(0.2, 1.0)), Forecast()),
    "image": (Image(), colours, Part(samples=(1, 5)), Generate()),
}


def stored_as(way, ds, domain, folder, part=None):
    """The entry of the same data, in a file, a store as xarray writes it, or a prepared one."""
    entry = Entry(name="a", source=Source(path=str(folder / "a.nc")))
    if way == "zarr":
        ds.to_zarr(folder / "a.zarr", consolidated=False)
        return Entry(name="a", source=Source(path=str(folder / "a.zarr")))
    ds.to_netcdf(folder / "a.nc")
    if way == "file":
        return entry
    made = Plan(entry=entry, domain=domain, target=folder / "b.zarr", train=part, memory=9000)
    return Entry(name="a", source=Source(path=str(prepare(made))))


@pytest.fixture(params=[(k, w) for k in KINDS for w in ("file", "zarr", "prepared")], ids="-".join)
def both(request, tmp_path):
    """One part in memory and on disk, with the task that it is for."""
    kind, way = request.param
    domain, make, part, task = KINDS[kind]
    entry = stored_as(way, make(), domain, tmp_path, part)
    return held(entry, domain, part), held(entry, domain, part, memory=0), task, domain


def test_all_that_is_known_of_the_fields_is_the_same(both):
    memory, disk, _, _ = both
    assert disk.on_disk and not memory.on_disk
    assert disk.digest == memory.digest and disk.channels == memory.channels
    assert disk.grid == memory.grid and disk.time_unit == memory.time_unit
    for name in ("times", "trajectories", "breaks", "scalars"):
        assert np.array_equal(getattr(disk, name), getattr(memory, name)), name
    assert np.array_equal(pickle.loads(pickle.dumps(disk)).values[:], memory.values)


def test_an_index_gives_what_it_gives_of_an_array(both):
    memory, disk, _, _ = both
    values, other = memory.values, disk.values
    row, time = len(values) - 1, values.shape[1] - 1
    rows, times = np.array([[0], [row], [0]]), np.array([[0, time], [time, 0], [0, 0]])
    for key in (
        0, (row, time), (slice(None), [time]), (rows, times), ([True] * len(values), time), -1,
        (Ellipsis, 0), (slice(None), slice(None), 0), (0, slice(None, None, -1)),
        (np.zeros((0, 1), int), np.zeros((0, 1), int)),
    ):  # fmt: skip
        assert np.array_equal(other[key], values[key]), key
    flat = values.reshape(-1, *values.shape[2:])
    assert np.array_equal(other.reshape(-1, *other.shape[2:])[[2, 0, 2]], flat[[2, 0, 2]])
    assert np.allclose(other.mean(axis=(0, 1), dtype=np.float64), values.mean(axis=(0, 1)))
    assert np.array_equal(np.asarray(other), values) and other.nbytes == values.nbytes


def test_training_has_the_same_bits(both):
    memory, disk, task, domain = both
    found, batches = [], []
    for fields in (memory, disk):
        statistics = fit_statistics(fields, task)
        examples = Examples(fields, task, statistics)
        index = np.arange(len(examples))[::-1].copy()
        batch, evaluation = examples.batch(index), cases_given(fields, task, domain, statistics)
        batches.append((batch.target, batch.condition, batch.scalars, evaluation.given))
        found.append((statistics.state_std, statistics.target_std, evaluation.truth.read()))
    for one, two in zip(*found, strict=True):
        assert np.array_equal(one, two)
    for one, two in zip(*batches, strict=True):
        assert (one is None and two is None) or torch.equal(one, two)
    with pytest.raises(DataError, match="bit for bit"):
        assert_no_leak(disk, memory)


@pytest.mark.parametrize("missing", ["static", "moving"])
@pytest.mark.parametrize("way", ["file", "prepared"])
def test_gaps_are_those_of_memory(missing, way, tmp_path):
    ds = makers.weather(times=20)
    ds["t2m"][:, :2, :3] = np.nan
    if missing == "moving":
        ds["t2m"][4, 5, 6] = np.nan
    ds["t2m"].attrs["missing"] = missing
    entry, part = stored_as(way, ds, Weather(), tmp_path), Part()
    memory, disk = held(entry, Weather(), part), held(entry, Weather(), part, memory=0)
    assert np.array_equal(disk.seen, memory.seen)
    shape = memory.there.shape
    assert np.array_equal(np.broadcast_to(disk.there, shape), memory.there)
    filled = disk.filled(np.array([280.0])).values[:]
    assert np.array_equal(filled, memory.filled(np.array([280.0])).values)
    statistics = fit_statistics(memory, Downscale(factor=2))
    index = np.array([4, 0, 19])
    one, two = (Examples(f, Downscale(factor=2), statistics).batch(index) for f in (memory, disk))
    assert torch.equal(one.mask, two.mask) and torch.equal(one.target, two.target)


def test_statistics_of_a_preparation_are_taken_where_they_are_of_the_part(tmp_path, caplog):
    domain, make, part, task = KINDS["weather"]
    entry = stored_as("prepared", make(), domain, tmp_path, part)
    with caplog.at_level(logging.INFO, logger="diffsci"):
        found = held(entry, domain, part)
    assert "are those that `diffsci prepare` took" in caplog.text
    exact = found.values.astype(np.float64)
    mean, std = found.measured
    assert [c.name for c in found.channels] == ["t2m", "z@250", "z@500", "z@850"]
    assert np.allclose(mean, exact.mean(axis=(0, 1, 3, 4)), rtol=1e-13)
    assert np.allclose(std, exact.std(axis=(0, 1, 3, 4)), rtol=1e-12)
    assert np.array_equal(fit_statistics(found, task).state_std, std)
    assert held(entry, domain, replace(part, time=None)).measured is None
    declared = replace(entry, variables={"t2m": Variable(units="degC")})
    assert held(declared, domain, part).measured is None


def test_the_choice_says_why(tmp_path, caplog):
    for way, words in (
        ("file", "stay on disk, more than memory allows; read by labelled; a store made by"),
        ("prepared", "stay on disk, more than memory allows; read by shards"),
    ):
        (tmp_path / way).mkdir()
        entry = stored_as(way, makers.weather(), Weather(), tmp_path / way)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="diffsci"):
            held(entry, Weather(), Part(), memory=0)
        assert words in caplog.text


def test_an_undeclared_nan_is_told_before_training_and_a_later_one_by_its_time(tmp_path):
    ds = makers.weather(times=20)
    entry = stored_as("zarr", ds, Weather(), tmp_path)
    found = held(entry, Weather(), Part(), memory=0)
    later = makers.weather(times=20)
    later["t2m"][13, 2, 1] = np.nan
    later.to_zarr(tmp_path / "a.zarr", mode="w", consolidated=False)
    with pytest.raises(DataError, match="a.zarr: variable t2m at time=2001-01-04T06:00:00: 1 val"):
        found.values[0, 12:15]
    with pytest.raises(DataError, match=r"a.zarr: variable t2m: 1 of 1260 values.*2001-01-04T06"):
        held(entry, Weather(), Part(), memory=0)
    (same,) = preflight.check_entry(str(tmp_path / "a.zarr"), Weather())
    with pytest.raises(DataError) as told:  # in memory, and in the words of a check
        held(load_entry(str(tmp_path / "a.zarr")), Weather(), Part())
    assert str(told.value) == str(same)


@pytest.mark.parametrize("way", ["zarr", "prepared"])
def test_a_damaged_chunk_is_told_by_file_variable_and_time(way, tmp_path):
    entry = stored_as(way, makers.pde(), Pde(), tmp_path)
    part = Part(samples=(1, 4))
    found = held(entry, Pde(), part, memory=0)
    store = tmp_path / ("a.zarr" if way == "zarr" else "b.zarr")
    for path in (store / "u" / "c").rglob("*"):
        if path.is_file():
            whole = bytearray(path.read_bytes())
            whole[4] ^= 255
            whole[len(whole) // 2 :] = bytes(len(whole) - len(whole) // 2)
            path.write_bytes(whole)
    with pytest.raises(DataError, match=r"\.zarr: variable u at sample=2, time=0.4: .*; "):
        found.values[[1, 1], [2, 3]]


def test_variables_of_a_store_come_in_one_order(tmp_path):
    ds = makers.weather()
    ds = ds.assign({name: ds["t2m"] for name in ("z", "b", "y", "a")}).drop_vars("t2m")
    listed = stored_as("zarr", ds, Weather(), tmp_path)
    assert list(reader.open_raw(listed).data_vars) == ["a", "b", "y", "z"]
    prepared = stored_as("prepared", ds, Weather(), tmp_path)
    assert list(reader.open_raw(prepared).data_vars) == ["z", "b", "y", "a"]


def test_what_python_hands_over_is_in_memory(tmp_path):
    entry = Entry(name="a", source=Source(data=makers.weather()))
    assert not held(entry, Weather(), Part(), memory=0).on_disk
    assert held(entry, Weather(), Part()).digest == reader.read(entry, Weather(), Part()).digest

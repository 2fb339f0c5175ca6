"""Preparing: the same tensors out of a store, whatever the workers; stopped, it goes on."""

import json
import math
import os
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
import zarr

from diffsci import checking
from diffsci.data import reader
from diffsci.data.catalog import Entry, Source, Variable
from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.data.prepared import preparing
from diffsci.data.prepared.blocks import Plan
from diffsci.data.prepared.preparing import prepare
from diffsci.data.sums import Sums
from diffsci.errors import DataError, StorageError
from diffsci.sections import Part
from tests.data import makers

MADE = [
    (Weather(), lambda: makers.weather(times=20)),
    (Pde(), makers.pde),
    (Image(), makers.images),
]


def plan(folder, ds, domain, **more):
    ds.to_netcdf(folder / "a.nc")
    entry = Entry(name="a", source=Source(path=str(folder / "a.nc")))
    return Plan(**({"entry": entry, "domain": domain, "target": folder / "a.zarr"} | more))


@pytest.mark.parametrize(("domain", "make"), MADE)
@pytest.mark.parametrize("memory", [1, 5000, 2**30])
def test_the_prepared_store_gives_the_tensors_of_the_source(domain, make, memory, tmp_path):
    asked = plan(tmp_path, make(), domain, memory=memory)
    wanted = reader.read(asked.entry, domain, Part())
    found = reader.read(str(prepare(asked)), domain, Part())
    assert np.array_equal(found.values, wanted.values) and found.grid == wanted.grid
    assert found.digest == wanted.digest and found.scalar_names == wanted.scalar_names
    assert not list(tmp_path.glob(".*"))


def test_units_are_converted_and_gaps_kept(tmp_path):
    ds = makers.weather()
    ds["t2m"] = (ds["t2m"] - 273.15).assign_attrs(units="degC")
    ds["t2m"][:, :2] = -99.0
    told = Variable(units="K", missing="static", fill=-99.0)
    asked = plan(tmp_path, ds, Weather())
    entry = Entry(name="a", source=asked.entry.source, variables={"t2m": told})
    asked = Plan(entry=entry, domain=Weather(), target=tmp_path / "a.zarr")
    wanted = reader.read(entry, Weather(), Part())
    found = reader.read(str(prepare(asked)), Weather(), Part())
    assert np.array_equal(found.values, wanted.values, equal_nan=True)
    assert found.channels == wanted.channels


def test_statistics_are_those_of_the_training_part(tmp_path):
    ds = makers.weather(times=20)
    train = Part(time=("2001-01-01", "2001-01-03"))
    store = prepare(plan(tmp_path, ds, Weather(), train=train, memory=3000))
    told = zarr.open_group(store, mode="r").attrs["statistics"]["t2m"]
    exact = ds["t2m"].sel(time=slice("2001-01-01", "2001-01-03")).values.astype("f8")
    assert told["count"] == exact.size and told["min"] == exact.min()
    assert np.isclose(told["mean"], exact.mean(), rtol=1e-14)
    assert np.isclose(told["std"], exact.std(), rtol=1e-12)


def test_statistics_of_some_samples(tmp_path):
    makers.pde().to_netcdf(tmp_path / "a.nc")
    options = checking.Preparing(out=tmp_path / "a.zarr", domain="pde", samples=(1, 4))
    store = checking.prepare(str(tmp_path / "a.nc"), options)
    told = dict(zarr.open_group(store, mode="r").attrs)
    exact = makers.pde()["u"].values[1:4].astype("f8")
    assert told["statistics_rows"] == {"sample": [1, 4], "time": [0, 6]}
    assert np.isclose(told["statistics"]["u"]["std"], exact.std(), rtol=1e-12)
    with pytest.raises(DataError, match=r"samples \[2, 9\] are not all there"):
        out = tmp_path / "b.zarr"
        options = checking.Preparing(out=out, domain="pde", samples=(2, 9))
        checking.prepare(str(tmp_path / "a.nc"), options)


@pytest.mark.parametrize("pieces", [1, 4, 37])
def test_a_small_spread_about_a_large_mean_costs_no_digits(pieces):
    values = (101325 + np.random.default_rng(0).uniform(0, 10, 200_000)).astype("f4")
    merged = Sums.merged([Sums.of(part) for part in np.array_split(values, pieces)])
    exact = values.astype(np.longdouble)
    assert abs(merged.statistics()["std"] / float(exact.std()) - 1) < 1e-9
    assert abs(merged.mean / float(exact.mean()) - 1) < 1e-14


def test_sums_of_fields_do_not_depend_on_their_order_or_on_blocks():
    """To the last bit, of numbers from 1e-30 to 1e30."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 300)) * 10.0 ** rng.uniform(-30, 30, size=(40, 1))
    fields = [Sums.of(each) for each in values]
    whole = Sums.merged(fields)
    order = rng.permutation(40)
    again = Sums.merged([Sums.merged([fields[i] for i in part]) for part in np.split(order, 8)])
    assert again == whole
    assert Sums(**json.loads(json.dumps(again.to_dict()))) == whole
    exact = [Fraction(x) for x in values.flatten()]
    mean = sum(exact) / len(exact)
    variance = sum((x - mean) ** 2 for x in exact) / len(exact)
    # Each field's own sums are rounded, once: a few units in the last place of the largest.
    assert whole.mean == pytest.approx(float(mean), rel=1e-13)
    assert whole.std == pytest.approx(math.sqrt(variance), rel=1e-13)


@pytest.mark.parametrize("memory", [700, 3000, 50_000])
def test_statistics_do_not_depend_on_memory(tmp_path, memory):
    ds = makers.weather(times=20)
    told = [
        dict(zarr.open_group(prepare(plan(tmp_path, ds, Weather(), **options)), mode="r").attrs)
        for options in ({}, {"memory": memory, "target": tmp_path / "b.zarr"})
    ]
    assert told[0]["statistics"] == told[1]["statistics"]


def test_several_workers_write_the_same_bytes(tmp_path):
    ds = makers.weather(times=12)
    one = prepare(plan(tmp_path, ds, Weather(), memory=3000))
    two = prepare(plan(tmp_path, ds, Weather(), memory=6000, workers=2, target=tmp_path / "b.zarr"))

    def bytes_of(store):
        files = sorted(p for p in store.rglob("*") if p.is_file())
        return {str(p.relative_to(store)): p.read_bytes() for p in files}

    assert bytes_of(one) == bytes_of(two)


def test_a_field_is_a_chunk_with_a_checksum_and_damage_is_told(tmp_path):
    store = prepare(plan(tmp_path, makers.weather(), Weather()))
    array = zarr.open_array(store / "t2m", mode="r")
    assert array.chunks == (1, 7, 9) and array.shards == (8, 7, 9)
    (shard,) = [p for p in (store / "t2m" / "c").rglob("*") if p.is_file()]
    whole = bytearray(shard.read_bytes())
    random = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[int(random.integers(len(whole)))] ^= 1 << int(random.integers(8))
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match="a.zarr"):
            reader.read(str(store), Weather(), Part())


def test_what_a_check_refuses_is_not_prepared(tmp_path):
    ds = makers.weather(times=20)
    ds["t2m"][13, 2, 1] = np.nan
    with pytest.raises(DataError, match=r"variable t2m: 1 of 1260 values.*2001-01-04T06"):
        prepare(plan(tmp_path, ds, Weather(), memory=3000))
    assert not (tmp_path / "a.zarr").exists() and not list(tmp_path.glob(".*"))
    with pytest.raises(DataError, match="times go back"):
        prepare(plan(tmp_path, makers.weather().isel(time=[0, 2, 1]), Weather()))


def test_stopped_it_goes_on_and_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    asked = plan(tmp_path, makers.weather(times=20), Weather(), memory=1)
    plain, written = preparing.write_block, []

    def counted(*arguments):
        written.append(arguments[2].number)
        if len(written) == 8:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(preparing, "write_block", counted)
    with pytest.raises(KeyboardInterrupt):
        prepare(asked)
    assert not asked.target.exists()
    store = prepare(asked)
    assert sorted(written) == sorted([*range(20), 7]) and len(set(written)) == 20
    found = reader.read(str(store), Weather(), Part())
    assert found.digest == reader.read(asked.entry, Weather(), Part()).digest
    written.clear()
    assert prepare(asked) == store and written == []


def test_blocks_that_an_older_version_noted_otherwise_are_done_again(tmp_path, monkeypatch):
    asked = plan(tmp_path, makers.weather(times=6), Weather(), memory=1)
    plain, older = preparing.write_block, {"count": 1, "mean": 0.0, "squares": 0.0}

    class Older(Sums):
        def to_dict(self):
            return older

    def stopped(*arguments):
        if arguments[2].number == 3:
            raise KeyboardInterrupt
        return plain(*arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(preparing, "write_block", stopped)
        patched.setattr(preparing, "Sums", Older)
        patched.setattr("diffsci.data.prepared.blocks.Sums.to_dict", lambda _: older)
        prepare(asked)
    assert list(tmp_path.glob(".a.zarr.partial/*/0.json"))
    prepare(asked)
    again = prepare(
        plan(tmp_path, makers.weather(times=6), Weather(), memory=1, target=tmp_path / "b.zarr")
    )
    told = [zarr.open_group(each).attrs["statistics"] for each in (asked.target, again)]
    assert told[0] == told[1]


def test_something_else_in_its_place_is_left_alone(tmp_path):
    asked = plan(tmp_path, makers.weather(), Weather())
    makers.weather().to_zarr(asked.target, consolidated=False)
    with pytest.raises(StorageError, match="a.zarr: is there, and no prepared store"):
        prepare(asked)


def test_the_command(tmp_path):
    makers.weather(times=20).to_netcdf(tmp_path / "a.nc")
    command = [sys.executable, "-m", "diffsci", "prepare", "a.nc", "--out", "b.zarr"]
    run = subprocess.run(
        [*command, "--workers", "2", "--train", "2001-01-01", "2001-01-02"],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("b.zarr")
    told = json.loads((tmp_path / "b.zarr" / "zarr.json").read_text())["attributes"]
    assert told["statistics"]["t2m"]["count"] == 8 * 63
    with xr.open_zarr(tmp_path / "b.zarr", consolidated=False) as ds:
        assert ds["t2m"].attrs["units"] == "K"


_ALONE = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from diffsci import checking
def loaded(names):
    return [name for name in names if name in sys.modules]
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    checking.prepare(str(folder / "a.nc"), checking.Preparing(out=folder / "a.zarr", workers=2))
    with ProcessPoolExecutor(1, get_context("forkserver")) as pool:
        there = pool.submit(loaded, ["torch", "h5py", "dask.array"]).result()
    print(json.dumps([loaded(["torch"]), there]))
"""


def test_files_are_prepared_without_torch(tmp_path):
    """It takes longer to import than 1 GiB to prepare; what workers need, their server imports."""
    makers.weather().to_netcdf(tmp_path / "a.nc")
    (tmp_path / "alone.py").write_text(_ALONE)
    command = [sys.executable, str(tmp_path / "alone.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=os.getcwd(),
                          env=os.environ | {"PYTHONPATH": os.getcwd()})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], ["h5py", "dask.array"]]


_KILLED = """
import sys, time
from multiprocessing import get_context
from pathlib import Path
from concurrent.futures import ProcessPoolExecutor
from diffsci.data.prepared import blocks
if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("forkserver"), blocks.begun, (None, None, ())) as pool:
        pool.submit(print, "", flush=True).result()
        print(*pool._processes, flush=True)
        time.sleep(600)
"""


def test_workers_end_with_a_command_that_was_killed(tmp_path):
    """They would wait for work for good, and hold their memory."""
    (tmp_path / "killed.py").write_text(_KILLED)
    command = subprocess.Popen([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE)
    with command:
        lines = (line.split() for line in command.stdout)
        worker = int(next(words for words in lines if words)[0])
        os.kill(worker, 0)  # It is there.
        command.kill()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        os.kill(worker, 9)
        pytest.fail("the worker is still there")

"""Verification: every flip of a bit in a store is named, and a member is what it was."""

import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

from diffsci import cli, pipeline
from diffsci.errors import ConfigError, DataError, NumericsError, StorageError
from diffsci.forecasting.store.checksums import damages
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place
from diffsci.running.changes import Change
from diffsci.sections import Storing
from diffsci.stages.ensembles import growing
from tests import tiny_runs
from tests.forecasting import makers
from tests.forecasting.test_failing import flipped
from tests.stages.ensembles import test_sampling as stores


def chunks(store):
    """Every chunk of every array."""
    files = [path for path in sorted(store.rglob("*")) if path.is_file()]
    return [path for path in files if not path.name.startswith((".z", "zarr.json"))]


def flips(store, count, seed=0):
    """Turn single bits over, one after the other; which were told, and how."""
    random, place = np.random.default_rng(seed), Place.of(store)
    ledger, told = Ledger.read(place), []
    every = chunks(store)
    for _ in range(count):
        chunk = every[random.integers(len(every))]
        whole = chunk.read_bytes()
        chunk.write_bytes(flipped(whole, int(random.integers(len(whole))), int(random.integers(8))))
        told.append((str(chunk.relative_to(store)), [str(each) for each in damages(place, ledger)]))
        chunk.write_bytes(whole)
    return told


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_every_flip_is_told_with_store_variable_time_and_members(tmp_path, count):
    store = tmp_path / "f.zarr"
    stores.downscaled(store)
    for chunk, told in flips(store, count):
        assert len(told) == 1, (chunk, told)
        variable = chunk.split("/")[0]
        assert told[0].startswith(f"{store}: {variable}, chunk {chunk} (")
        if variable == "2m_temperature":
            assert "(time 2020-01-01T00:00:00 to 2020-01-02T06:00:00, member 0 to 3," in told[0]


def test_in_format_2_no_flip_changes_a_value_unseen(tmp_path):
    """There is no checksum of the frame's own head: what is not told must read the same."""
    store = tmp_path / "f.zarr"
    stores.downscaled(store, storing=Storing(format=2))
    with xr.open_zarr(store, chunks=None) as whole:
        whole.load()
    random, every, unseen = np.random.default_rng(0), chunks(store), 0
    for _ in range(20):
        chunk = every[random.integers(len(every))]
        content = chunk.read_bytes()
        chunk.write_bytes(flipped(content, int(random.integers(len(content)))))
        if not list(damages(Place.of(store))):
            unseen += 1
            with xr.open_zarr(store, chunks=None) as found:
                xr.testing.assert_identical(found.load(), whole)
        chunk.write_bytes(content)
    assert unseen <= 2


def test_a_chunk_that_is_missing_or_cut_is_told(tmp_path):
    store = tmp_path / "f.zarr"
    stores.downscaled(store)
    chunk = next(path for path in chunks(store) if "2m_temperature" in str(path))
    whole = chunk.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", None):
        if content is None:
            chunk.unlink()
        else:
            chunk.write_bytes(content)
        (told,) = damages(Place.of(store))
        assert told.why.startswith("is missing" if content is None else "is damaged (")
        # Without a ledger cases are counted.
        assert told.where.startswith("time 0 to 5, member 0 to 3")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    file = tiny_runs.make(folder, "weather")
    return tiny_runs.run(
        file, "train.steps=2", "sample.cases=4", "evaluate=null", out=folder / "run"
    )


def test_a_whole_store_comes_out_the_same(run, tmp_path):
    told = pipeline.verify(run, members=[2, 0])
    assert re.search(r"\d+ chunks .* are whole, and member 0, 2 of 2000-01-05T00:00:00 comes", told)
    settings = ("sample.store.precision=bits:7", "sample.store.accuracy.msl=1.0")
    store = tmp_path / "f.zarr"
    pipeline.sample(run, 2, 5, store, (*settings, "sample.leads=3"))
    keys = list(Ledger.read(Place.of(store)).cases)
    more = ("sample.seed=5", "sample.leads=3", *settings)
    pipeline.verify(run, store, [1], keys[-1:], more)


def test_a_store_that_has_more_leads_than_the_run_now_asks_for(run, tmp_path):
    store = tmp_path / "f.zarr"
    pipeline.sample(run, out=store, overrides=("sample.leads=5",))
    assert "comes out the same" in pipeline.verify(run, store)


def test_what_was_changed_is_told(run, tmp_path):
    """Written by a tool that knows the format: the checksums fit, the values do not."""
    store = tmp_path / "f.zarr"
    pipeline.sample(run, out=store)
    array = zarr.open_array(store / "t2m", mode="r+")
    array[0, 1, 1, 4, 4] += np.float32(1e-3)
    pipeline.verify(run, store)
    told = r"t2m of case 2000-01-05T00:00:00, member 1, step 2: 1 of 117"
    with pytest.raises(NumericsError, match=told):
        pipeline.verify(run, store, [1])


def test_the_command_has_its_exit_codes(run, tmp_path):
    def call(*arguments):
        return CliRunner().invoke(cli.main, ["verify", str(run), *map(str, arguments)])

    store = tmp_path / "f.zarr"
    pipeline.sample(run, out=store)
    assert call("--store", store).exit_code == 0
    for arguments, code, told in (
        (("--member", 3), 2, "--member 3: the store has 3, 0 to 2"),
        (("--case", "2000"), 2, "--case 2000: the store has none of that name; it has 2000-01-05"),
        (("--store", tmp_path / "no.zarr"), 5, "no such store"),
        (("--store", run / "truth.zarr"), 5, "has no ledger"),
        (("--store", store, "sample.seed=1"), 0, "comes out the same"),
        (("--store", store, "sample.compute_batch=2"), 0, "whole; no member was computed again"),
        (("--store", store, "--member", 1, "sample.compute_batch=2"), 5, "compute_batch: 4 -> 2"),
        (("train.steps=1",), 2, "only sample"),
    ):
        found = call(*arguments)
        assert (found.exit_code, told in found.output) == (code, True), found.output
    two = [path for path in chunks(store) if "msl" in str(path) or "t2m" in str(path)]
    for chunk in two:
        chunk.write_bytes(flipped(chunk.read_bytes(), 3))
    found = call("--store", store)
    assert found.exit_code == 5
    assert found.output.count("is damaged (") == len(two)
    assert "member 0 to 2" in found.output


def test_settings_that_the_store_was_made_with_are_told_and_then_taken(run, tmp_path):
    """As after `diffsci tune`: whole by checksums, and the message's own words compute again."""
    store = tmp_path / "f.zarr"
    made = ("sample.sampler={use: heun, steps: 3}", "sample.store.format=2")
    pipeline.sample(run, 1, 0, store, made)
    told = pipeline.verify(run, store)
    assert "chunks" in told and "are whole; no member was computed again" in told
    with pytest.raises(StorageError, match="no member can be compared") as refused:
        pipeline.verify(run, store, [0])
    assert len(str(refused.value)) < 500
    given = shlex.split(str(refused.value).partition("; to compute a member again, give ")[2])
    assert given == list(made)
    assert "comes out the same" in pipeline.verify(run, store, [0], overrides=tuple(given))
    with pytest.raises(StorageError, match="heun, steps: 3}' sample.store.format=2 to add to it"):
        pipeline.sample(run, 2, 0, store)
    with pytest.raises(StorageError, match=r"\(sampler.steps: 3 -> 4\), .*give 'sample.s"):
        pipeline.sample(run, 2, 0, store, ("sample.sampler={use: heun, steps: 4}", made[1]))


def test_that_tune_chose_another_sampler_is_told():
    model = makers.downscaling(steps=1)
    tuned = replace(model, provenance={"diffsci_tuned": "the fewest calls"})
    found = [Change(key="sampler", old="DDIM(steps=1)", new="DDIM(steps=2)")]
    assert "`diffsci tune` chose another sampler" in growing.told_of_tuning(tuned, found)
    assert growing.told_of_tuning(model, found) == growing.told_of_tuning(tuned, []) == ""


def test_cases_that_the_data_has_no_more(run, tmp_path):
    with pytest.raises(DataError, match="its case 2000-01-05T00:00:00 is not in the test part"):
        pipeline.verify(run, overrides=("data.split.test.time=[2000-01-05T06,2000-01-06T18]",))


def test_nothing_is_written(run):
    before = tiny_runs.tree(run)
    pipeline.verify(run)
    with pytest.raises(ConfigError):
        pipeline.verify(run, members=[99])
    assert tiny_runs.tree(run) == before

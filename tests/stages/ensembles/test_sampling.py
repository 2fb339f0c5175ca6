"""The sampling stage: stores that grow to what asking for all at once gives, byte for byte."""

import os
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from diffsci import config, families
from diffsci.data.examples import truth
from diffsci.data.examples.cases import cases_given
from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.forecasting.given import Given
from diffsci.forecasting.store import disk
from diffsci.forecasting.store.disk import open_store
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.template import Template
from diffsci.networks.unet import UNet
from diffsci.running.locking import lock, lock_store
from diffsci.runtime import Device
from diffsci.sections import Storing
from diffsci.stages.ensembles import growing, sampling
from diffsci.stages.ensembles.resampling import resample
from tests import tiny_runs
from tests.forecasting import makers

SMALL = UNet(channels=(8,), blocks=1, groups=4, embedding=8)
CPU = Device(name="cpu", precision="fp32", threads=1)


def cases_of(model, fields, rows, leads=0):
    """The given frames of some windows; a forecast has one frame of history."""
    rows = np.array([[0, row] for row in rows])
    cases = model.pipeline.data.domain.cases(fields, rows, tuple(range(1, leads + 1)))
    known = torch.from_numpy(model.statistics.encode(fields.values[0, rows[:, 1]]))
    task = model.pipeline.data.task
    return Given(cases=cases, known=task.observe(known[:, None], model.grid), scalars=None)


def downscaled(store, cases=range(6), members=4, batch=64, seed=0, **more):
    """An ensemble of a model of random weights; the number of rows that went through it."""
    model = makers.downscaling(members=members, steps=1, network=SMALL)
    storing = more.pop("storing", Storing())
    model = replace(
        model,
        pipeline=replace(model.pipeline, sample=replace(model.pipeline.sample, store=storing)),
    )
    given = cases_of(model, makers.weather_fields(), cases)
    return written(model, given, store, members, batch, seed, **more)


def forecast(store, cases=range(3), members=4, leads=3, batch=64, seed=0, **more):
    model = makers.forecasting(members=members, leads=leads, steps=1, network=SMALL)
    given = cases_of(model, makers.ring_fields(), cases, leads)
    return written(model, given, store, members, batch, seed, **more)


def written(model, given, store, members, batch, seed, **more):
    engine, rows = model.engine(CPU), Counter()
    hook = engine.denoiser.register_forward_pre_hook(
        lambda _, given: rows.update({len(given[0]): 1})
    )
    try:
        hands = more.pop("hands", None)
        wanted = growing.Wanted(members=members, seed=seed, batch=batch, **more)
        sampling.write_ensemble(model, engine, given, wanted, store, hands)
    finally:
        hook.remove()
    return {size: calls / engine.calls for size, calls in rows.items()}


@pytest.mark.parametrize(("members", "batch"), [(1, 1), (2, 1), (3, 6), (5, 64)])
def test_no_batch_but_the_last_is_filled_up_and_the_bits_stay(tmp_path, members, batch):
    """6 cases, 4 rows at once: as many batches as rows need, however small the units are."""
    batches = downscaled(tmp_path / "f.zarr", members=members, batch=batch)
    assert batches == {4: -(-6 * members // 4)}
    model = makers.downscaling(members=members, steps=1, network=SMALL)
    given = cases_of(model, makers.weather_fields(), range(6))
    alone = model.values(model.engine(CPU), given, range(members), 0)
    with open_store(tmp_path / "f.zarr") as stored:
        found = model.pipeline.data.domain.unlabel(stored, model.channels, model.grid)
    np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_stores_do_not_depend_on_the_batch(tmp_path, batch):
    forecast(tmp_path / "a.zarr", leads=5, batch=64)
    forecast(tmp_path / "b.zarr", leads=5, batch=batch)
    assert tiny_runs.tree(tmp_path / "a.zarr") == tiny_runs.tree(tmp_path / "b.zarr")


STEPS = {
    "members": [{"members": 2}, {"members": 5}],
    "members one by one": [{"members": 1}, {"members": 2}, {"members": 3}, {"members": 5}],
    "cases after": [{"cases": range(2)}, {"cases": range(6)}],
    "cases between": [{"cases": [1, 4]}, {"cases": [0, 1, 2, 4]}, {"cases": range(6)}],
    "both": [{"cases": [2, 3], "members": 2}, {"cases": range(6), "members": 5}],
    "fewer are asked for": [{}, {"members": 2}],
}


@pytest.mark.parametrize("name", STEPS)
def test_a_store_that_grew_is_the_one_that_was_asked_for_at_once(tmp_path, name):
    """And computes what it lacks alone."""
    whole = {"cases": range(6), "members": 5}
    downscaled(tmp_path / "whole.zarr", **whole)
    rows = 0
    for batch, step in enumerate(STEPS[name], start=1):
        batches = downscaled(tmp_path / "grown.zarr", **(whole | step), batch=batch)
        rows += sum(batches.values())
    assert tiny_runs.tree(tmp_path / "grown.zarr") == tiny_runs.tree(tmp_path / "whole.zarr")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    # 30 members in batches of 4, and each step may fill up the last batch of each of its two parts.
    assert rows <= 8 + 2 * len(STEPS[name])


@pytest.mark.parametrize("steps", [(1, 4), (3, 4)])
def test_leads_are_extended(tmp_path, steps):
    """From the start: what a store holds is not what a rollout goes on from."""
    forecast(tmp_path / "whole.zarr", leads=4)
    for leads in steps:
        forecast(tmp_path / "grown.zarr", leads=leads)
    assert tiny_runs.tree(tmp_path / "grown.zarr") == tiny_runs.tree(tmp_path / "whole.zarr")


def test_a_store_of_all_that_is_asked_for_is_left_as_it_is(tmp_path):
    downscaled(tmp_path / "f.zarr", members=3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "f.zarr").rglob("*")}
    assert downscaled(tmp_path / "f.zarr", members=3) == {}
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "f.zarr").rglob("*")}


def test_exactly_what_is_asked_for(tmp_path):
    """As `run` has it: fewer members and cases are taken from what is there."""
    downscaled(tmp_path / "few.zarr", cases=[1, 2], members=2)
    downscaled(tmp_path / "f.zarr", members=4)
    assert downscaled(tmp_path / "f.zarr", cases=[1, 2], members=2, exact=True) == {}
    assert tiny_runs.tree(tmp_path / "f.zarr") == tiny_runs.tree(tmp_path / "few.zarr")


def test_what_was_computed_for_less_is_used_for_more(tmp_path, monkeypatch):
    """Stopped on the way to 4 members, then asked for 5."""
    monkeypatch.setattr(growing.Growth, "finish", lambda self: None)
    downscaled(tmp_path / "f.zarr", members=4)
    monkeypatch.undo()
    assert not (tmp_path / "f.zarr").exists()
    batches = downscaled(tmp_path / "f.zarr", members=5)
    assert sum(batches.values()) == 2  # 6 cases of one member more
    downscaled(tmp_path / "whole.zarr", members=5)
    assert tiny_runs.tree(tmp_path / "f.zarr") == tiny_runs.tree(tmp_path / "whole.zarr")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, r"seed: 0 -> 1.*choose another name with --out"),
        ({"storing": Storing(precision="bits:7")}, "store.precision: 'float32' -> 'bits:7'"),
        (
            {"cases": range(3, 6)},
            "holds 3 cases that cannot be given now .the first is 2020-01-01T00.*data.split.test",
        ),
    ],
)
def test_a_store_of_something_else_is_refused_and_untouched(tmp_path, change, told):
    downscaled(tmp_path / "f.zarr", cases=range(3))
    before = tiny_runs.tree(tmp_path)
    with pytest.raises(StorageError, match=told):
        downscaled(tmp_path / "f.zarr", **({"cases": range(3)} | change))
    assert tiny_runs.tree(tmp_path) == before


def test_more_leads_than_the_starts_of_a_store_have_are_told(tmp_path):
    forecast(tmp_path / "f.zarr", cases=[0, 2], leads=2)
    told = (
        "holds 1 case that .*4 leads are asked for where it has 2, .*past the end of the test part"
    )
    with pytest.raises(StorageError, match=told):
        forecast(tmp_path / "f.zarr", cases=[0], leads=4)


def test_more_members_than_can_be_planned_are_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match=r"sample.members: 4,294,967,296 members .* GB"):
        forecast(tmp_path / "f.zarr", members=2**32)
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_another_model_and_of_other_data_is_refused(tmp_path):
    downscaled(tmp_path / "f.zarr", cases=range(3))
    model = makers.downscaling(steps=1, network=SMALL)
    given = cases_of(model, makers.weather_fields(seed=1), range(3))
    with pytest.raises(StorageError, match=r"known of 3 of its cases.*the first is 2020-01-01T00"):
        written(model, given, tmp_path / "f.zarr", 4, 64, 0)
    with torch.no_grad():
        next(model.denoiser.parameters()).add_(1)
    given = cases_of(model, makers.weather_fields(), range(3))
    with pytest.raises(StorageError, match=r"made from something else \(model: "):
        written(model, given, tmp_path / "f.zarr", 4, 64, 0)


def test_a_case_that_is_given_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="case 2020-01-01T06:00:00 is given twice"):
        downscaled(tmp_path / "f.zarr", cases=[0, 1, 1])


def test_a_store_that_others_made_is_refused(tmp_path):
    xr.Dataset({"x": ("t", np.zeros(3))}).to_zarr(tmp_path / "f.zarr", consolidated=False)
    before = tiny_runs.tree(tmp_path)
    with pytest.raises(StorageError, match="has no ledger, by which it could grow"):
        downscaled(tmp_path / "f.zarr")
    assert tiny_runs.tree(tmp_path) == before


def test_the_ledger_is_seen_by_nobody_who_does_not_look_for_it(tmp_path):
    downscaled(tmp_path / "f.zarr")
    for consolidated in (True, False):
        found = xr.open_zarr(tmp_path / "f.zarr", chunks=None, consolidated=consolidated)
        assert list(found.data_vars) == ["2m_temperature"]
    ledger = Ledger.read(Place.of(tmp_path / "f.zarr"))
    assert (ledger.members, ledger.leads, len(ledger.cases)) == (4, 1, 6)
    assert zarr.open_group(tmp_path / "f.zarr", path="ledger", mode="r").attrs["members"] == 4


WAYS = {
    "format 2": Storing(format=2),
    "float16": Storing(precision="float16"),
    "bits": Storing(precision="bits:9"),
    "packed": Storing(accuracy={"2m_temperature": 0.01}),
}
ERRORS = {"format 2": 0, "float16": 2.0**-11, "bits": 2.0**-10}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_storing_grows_to_the_same_bytes(tmp_path, way):
    """What is rounded or packed is carried over as it is stored; errors are as declared."""
    downscaled(tmp_path / "whole.zarr", members=5, storing=WAYS[way])
    downscaled(tmp_path / "grown.zarr", members=2, storing=WAYS[way])
    downscaled(tmp_path / "grown.zarr", members=5, storing=WAYS[way])
    assert tiny_runs.tree(tmp_path / "grown.zarr") == tiny_runs.tree(tmp_path / "whole.zarr")
    downscaled(tmp_path / "all.zarr", members=5)
    with open_store(tmp_path / "whole.zarr") as kept, open_store(tmp_path / "all.zarr") as full:
        exact = full["2m_temperature"].values.astype(np.float64)
        error = np.abs(kept["2m_temperature"].values.astype(np.float64) - exact)
    # Packed: as declared, and the last bit of a float32 of this size.
    allowed = 0.01 + 3e-5 if way == "packed" else ERRORS[way] * np.abs(exact)
    assert (error <= allowed).all()


@pytest.mark.parametrize("store", ["memory://grown/f.zarr", "f.zarr"])
def test_an_address_of_fsspec_holds_what_a_folder_holds(tmp_path, monkeypatch, store):
    """Objects have no names to be changed; the store is there when its root is."""
    monkeypatch.chdir(tmp_path)
    for members in (2, 3):
        downscaled(store, members=members)
    downscaled(tmp_path / "whole.zarr", members=3)
    place = Place.of(store)
    found = {name: place.read(name) for name in place.files()}
    whole = Place.of(tmp_path / "whole.zarr")
    assert found == {name: whole.read(name) for name in whole.files()}
    assert not [name for name in place.beside("").names() if name.startswith(".")]
    with open_store(store) as opened:
        assert opened.sizes["number"] == 3
    place.remove()


def test_chunks_go_by_the_largest_variable():
    """Two levels of one variable count twice, another variable does not; nothing else counts."""
    fields = makers.weather_fields()
    model = makers.surrogate(fields, "weather", families.load("tasks", "downscale")())
    cases = cases_of(model, fields, range(6)).cases

    def size(channels):
        made = replace(model, channels=channels)
        template = Template(model=made, cases=cases, members=3000, storing=Storing())
        return template.cases_in_chunk

    (one,) = model.channels
    two_levels = (replace(one, level=500.0), replace(one, level=850.0))
    # A case of 3000 members of 117 cells has 1.4 MB, and a chunk of several at most 4.
    assert size((one,)) == 2
    assert size((one, replace(one, variable="other"))) == 2
    assert size(two_levels) == 1


def test_large_chunks_are_split_along_levels_leads_and_space(tmp_path, monkeypatch):
    from diffsci.forecasting.store import disk as layout

    forecast(tmp_path / "one.zarr", leads=4)
    monkeypatch.setattr(layout, "MOST_BYTES", 100)
    forecast(tmp_path / "a.zarr", leads=4, members=2)
    forecast(tmp_path / "a.zarr", leads=4)
    forecast(tmp_path / "b.zarr", leads=4)
    assert tiny_runs.tree(tmp_path / "a.zarr") == tiny_runs.tree(tmp_path / "b.zarr")
    with open_store(tmp_path / "a.zarr") as found, open_store(tmp_path / "one.zarr") as one:
        assert found["u"].encoding["chunks"] == (3, 4, 1, 2)
        xr.testing.assert_identical(found.load(), one.load())


def test_truth_is_chunked_as_the_ensemble_is(tmp_path):
    folder = tiny_runs.run(
        tiny_runs.make(tmp_path, "weather"), "evaluate=null", out=tmp_path / "run"
    )
    with (
        xr.open_zarr(folder / "forecast.zarr", chunks=None) as forecast,
        xr.open_zarr(folder / "truth.zarr", chunks=None) as truth,
    ):
        assert forecast.t2m.encoding["chunks"] == (6, 3, 2, 9, 13)
        assert truth.t2m.encoding["chunks"] == (6, 2, 9, 13)


def test_a_store_elsewhere_is_locked_alone_and_one_in_a_run_folder_by_the_run(tmp_path):
    """Of two stores of a folder one may be made while the other is written."""
    file = tiny_runs.make(tmp_path, "pde")
    folder = tiny_runs.run(file, "evaluate=null", "train.steps=1", out=tmp_path / "run")
    loaded = config.load(folder / "model" / "config.yaml", ["sample.cases=1"])
    loaded = replace(loaded, roots=(*loaded.roots, tmp_path))
    out = tmp_path / "elsewhere"
    who = f"is being written by the run 'first', process {os.getpid()} on"
    with lock_store(out / "x.zarr", "first"):
        with pytest.raises(StorageError, match=rf"^{re.escape(str(out / 'x.zarr'))} {who}"):
            resample(loaded, folder, out / "x.zarr")
        resample(loaded, folder, out / "y.zarr")
    resample(loaded, folder, out / "x.zarr")
    assert sorted(path.name for path in out.iterdir()) == ["x.zarr", "y.zarr"]
    with lock(folder, "first"):
        with pytest.raises(StorageError, match=rf"^{re.escape(str(folder))} {who}.*diffsci status"):
            resample(loaded, folder, folder / "x.zarr")
        resample(loaded, folder, out / "x.zarr")
    resample(loaded, folder, None)
    assert not list(folder.glob(".*.zarr.lock"))
    for word in ("forecast", "truth"):
        with pytest.raises(StorageError, match="is the run's own; it grows by `diffsci run"):
            resample(loaded, folder, folder / f"{word}.zarr")


def test_an_address_is_looked_at_as_it_was_given(caplog):
    with pytest.raises(StorageError, match=r"^nonsense://bucket/f.zarr: cannot be reached"):
        sampling.only_writer(Place.of("nonsense://bucket/f.zarr"), "run")
    with sampling.only_writer(Place.of("memory://f.zarr"), "run"):
        assert caplog.messages == [
            "memory://f.zarr: lies in the memory of this process, and is gone when it ends"
        ]


def test_bounds_of_the_catalog_hold_in_the_store(tmp_path):
    """An entry that says that the waves lie within -0.2 and 0.2; without it they do not."""
    file = tiny_runs.make(tmp_path, "pde")
    (tmp_path / "data_catalog").mkdir()
    entry = tmp_path / "data_catalog" / "bounded.yaml"
    entry.write_text(
        f"source: {{path: {tmp_path / 'waves.zarr'}}}\n"
        "variables: {u: {units: '1', minimum: -0.2, maximum: 0.2}}\n"
    )
    file.write_text(file.read_text().replace("  source: waves.zarr\n", "  entry: bounded\n"))
    quick = ("evaluate=null", "train.steps=1", "sample.cases=2")
    folder = tiny_runs.run(file, *quick, out=tmp_path / "run")
    with open_store(folder / "forecast.zarr") as found:
        assert found.u.attrs["valid_max"] == np.float32(0.2)
        # Within, and at them up to the rounding of normalised float32.
        assert np.float32(0.2) - 1e-6 < float(found.u.max()) <= np.float32(0.2)
        assert np.float32(-0.2) <= float(found.u.min()) < np.float32(-0.2) + 1e-6
    entry.write_text(entry.read_text().replace("-0.2", "0.3"))
    with pytest.raises(
        DataError, match=r"variables\.u\.minimum: got 0\.3, expected less than 0\.2"
    ):
        tiny_runs.run(file, *quick, out=tmp_path / "other")


def test_what_is_held_does_not_grow_with_leads_or_members(tmp_path, monkeypatch):
    """The largest array that goes to the writer, with windows of a few kilobytes."""
    from diffsci.forecasting.store import units, work

    monkeypatch.setattr(units, "UNIT_BYTES", 2000)
    monkeypatch.setattr(units, "_ROWS_BYTES", 1000)
    real, sizes = work.Writing.write, []

    def write(self, first, values):
        sizes.append(values.nbytes)
        real(self, first, values)

    monkeypatch.setattr(work.Writing, "write", write)
    largest = []
    for number, (members, leads) in enumerate([(4, 8), (4, 32), (24, 8)]):
        sizes.clear()
        forecast(tmp_path / f"{number}.zarr", cases=[0], members=members, leads=leads, batch=16)
        largest.append(max(sizes))
    assert max(largest) <= 2000
    assert min(largest) > 1000  # and no smaller than need be


@pytest.mark.parametrize("made_by", ["forecasting", "downscaling"])
def test_the_truth_is_written_in_parts_as_at_once(made_by, tmp_path, monkeypatch):
    fields = makers.ring_fields() if made_by == "forecasting" else makers.weather_fields(times=11)
    model = getattr(makers, made_by)()
    data, leads = model.pipeline.data, model.pipeline.sample.leads
    found = cases_given(fields, data.task, data.domain, model.statistics, leads=leads)
    monkeypatch.setattr(disk, "CHUNK_BYTES", 3 * 4 * found.truth.read()[0].nbytes)  # of 4 members
    monkeypatch.setattr(truth, "_BLOCK_BYTES", 2 * found.truth.read()[0].nbytes)
    sampling.write_truth(model, found.cases, found.truth, tmp_path / "truth.zarr", members=4)
    wanted = model.label(found.truth.read()[:, None], found.cases, None)
    with open_store(tmp_path / "truth.zarr") as stored:
        xr.testing.assert_equal(stored.load(), wanted)
        name = next(iter(wanted.data_vars))
        assert stored[name].attrs == wanted[name].attrs
        assert stored.attrs["title"] == "made: truth that the ensemble is scored against"
        assert stored[name].encoding["chunks"][0] == 3  # those of the ensemble

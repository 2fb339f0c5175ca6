"""Tuning a run: measured once, gone on with after a stop, kept with the model, used by sampling."""

import csv
import json

import pytest
from click.testing import CliRunner
from PIL import Image

import diffsci
from diffsci import cli, config, pipeline
from diffsci.errors import ConfigError
from diffsci.forecasting.model_folder import check_manifest, choice_of, keep_choice
from diffsci.forecasting.store.disk import open_store
from diffsci.running import stopping
from diffsci.stages.ensembles import tuning
from diffsci.stages.ensembles.tuning import Asked, tune
from tests import tiny_runs

ASKED = Asked(samplers=("dpmpp", "ddim"), calls=(2, 3), cases=2, members=2, tolerance=0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    return tiny_runs.run(
        tiny_runs.make(folder, "downscale"), "evaluate=null", "sample.cases=2", out=folder / "run"
    )


@pytest.fixture
def run(trained):
    """The run without a choice or a record."""
    keep_choice(trained / "model", None)
    for name in (tuning.RECORD, tuning.TABLE, tuning.PICTURE):
        (trained / name).unlink(missing_ok=True)
    return trained


def test_the_choice_is_written_and_sampling_takes_it(run, tmp_path, caplog):
    chosen = tune(run, ASKED).measured.rung
    rows = list(csv.DictReader((run / tuning.TABLE).read_text().splitlines()))
    assert len(rows) == 4 and [row["calls"] for row in rows] == ["2", "2", "3", "3"]
    (marked,) = [row for row in rows if row["chosen"]]
    assert (marked["sampler"], int(marked["calls"])) == (chosen.name, chosen.calls)
    record = json.loads((run / tuning.RECORD).read_text())
    assert record["chosen"] == chosen.key and set(record["rungs"]) == {
        "dpmpp-2", "dpmpp-3", "ddim-2", "ddim-3",
    }  # fmt: skip
    with Image.open(run / tuning.PICTURE) as picture:
        assert picture.size[0] > 500
    check_manifest(run / "model")
    assert choice_of(run / "model")["sampler"] == chosen.plain
    with caplog.at_level("INFO", logger="diffsci"):
        store = pipeline.sample(run, 2, None, tmp_path / "a.zarr")
    assert f"the sampler is use={chosen.name}" in caplog.text
    with open_store(store) as made:
        assert made.attrs["diffsci_tuned"].startswith("diffsci tune: fewest calls (2) within 50")
        assert f"use={chosen.name}, steps=2" in made.attrs["diffsci_sampler"]
    assert diffsci.load(run).pipeline.sample.sampler == chosen.sampler


def test_overrides_win(run, tmp_path):
    tune(run, ASKED)
    store = pipeline.sample(run, 2, None, tmp_path / "b.zarr", ("sample.sampler=heun",))
    with open_store(store) as made:
        assert "diffsci_tuned" not in made.attrs and "use=heun" in made.attrs["diffsci_sampler"]


def test_the_runs_own_store_still_verifies(run):
    tune(run, ASKED)
    pipeline.verify(run)


def test_a_stopped_tuning_goes_on(run, monkeypatch):
    whole = tune(run, ASKED)
    table = [row[:3] for row in csv.reader((run / tuning.TABLE).read_text().splitlines())]
    (run / tuning.RECORD).unlink()
    made, count = [], iter(range(100))

    def boundary(where, code=None):
        if where.startswith("tune: stopped after") and next(count) == 1:
            raise stopping.Stopped(75, where)

    def counted(*arguments):
        made.append(arguments[0].key)
        return scored(*arguments)

    scored = tuning.ladder.scored
    monkeypatch.setattr(tuning.ladder, "scored", counted)
    with monkeypatch.context() as patched:
        patched.setattr(stopping, "boundary", boundary)
        with pytest.raises(stopping.Stopped, match="stopped after 2 of 4, which are saved"):
            tune(run, ASKED)
    again = tune(run, ASKED)
    assert len(made) == 4 and len(set(made)) == 4  # none is measured twice
    assert again.measured.rung == whole.measured.rung
    assert [row[:3] for row in csv.reader((run / tuning.TABLE).read_text().splitlines())] == table
    tune(run, Asked(**{**vars(ASKED), "members": 3}))  # other members: other numbers
    assert len(made) == 8


def test_a_choice_is_for_its_weights_alone(run):
    tune(run, ASKED)
    model = diffsci.load(run)
    text = (run / "model" / "config.yaml").read_text()
    model.save(run / "model", text)  # as when the variance table is added
    assert choice_of(run / "model") is not None
    with_other = next(model.denoiser.parameters())
    with_other.data += 1
    try:
        model.save(run / "model", text)
        assert choice_of(run / "model") is None
    finally:
        with_other.data -= 1
        model.save(run / "model", text)


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"cases": 1}, "--cases: got 1, expected 2 or more"),
        ({"members": 1}, "--members: got 1, expected 2 or more"),
        ({"tolerance": -0.1}, "--tolerance: got -0.1, expected a share"),
        ({"calls": ()}, "--calls: got"),
        ({"overrides": ("train.steps=1",)}, "only sample"),
        ({"overrides": ("sample.sampler=ddim",)}, "the sampler is what is compared"),
    ],
)
def test_what_cannot_be_compared_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        Asked(**keys)


def test_a_model_of_one_call_has_no_sampler_to_tune(tmp_path):
    direct = (
        "train.objective={use: crps, members: 2}",
        "sample.sampler=null",
        "model.schedule=edm",
    )
    loaded = config.load(tiny_runs.make(tmp_path, "image"), direct)
    (tmp_path / "run" / "model").mkdir(parents=True)
    # Its settings tell: the weights are not looked at.
    (tmp_path / "run" / "model" / "config.yaml").write_text(config.to_yaml(loaded.plain))
    with pytest.raises(ConfigError, match="makes a member by one call .* no sampler to tune"):
        tune(tmp_path / "run", ASKED)


def test_the_command(run):
    options = ["--samplers", "ddim", "--calls", "2,3", "--cases", "2", "--members", "2"]
    done = CliRunner().invoke(cli.main, ["tune", str(run), *options])
    assert done.exit_code == 0 and done.stdout.split()[0] == "ddim", done.output
    wrong = CliRunner().invoke(cli.main, ["tune", str(run), "--calls", "four"])
    assert wrong.exit_code == 2 and "--calls four: expected numbers" in wrong.stderr

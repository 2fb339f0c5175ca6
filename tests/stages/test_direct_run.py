"""Whole runs of models of one call: trained, sampled, scored, shown, compared and sampled again."""

import json
import logging
import math
import re

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import diffsci
from diffsci import checking, cli, config
from diffsci.evaluation.rows import read_rows
from diffsci.stages.costs import Costs
from diffsci.stages.prepare import prepare
from diffsci.training.cost import of_training
from tests import tiny_runs

WORDS = {
    "crps": ("train.objective=crps",),
    "deterministic": ("train.objective=deterministic", "sample.members=1"),
}
DIRECT = ("sample.sampler=null", "model.schedule=edm")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The file, and a run of each kind."""
    folder = tmp_path_factory.mktemp("direct")
    file = tiny_runs.make(folder, "pde")
    handler, log = logging.FileHandler(folder / "log"), logging.getLogger("diffsci")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    for word, overrides in WORDS.items():
        tiny_runs.run(file, *DIRECT, *overrides, out=folder / word)
    log.removeHandler(handler)
    log.setLevel(level)
    handler.close()
    return file


def rows_of(run):
    return {
        (row.forecast, row.score): row for row in read_rows(run / "scores.csv") if row.lead is None
    }


def test_runs_are_whole(made):
    for word in WORDS:
        run = made.parent / word
        assert tiny_runs.record(run)["status"] == "done"
        written = json.loads((run / "objective.json").read_text())
        # No levels, so no pair of density and weight.
        assert sorted(written) == ["objective", "schedule"]
        assert written["objective"].lower().startswith(word)
        with xr.open_zarr(run / "forecast.zarr") as stored:
            assert stored.attrs["diffsci_sampler"] == "use=none: one call a member"
            assert stored.attrs["source"].endswith("model of one call")
            assert stored.sizes["number"] == (3 if word == "crps" else 1)
            assert bool(np.isfinite(stored.u).all())
        summary = re.sub(r"<[^>]*>", "", (run / "report.html").read_text())
        assert f"with the objective {word} was trained for 6 steps" in summary
        assert "sampled by one network call a step" in summary


def test_scores_of_a_single_member_are_those_it_has(made):
    """Its fair CRPS is the absolute error; what needs a spread is left empty, and is no number."""
    run = made.parent / "deterministic"
    found = rows_of(run)
    with xr.open_zarr(run / "forecast.zarr") as drawn, xr.open_zarr(run / "truth.zarr") as truth:
        error = abs(drawn.u.isel(number=0) - truth.u)
        assert found["model", "crps"].value == pytest.approx(float(error.mean()), rel=1e-6)
        rmse = float((error**2).mean()) ** 0.5
        assert found["model", "rmse"].value == pytest.approx(rmse, rel=1e-6)
    for score in ("spread_skill", "rank_histogram"):
        row = found["model", score]
        assert math.isnan(row.value) and math.isnan(row.low) and math.isnan(row.high)
        assert json.loads((run / "scores.json").read_text())["model"]["u"][score] is None
    text = (run / "scores.csv").read_text()
    assert "nan" not in text and "model,u,spread_skill,,,,,1,1," in text
    page = re.sub(r'src="[^"]*"', "", (run / "report.html").read_text())
    assert "nan" not in page.lower() and "–" in page


def test_baselines_of_a_single_forecast_are_ensembles_still(made):
    """The climate is no single random field of it: that would be a row too easy to beat."""
    members = {
        row.forecast: row.members for row in read_rows(made.parent / "deterministic/scores.csv")
    }
    alone = {"persistence": 1, "linear_extrapolation": 1}
    several = ("climatology", "damped_anomaly", "analogues", "dressed_persistence")
    assert members == {"model": 1, **dict.fromkeys(several, 16), **alone}
    members = {row.forecast: row.members for row in read_rows(made.parent / "crps/scores.csv")}
    assert members == {"model": 3, **dict.fromkeys(several, 3), **alone}


def test_the_table_in_the_log_has_no_nan(made):
    lines = (made.parent / "log").read_text().splitlines()
    crps, single = (line for line in lines if line.startswith("| model"))
    # Spread over skill, rank histogram and coverage are of an ensemble.
    assert "–" not in crps and single.count(" – ") == 3 and "nan" not in crps + single
    assert any(
        line.startswith("sample: 12 cases x 3 members x 3 leads, 3 network calls each")
        for line in lines
    )


def test_sampling_again(made):
    """`diffsci sample` takes more members, whose first ones are those of the run."""
    out = made.parent / "more.zarr"
    done = CliRunner().invoke(
        cli.main,
        ["sample", str(made.parent / "crps"), "sample.members=5", "--out", str(out)],
    )
    assert done.exit_code == 0, done.output
    with xr.open_zarr(out) as more, xr.open_zarr(made.parent / "crps/forecast.zarr") as first:
        assert np.array_equal(more.u.isel(number=slice(3)), first.u)
    for run, change, message in (
        ("crps", "sample.sampler=ddim", "sample.sampler: would be ignored, expected null"),
        ("deterministic", "sample.members=5", "sample.members: got 5, expected 1: all members of"),
    ):
        done = CliRunner().invoke(cli.main, ["sample", str(made.parent / run), change])
        assert done.exit_code != 0 and message in done.output.replace("\n", " ")


def test_a_model_folder_alone_is_enough(made):
    model = diffsci.load(made.parent / "crps" / "model")
    assert model.denoiser.random == 32


def test_the_three_kinds_compare(made, tmp_path):
    tiny_runs.run(made, out=made.parent / "diffusion")
    runs = [str(made.parent / word) for word in ("diffusion", *WORDS)]
    out = tmp_path / "compare.html"
    done = CliRunner().invoke(cli.main, ["compare", *runs, "--out", str(out)])
    assert done.exit_code == 0, done.output
    page = re.sub(r'src="[^"]*"|<wbr>', "", out.read_text())
    assert "nan" not in page.lower()
    assert "sample.sampler" in page and "train.objective" in page
    assert "different numbers of members" in page


def test_costs_count_the_members(made):
    """Of an example, as many passes as it has members; sampling has one call as ever."""
    loaded = config.load(made, [*DIRECT, "train.objective={use: crps, members: 3}"])
    ports = prepare(loaded.pipeline, loaded.roots).ports
    assert ports.noise == 32
    train, sample = Costs.of(loaded.pipeline, ports).parts
    one = of_training(lambda: loaded.pipeline.model.network.build(ports), ports, precision="fp32")
    assert (train.cost.flop, train.cost.each) == (3 * one.flop, 3 * one.each)
    assert (train.cost.fixed, train.cost.parameters) == (one.fixed, one.parameters)
    assert sample.batch == 4 and sample.cost.flop < one.flop


def test_a_schedule_that_is_not_used_is_not_warned_about(made, monkeypatch):
    monkeypatch.setattr("diffsci.stages.checks.warning", lambda *_: "the schedule is too noisy")
    assert [p.code for p in checking.check((made,))] == ["sigma-min"]
    crps = made.parent / "crps.yaml"
    crps.write_text(
        made.read_text()
        .replace("schedule: {use: edm, sigma_min: 0.0002}", "schedule: edm")
        .replace("sampler: {use: ddim, steps: 2}", "sampler: null")
        .replace("steps: 6,", "steps: 6, objective: crps,")
    )
    assert list(checking.check((crps,))) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["downscale", "weather", "image"])
def test_every_task(tmp_path, kind):
    file = tiny_runs.make(tmp_path, kind)
    for word, overrides in WORDS.items():
        run = tmp_path / word
        tiny_runs.run(file, *DIRECT, *overrides, "evaluate.scores=[crps]", out=run)
        assert math.isfinite(rows_of(run)["model", "crps"].value)

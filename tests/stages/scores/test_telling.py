"""What tracking and the terminal are told of the scores."""

import math
from dataclasses import replace

import numpy as np
import pytest

from diffsci import config
from diffsci.data.tasks.infill import Infill
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.rmse import Rmse
from diffsci.evaluation.scores.spectrum import Spectrum
from diffsci.evaluation.scores.spread_skill import SpreadSkill
from diffsci.evaluation.table import evaluate
from diffsci.runtime import Device
from diffsci.sections.calibrating import Calibrate
from diffsci.stages.prepare import prepare
from diffsci.stages.scores import evaluating, telling
from tests import tiny_runs


@pytest.fixture(scope="module", params=["weather", "pde"])
def told(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    loaded = config.load(tiny_runs.make(folder, request.param))
    prepared = prepare(loaded.pipeline, loaded.roots)
    truth = prepared.evaluation.truth.read()
    noise = np.random.default_rng(0).standard_normal((4, *truth.shape)).astype("f4")
    scores = evaluate(
        {"model": np.moveaxis(truth + noise, 0, 1), "persistence": truth[:, None] + 1},
        truth,
        channels=prepared.train.channels,
        grid=prepared.train.grid,
        leads=prepared.leads(),
        scores=(Crps(), Rmse(), SpreadSkill(), Spectrum()),
        resamples=3,
        confidence=0.9,
        keys=prepared.evaluation.cases.keys,
    )
    return request.param, loaded.pipeline, prepared, scores


def test_metrics_have_sections_and_whole_steps(told):
    kind, _, prepared, scores = told
    (overall, zero), *rest = telling.metrics(scores, prepared)
    assert zero == 0
    prefix = "test/t2m/" if kind == "weather" else "test/"  # one variable needs no name
    assert {f"{prefix}{name}" for name in ("crps", "rmse", "crpss_vs_persistence")} <= set(overall)
    for values, step in [(overall, zero), *rest]:
        assert isinstance(step, int)
        assert all(isinstance(v, float) and math.isfinite(v) for v in values.values())
    by_lead = [step for values, step in rest if any("test_by_lead/" in key for key in values)]
    assert by_lead == ([6, 12] if kind == "weather" else [1, 2, 3])
    shells = [step for values, step in rest if any("spectrum/" in key for key in values)]
    assert min(shells) == 1


def test_the_unit_of_the_steps_is_told(told):
    kind, _, prepared, _ = told
    expected = "h" if kind == "weather" else "steps of 0.25 s"
    assert telling.lead_step_unit(prepared) == expected


def test_the_table_has_a_line_for_each_forecast_and_variable(told):
    _, _, _, scores = told
    lines = telling.table(scores).splitlines()
    assert lines[0] == "| forecast | variable | crps | rmse | spread_skill | spectrum |"
    assert len(lines) == 2 + 2 * len(scores.variables)
    assert len({line.count("|") for line in lines}) == 1


def test_the_summary_is_a_sentence_with_units(told):
    kind, pipeline, prepared, _ = told
    text = telling.summary(pipeline, prepared)
    assert ("up to 12 h" if kind == "weather" else "up to 0.75 s") in text
    assert ("t2m in K" if kind == "weather" else "(u, grid 16)") in text
    assert f"{len(prepared.evaluation)} test cases" in text


def test_the_summary_says_that_members_are_calibrated_and_which_cells_count(told):
    _, pipeline, prepared, _ = told
    assert "calibrated" not in telling.summary(pipeline, prepared)
    fitted = replace(pipeline, calibrate=Calibrate())
    assert "and calibrated on the validation cases." in telling.summary(fitted, prepared)
    raw = replace(fitted, sample=replace(fitted.sample, calibrated=False))
    assert "calibrated" not in telling.summary(raw, prepared)
    filled = replace(pipeline, data=replace(pipeline.data, task=Infill()))
    assert "Scores are of the cells that were hidden." in telling.summary(filled, prepared)


def test_scores_go_to_a_device_only_where_the_run_asked_for_it(told):
    _, pipeline, *_ = told
    asking = replace(pipeline, runtime=replace(pipeline.runtime, device="cuda:1"))
    assert evaluating.asked(asking, Device(name="cuda:1")) == "cuda:1"
    found = replace(pipeline, runtime=replace(pipeline.runtime, device="auto"))
    assert evaluating.asked(found, Device(name="cuda")) is None
    plain = replace(pipeline, runtime=replace(pipeline.runtime, device="cpu"))
    assert evaluating.asked(plain, Device(name="cpu")) is None


def test_the_cost_of_a_member_is_in_calls_seconds_and_hours_of_cores(told):
    _, pipeline, prepared, scores = told
    cases, leads = len(prepared.evaluation), len(prepared.leads() or [0])
    made = 4 * cases * leads
    seconds = {"train": 7200.0, "sample": 3.6 * made}
    step = " and lead" if scores.leads else ""
    found = telling.cost(pipeline, scores, seconds, {"device": "cpu", "threads": 3})
    assert found[f"network calls of a member{step}"] == pipeline.sample.calls
    assert found[f"milliseconds of a member{step}"] == pytest.approx(3600)
    assert found["core-hours of training"] == pytest.approx(6)
    assert found["core-hours of sampling"] == pytest.approx(3 * 3.6 * made / 3600)
    on_gpu = telling.cost(pipeline, scores, seconds, {"device": "cuda", "threads": 3})
    assert on_gpu["GPU-hours of training"] == 2 and "core-hours of training" not in on_gpu

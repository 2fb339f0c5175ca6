"""Only like is laid beside like: settings of scores, units, leads, and what has no value."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from diffsci import families
from diffsci.data.fields import Channel
from diffsci.evaluation.cases_file import read_cases, write_cases
from diffsci.evaluation.compare import compare
from diffsci.evaluation.compared_run import read_run
from diffsci.evaluation.paired import WORDS, differences
from diffsci.evaluation.table import evaluate
from diffsci.evaluation.terms import refused, terms
from tests.evaluation.test_pages import fake_figures, read
from tests.evaluation.toys import line, results

WARM = Channel(variable="t", unit="K")


def run_folder(path, found, *scores, leads_in="h", **record):
    """A run as `diffsci run` leaves it, as far as a comparison looks."""
    made = evaluate(
        found.forecasts,
        found.truth,
        channels=found.channels,
        grid=found.grid,
        leads=found.leads,
        scores=[families.load("scores", word)(**options) for word, options in scores],
        resamples=20,
        confidence=0.9,
        keys=found.keys,
    )
    path.mkdir()
    made.write(path)
    write_cases(path, made, found.keys)
    fake_figures(path / "figures")
    told = [{"use": word, **options} for word, options in scores]
    (path / "config.yaml").write_text(yaml.safe_dump({"evaluate": {"scores": told}}))
    (path / "run.json").write_text(json.dumps({"stages": {}, "lead_unit": leads_in, **record}))
    return path


def forecast(unit="K", scale=1.0, offset=0.0, shift=0.0, leads=(6.0, 12.0)):
    """The same fields in a unit of one's own, the model's shifted by so many K."""
    found = results(line(), leads=leads, cases=12, channels=(replace(WARM, unit=unit),))
    random = np.random.default_rng(3)
    noise = random.normal(size=found.model.shape) + shift

    def turned(kelvin):
        return (np.asarray(kelvin, dtype=np.float64) - offset) / scale

    members = {"model": turned(found.truth[:, None] + noise)}
    return replace(found, forecasts=members, truth=turned(found.truth))


def page(*folders):
    return "".join(read(compare(folders, folders[0].parent / "page.html")).text)


def line_of(text, score):
    """Cells of the lines of a score in the table of the models."""
    table = text.partition("Scores of the models")[2]
    return [re.sub("<.*?>", "|", row) for row in table.split("<tr>") if f"<b>{score}</b>" in row]


BRIER = ("brier", {"threshold": 280.0})


def test_scores_at_unlike_thresholds_are_no_one_row(tmp_path, caplog):
    one = run_folder(tmp_path / "one", forecast(), ("crps", {}), BRIER)
    two = run_folder(tmp_path / "two", forecast(), ("crps", {}), ("brier", {"threshold": 281.0}))
    text = page(one, two)
    told = "brier of t (one: threshold 280 K; two: threshold 281 K)"
    assert f"These scores do not compare: {told}" in text and told in caplog.text
    assert "no verdict: one has threshold 280 K, two has threshold 281 K" in text
    assert text.count("not distinguishable at any lead") == 1  # of the CRPS alone
    rows = line_of((tmp_path / "page.html").read_text(), "brier")
    assert len(rows) == 2 and all("–" in row and "★" not in row for row in rows)
    again = run_folder(tmp_path / "again", forecast(), ("crps", {}), BRIER)
    text = page(one, again)
    assert "do not compare" not in text and "no verdict" not in text
    assert len(line_of((tmp_path / "page.html").read_text(), "brier")) == 1


def test_a_quantile_is_one_of_its_training_set(tmp_path):
    at = [
        run_folder(
            tmp_path / name, forecast(), BRIER, ("crps", {}), data={"train": train, "test": "x"}
        )
        for name, train in (("a", "1" * 64), ("b", "2" * 64))
    ]
    # A number is the same whatever was trained on.
    assert "do not compare" not in page(*at)
    for folder in at:
        text = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(text.replace("threshold: 280.0", "quantile: 0.8"))
    assert "(a: training set 111111111111; b: training set 222222222222)" in page(*at)
    (at[1] / "config.yaml").write_text("evaluate: {scores: [crps, {use: brier, quantile: 0.9}]}")
    assert "threshold at quantile 0.8 of the training set" in page(*at)


@pytest.mark.parametrize(
    ("unit", "scale", "offset"), [("degC", 1.0, 273.15), ("degF", 5 / 9, 459.67 * 5 / 9)]
)
def test_units_that_convert_are_converted(tmp_path, caplog, unit, scale, offset):
    scores = [("crps", {}), ("rmse", {}), ("spread_skill", {}), ("energy", {})]
    one = run_folder(tmp_path / "one", forecast(shift=1.0), *scores, BRIER)
    own = ("brier", {"threshold": (280.0 - offset) / scale})
    two = run_folder(tmp_path / "two", forecast(unit, scale, offset), *scores, own)
    same = run_folder(tmp_path / "same", forecast(), *scores, BRIER)
    text = page(one, two)
    assert f"Units were converted. two: t from {unit} to K. All numbers" in text
    assert "do not compare" not in text and "from " + unit in caplog.text
    ours, theirs = terms([read_run(f, f.name) for f in (one, two)])
    known = read_run(same, "same")
    for row in known.rows:
        found = theirs.run.find(row.forecast, row.variable, row.score, row.lead)
        # scores.csv has 9 digits, members float32 near 280 in truth.
        assert found.unit == row.unit and found.value == pytest.approx(row.value, rel=1e-6)
        assert found.low == pytest.approx(row.low, rel=1e-6, abs=1e-9)
    # Verdicts are by the same numbers as in one unit.
    first, second, third = (read_cases(f) for f in (one, two, same))
    for word in ("crps", "rmse", "energy", "brier"):
        got = differences(ours.scaled(first), theirs.scaled(second), word)
        want = differences(first, third, word)
        assert np.allclose([d.value for d in got], [d.value for d in want], rtol=1e-6)
        assert np.allclose([d.low for d in got], [d.low for d in want], rtol=1e-6)


@pytest.mark.parametrize("word", WORDS)
def test_statistics_grow_by_the_power_that_is_known_of_them(tmp_path, word):
    """The score of converted statistics is the score of converted values."""
    at = {"threshold": 280.0} if word in ("brier", "threshold_crps") else {}
    own = {"threshold": 280.0 * 9 / 5 - 459.67} if at else {}
    fahrenheit = forecast("degF", 5 / 9, 459.67 * 5 / 9)
    beside = [] if word == "rmse" else [("rmse", {})]
    one = run_folder(tmp_path / "one", forecast(), (word, at), *beside)
    two = run_folder(tmp_path / "two", fahrenheit, (word, own), *beside)
    _, theirs = terms([read_run(f, f.name) for f in (one, two)])
    measure = families.load("scores", word)(**at)
    both = [read_cases(one)[word], theirs.scaled(read_cases(two))[word]]
    want, got = (float(measure.value(ds.values[0, 0].mean(axis=(0, 1)))) for ds in both)
    assert got == pytest.approx(want, rel=1e-5)  # float32 near 280


def test_units_that_do_not_convert_are_refused_by_name(tmp_path):
    one = run_folder(tmp_path / "one", forecast(), ("crps", {}))
    for unit, told in (("m s-1", "m s-1"), ("1", "none")):
        name = tmp_path / f"as {told}"
        text = page(one, run_folder(name, forecast(unit, shift=2.0), ("crps", {})))
        assert f"crps of t (one: unit K; as {told}: unit {told})" in text
        assert f"no verdict: one has unit K, as {told} has unit {told}" in text
        rows = line_of((tmp_path / "page.html").read_text(), "crps")
        assert len(rows) == 2 and "better at" not in text and not any("best" in r for r in rows)


def test_spellings_of_a_unit_are_one(tmp_path):
    one = run_folder(tmp_path / "one", forecast("m s-1"), ("crps", {}))
    text = page(one, run_folder(tmp_path / "two", forecast("m/s"), ("crps", {})))
    assert "converted" not in text and "do not compare" not in text


def test_what_scores_csv_leaves_empty_is_not_judged(tmp_path):
    never = ("brier", {"threshold": 400.0})
    one, two = (run_folder(tmp_path / n, forecast(), ("crps", {}), never) for n in ("one", "two"))
    assert any(
        line.startswith("model,t,brier,,,,,") for line in (one / "scores.csv").read_text().split()
    )
    text = page(one, two)
    assert "no verdict: scores.csv of two has no value" in text
    assert text.count("not distinguishable") == 1
    (found, *_) = differences(read_cases(one), read_cases(two), "brier")
    assert "never occurs and is never forecast" in found.why and np.isnan(found.value)
    # At a lead alone: the others are judged.
    table = (two / "scores.csv").read_text()
    row = next(each for each in table.splitlines() if each.startswith("model,t,crps,12,"))
    head, tail = ",".join(row.split(",")[:4]), ",".join(row.split(",")[7:])
    (two / "scores.csv").write_text(table.replace(row, f"{head},,,,{tail}"))
    assert "no verdict at 12 h: scores.csv of two has no value" in page(one, two)


def test_leads_in_other_units_or_others_are_told_and_nothing_is_starred(tmp_path, caplog):
    one = run_folder(tmp_path / "one", forecast(shift=2.0), ("crps", {}))
    days = run_folder(tmp_path / "days", forecast(), ("crps", {}), leads_in="d")
    text = page(one, days)
    assert "The leads have different units. one: h; days: d" in text
    assert "no verdict: one has leads in h, days has leads in d" in text
    assert "Scores by lead" not in text and "the leads differ" in text
    longer = run_folder(tmp_path / "long", forecast(leads=(6.0, 12.0, 18.0)), ("crps", {}))
    text = page(one, longer)
    assert "The leads differ. one: 6, 12; long: 6, 12, 18" in text and "★" not in text
    assert 'best">' not in (tmp_path / "page.html").read_text()
    assert "long better at 6-12 h" in text and "The leads differ" in caplog.text


def test_rows_of_other_settings_are_named_with_both(tmp_path):
    one = run_folder(tmp_path / "one", forecast(), ("crps", {"fair": True}), ("interval", {}))
    two = run_folder(tmp_path / "two", forecast(), ("crps", {"fair": False}), ("interval", {}))
    ours, theirs = terms([read_run(f, f.name) for f in (one, two)])
    assert refused(ours, theirs) == {("t", "crps"): "one has fair true, two has fair false"}


def test_every_setting_of_an_event_counts(tmp_path):
    tails = [("threshold_crps", {"threshold": 280.0, "tail": tail}) for tail in ("upper", "lower")]
    runs = [run_folder(tmp_path / f[1]["tail"], forecast(), f) for f in tails]
    ours, theirs = terms([read_run(f, f.name) for f in runs])
    told = {("t", "threshold_crps"): "upper has tail upper, lower has tail lower"}
    assert refused(ours, theirs) == told

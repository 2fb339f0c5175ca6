"""The table: its columns, its means, its intervals, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from diffsci import families
from diffsci.data.fields import Channel
from diffsci.errors import ConfigError, DataError, NumericsError, StorageError
from diffsci.evaluation.checks import check_shapes
from diffsci.evaluation.rows import read_rows
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.table import evaluate
from tests.evaluation.toys import AIR, globe, line, results, scores, table


def test_the_files_have_exactly_the_agreed_form(tmp_path):
    made = table(results(line(), leads=(6.0, 12.0)), "crps", "spread_skill")
    csv, summary = made.write(tmp_path)
    lines = csv.read_text().splitlines()
    assert lines[0] == "forecast,variable,score,lead,value,low,high,unit,members,count"
    assert [text.split(",")[:4] for text in lines[1:7]] == [
        ["model", "air_temperature", "crps", ""],
        ["model", "air_temperature", "crps", "6"],
        ["model", "air_temperature", "crps", "12"],
        ["model", "air_temperature", "spread_skill", ""],
        ["model", "air_temperature", "spread_skill", "6"],
        ["model", "air_temperature", "spread_skill", "12"],
    ]
    assert lines[1].endswith(",K,5,6")
    plain = json.loads(summary.read_text())
    assert plain["persistence"]["air_temperature"]["spread_skill"] is None  # one member
    assert plain["model"]["air_temperature"]["crps"] == made.row("model", AIR.name, "crps").value


def identity(row):
    return (row.forecast, row.variable, row.score, row.lead, row.unit, row.members, row.count)


def test_what_is_written_is_read_back(tmp_path):
    made = table(results(line(), leads=(6.0, 12.0)))
    csv, _ = made.write(tmp_path)
    for ours, theirs in zip(made.rows, read_rows(csv), strict=True):
        assert identity(ours) == identity(theirs)
        # Nine digits are written.
        np.testing.assert_allclose(
            (theirs.value, theirs.low, theirs.high), (ours.value, ours.low, ours.high), rtol=1e-8
        )


def test_another_table_is_refused_by_name(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(
        StorageError, match=r"scores.csv: columns are a,b, expected forecast,variable"
    ):
        read_rows(path)
    good = table(results(line())).write(tmp_path)[0].read_text().splitlines()
    path.write_text("\n".join([good[0], good[1].replace("crps", "crps,more")]))
    with pytest.raises(StorageError, match="line 2: model"):
        read_rows(path)


def test_model_comes_first_wherever_it_stands():
    found = results(line())
    turned = dict(reversed(found.forecasts.items()))
    assert table(replace(found, forecasts=turned)).forecasts == ("model", "persistence")


def test_values_are_scores_of_the_means_over_cases_and_leads():
    found = results(globe(), leads=(1.0, 2.0, 3.0))
    made = table(found, "rmse", "crps")
    weights = found.grid.cell_weights
    error = (found.forecasts["model"].astype(float).mean(axis=1) - found.truth)[:, :, 0] ** 2
    per_lead = np.sqrt((error * weights).mean(axis=(0, 2, 3)))
    for lead, value in zip((1.0, 2.0, 3.0), per_lead, strict=True):
        assert made.row("model", AIR.name, "rmse", lead).value == pytest.approx(value, rel=1e-12)
    assert made.row("model", AIR.name, "rmse").value == pytest.approx(
        np.sqrt((error * weights).mean()), rel=1e-12
    )
    by_lead = [made.row("model", AIR.name, "crps", lead).value for lead in (1.0, 2.0, 3.0)]
    assert made.row("model", AIR.name, "crps").value == pytest.approx(np.mean(by_lead), rel=1e-12)


def test_levels_are_variables_of_their_own():
    pair = (
        Channel(variable="t", unit="K", level=500.0),
        Channel(variable="t", unit="K", level=850.0),
    )
    assert table(results(line(), channels=pair)).variables == ("t@500", "t@850")


def test_equal_numbers_have_equal_intervals_whatever_else_is_in_the_table():
    found = results(line(), cases=30, leads=(1.0, 2.0))
    alone = table(replace(found, forecasts={"model": found.model}), "rmse")
    beside = table(found, "crps", "rmse", "spectrum")
    for lead in (None, 1.0, 2.0):
        one, two = (made.row("model", AIR.name, "rmse", lead) for made in (alone, beside))
        assert one == two and one.low < one.value < one.high


def test_intervals_of_a_mean_cover_it_as_often_as_they_say():
    """The absolute error of one member in one cell: 90 % intervals over 60 cases, 300 times."""
    random = np.random.default_rng(0)
    hits, exact = 0, np.sqrt(2 / np.pi)
    for _ in range(300):
        made = evaluate(
            {"model": random.normal(size=(60, 1, 1, 1, 1))},
            np.zeros((60, 1, 1, 1)),
            channels=[AIR],
            grid=line(1),
            leads=None,
            scores=[Crps()],
            resamples=200,
            confidence=0.9,
        )
        hits += made.rows[0].low <= exact <= made.rows[0].high
    # Binomial error 1.7 %; a percentile bootstrap of 60 cases is known to fall short by 1 to 2 %.
    assert 0.83 < hits / 300 < 0.96


def test_an_interval_holds_its_value():
    for row in table(results(line()), "rank_histogram", "spectrum", "crps", "rmse").rows:
        if not np.isnan(row.low):
            assert row.low <= row.value <= row.high


def test_one_case_has_no_interval():
    assert np.isnan(table(results(line(), cases=1)).rows[0].low)


def test_skill_is_paired():
    """A baseline that is the model with twice the error has skill 1/2, with no interval at all."""
    found = results(line())
    error = found.forecasts["model"] - found.truth[:, None]
    twice = found.truth[:, None] + 2 * error
    made = table(replace(found, forecasts={"model": found.forecasts["model"], "worse": twice}))
    (row,) = made.skill("worse")
    assert (row.forecast, row.variable, row.score) == ("model", AIR.name, "crpss_vs_worse")
    # float32 fields near 280: errors of size 1 are known to 3e-5.
    np.testing.assert_allclose((row.value, row.low, row.high), 0.5, atol=1e-4)


def test_means_give_the_histogram():
    made = table(results(line()), "rank_histogram")
    means = made.means("model", AIR.name, "rank_histogram")
    assert means.shape == (6,)
    assert means.sum() == pytest.approx(1)


def test_a_nan_is_named_and_nothing_is_scored():
    found = results(line(), leads=(6.0, 12.0))
    broken = found.forecasts["model"].copy()
    broken[3, 2, 1, 0, 5] = np.nan
    with pytest.raises(
        NumericsError,
        match=r"model: air_temperature has 1 values .*2000-01-04T00:00:00, member 2, lead step 2",
    ):
        table(replace(found, forecasts={"model": broken}))
    truth = found.truth.copy()
    truth[1, 0] = np.inf
    with pytest.raises(DataError, match=r"truth: air_temperature has 16 .*2000-01-02"):
        table(replace(found, truth=truth))


def test_shapes_that_would_broadcast_are_refused():
    found = results(line())
    beside = (found.channels, found.grid)
    with pytest.raises(DataError, match="model: shape is"):
        check_shapes({"model": found.model[:1]}, found.truth, *beside, None)
    with pytest.raises(DataError, match="truth: shape is"):
        check_shapes(found.forecasts, found.truth, *beside, (1.0, 2.0))
    with pytest.raises(DataError, match="no case to score"):
        check_shapes({"model": found.model[:0]}, found.truth[:0], *beside, None)


def test_scores_that_cannot_be_computed_are_refused():
    with pytest.raises(ConfigError, match="class_accuracy needs data with classes"):
        table(results(line()), "class_accuracy")
    with pytest.raises(ConfigError, match="memorisation compares with training data"):
        table(results(line()), "memorisation")
    with pytest.raises(ConfigError, match="crps is there twice"):
        table(results(line()), "crps", "crps")


def test_labels_and_training_fields_reach_the_scores():
    found = results(line(), labels=True, given=False)
    random = np.random.default_rng(0)
    made = evaluate(
        found.forecasts,
        found.truth,
        channels=found.channels,
        grid=found.grid,
        leads=None,
        scores=scores("class_accuracy", "memorisation"),
        resamples=10,
        confidence=0.9,
        labels=found.labels,
        train=random.normal(size=(30, 1, 16)) + 280,
        train_labels=np.arange(30) % 3,
    )
    assert [row.score for row in made.rows[:2]] == ["class_accuracy", "memorisation"]
    assert all(0 <= row.value <= 1 for row in made.rows)


def test_an_event_of_one_outcome_and_too_few_cases_have_no_score_and_that_is_said(caplog):
    found = results(line(), leads=(6.0, 12.0))
    words = {"brier": {"threshold": 1000.0}, "reliability": {"threshold": 0.0}, "return_level": {}}
    made = evaluate(
        found.forecasts,
        found.truth,
        channels=found.channels,
        grid=found.grid,
        leads=found.leads,
        scores=[families.load("scores", word)(**options) for word, options in words.items()],
        resamples=10,
        confidence=0.9,
    )
    who = "of air_temperature is left empty for model, persistence"
    told = (
        f"brier {who}: a value above 1000 never occurs and is never forecast",
        f"reliability {who}: a value above 0 always occurs and is always forecast",
        f"return_level {who}: a level of 10 cases needs as many, and there are 6",
    )
    assert made.blank == told and all(text in caplog.text for text in told)
    assert len(made.rows) == 18
    assert all(np.isnan([row.value, row.low, row.high]).all() for row in made.rows)


def test_an_event_that_is_forecast_and_does_not_come_is_scored():
    """Of 2 of 4 members, everywhere: (1/2)^2 - 1/2 1/2 / 3."""
    pairs = Pairs(
        members=np.tile(np.array([0.0, 0.0, 2.0, 2.0])[None, :, None], (3, 1, 5)),
        truth=np.zeros((3, 5)),
        weights=np.ones(5),
    )
    score = families.load("scores", "brier")(threshold=1.0)
    statistics = score.statistics(pairs)
    assert np.allclose(statistics, [[1 / 4 - 1 / 12, 0, 1 / 2]]) and not score.lacks(statistics)

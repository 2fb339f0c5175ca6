"""Constraints in a run: told in its scores, before and after, and refused before it trains."""

import pytest

from diffsci.errors import ConfigError
from diffsci.evaluation.page import number
from diffsci.evaluation.rows import read_rows
from tests import tiny_runs


def test_scores_say_how_far_states_are_from_what_they_are_to_meet(tmp_path):
    """Single precision of values of size 1, of 16 cells; without, what six steps have taught."""
    file = tiny_runs.make(tmp_path, "pde")
    kept = "sample.constraints=[mean, {use: bounds, maximum: 0.5}]"
    tiny_runs.run(file, kept, "sample.cases=4", out=tmp_path / "run")
    rows = {
        (row.forecast, row.variable): row
        for row in read_rows(tmp_path / "run" / "scores.csv")
        if row.score == "constraint" and row.lead is None
    }
    assert set(rows) == {(f, v) for f in ("model", "model_free") for v in ("mean", "bounds")}
    for word in ("mean", "bounds"):
        assert rows["model", word].value < 1e-6 < 1e-3 < rows["model_free", word].value
    assert rows["model", "mean"].members == 3 and rows["model_free", "mean"].members == 1
    assert rows["model", "mean"].count == rows["model_free", "mean"].count == 4
    # The report has them by constraint, over all leads and at each.
    report = (tmp_path / "run" / "report.html").read_text().replace("<wbr>", "")
    assert report.count("<h3>Constraints") == 1 + 3
    part = report.partition("<h3>Constraints</h3>")[2].partition("</table>")[0]
    for name in ("model", "model_free"):
        assert f'<th scope="col">{name}</th>' in part
    for word in ("mean", "bounds"):
        line = part.partition(f"<b>{word}</b>")[2].partition("</tr>")[0]
        for name in ("model", "model_free"):
            assert f">{number(rows[name, word].value)}<" in line
    assert "4 cases drawn without constraints" in report


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (
            "[{use: divergence_free, velocity: [w]}]",
            "sample.constraints.velocity: got 'w', expected names",
        ),
        ("[{use: mean, channels: [w]}]", "sample.constraints.channels: got 'w', expected names of"),
        ("[{use: mean, value: 2.0}, {use: bounds, maximum: 1.0}]", "mean and bounds contradict"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_training(tmp_path, constraints, message):
    file = tiny_runs.make(tmp_path, "pde")
    with pytest.raises(ConfigError, match=message):
        tiny_runs.run(file, f"sample.constraints={constraints}", out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()

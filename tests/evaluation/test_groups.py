"""Figures of groups of cases: which cases are taken together, and what is drawn of them."""

import numpy as np

from diffsci.evaluation.groups import groups, reliability, scores_by_parameter
from tests.evaluation.toys import line, results, table


def test_few_values_are_groups_of_their_own_and_many_are_cut_evenly():
    few = groups(np.array([2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 3.0]))
    assert [sorted(part) for part in few] == [[1, 3, 5], [0, 2, 4]]  # a single case tells nothing
    values = np.random.default_rng(0).permutation(30).astype(float)
    many = groups(values)
    assert [len(part) for part in many] == [5] * 6
    assert [sorted(values[part]) for part in many][1] == [5, 6, 7, 8, 9]
    assert groups(np.arange(5.0)) == []


def test_a_line_of_each_forecast_is_the_score_of_the_group():
    found = results(line(), cases=6)
    made = table(found, "rmse")
    drawn = scores_by_parameter(made, {"speed": np.array([1.0, 2.0] * 3), "same": np.ones(6)})
    (axes,) = drawn.axes
    assert axes.get_xlabel() == "speed"
    lines = {each.get_label(): each for each in axes.get_lines()}
    assert set(lines) == {"model", "persistence"}
    errors = (found.forecasts["persistence"][:, 0, 0, 0] - found.truth[:, 0, 0]) ** 2
    exact = [np.sqrt(errors[k::2].mean()) for k in (0, 1)]
    assert np.allclose(lines["persistence"].get_ydata(), exact, rtol=1e-6)
    assert np.array_equal(lines["persistence"].get_xdata(), [1, 2])
    assert scores_by_parameter(made, {"same": np.ones(6)}) is None


def test_reliability_is_drawn_where_it_was_scored():
    found = results(line(), cases=6)
    assert reliability(table(found, "rmse")) is None

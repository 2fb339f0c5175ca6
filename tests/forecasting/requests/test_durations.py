"""Leads as users write them, for models of hours, months and a simulation's own time."""

from dataclasses import replace

import pytest

from diffsci.errors import ConfigError
from diffsci.forecasting.requests.durations import MOST_LEADS, TooManyLeads, leads_of
from tests.forecasting import makers

HOUR, DAY = 3600e9, 86_400e9


def model(step, unit=""):
    return replace(makers.forecasting(), step=step, time_unit=unit)


@pytest.mark.parametrize(
    "text, steps",
    [("6h", 1), ("10d", 40), ("240h", 40), ("PT6H", 1), ("P1DT12H", 6), ("P1W", 28), ("7", 7),
     ("1 day", 4), ("2 weeks", 56), ("360min", 1), ("1.5d", 6), (".25d", 1), ("1.d", 4)],
)  # fmt: skip
def test_a_duration_is_a_number_of_steps(text, steps):
    assert leads_of(text, model(6 * HOUR)) == steps


@pytest.mark.parametrize(
    "text, steps", [("3mo", 3), ("1y", 12), ("P2Y", 24), ("P1Y6M", 18), ("2 months", 2), ("5", 5)]
)
def test_months_are_counted_by_the_calendar(text, steps):
    assert leads_of(text, model(2_629_746e9)) == steps
    if steps % 12 == 0:
        assert leads_of(text, model(12 * 2_592_000e9)) == steps // 12


@pytest.mark.parametrize("text, steps", [("12", 12), ("2 s", 8), ("2.5 time units", 10)])
def test_a_simulation_has_a_time_of_its_own(text, steps):
    assert leads_of(text, model(0.25, "s")) == steps


@pytest.mark.parametrize(
    "text, step, unit, message",
    [
        ("10h", 6 * HOUR, "", r"whole steps of 6h, .* \(it is 1.667 of them\)"),
        ("1h", 6 * HOUR, "", "whole steps of 6h"),
        ("0", 6 * HOUR, "", "one or more whole steps"),
        ("5m", 6 * HOUR, "", "expected a duration such as 6h"),  # minutes or months?
        ("soon", 6 * HOUR, "", "expected a duration such as 6h"),
        ("P", 6 * HOUR, "", "expected a duration such as 6h"),
        ("1.2.3d", 6 * HOUR, "", "expected a duration such as 6h"),
        (".h", 6 * HOUR, "", "expected a duration such as 6h"),
        (".", 6 * HOUR, "", "expected a duration such as 6h"),
        (". s", 0.25, "s", "or of this model's time, such as '12 s'"),
        ("1.2.3 s", 0.25, "s", "or of this model's time, such as '12 s'"),
        ("1mo", 6 * HOUR, "", "months have no fixed length; give days"),
        ("30d", 2_629_746e9, "", "step is 1 month; give months, such as 2mo"),
        ("3mo", 12 * 2_629_746e9, "", "whole steps of 12mo"),
        ("6h", 0.25, "s", "or of this model's time, such as '12 s'"),
        ("0.3 s", 0.25, "s", "whole steps of 0.25 s"),
        ("6h", None, "", "knows no step; give a number of steps"),
    ],
)
def test_what_is_no_whole_step_is_refused(text, step, unit, message):
    with pytest.raises(ConfigError, match=f"--lead {text}: .*{message}"):
        leads_of(text, model(step, unit))


@pytest.mark.parametrize(
    "text", ["200001", "2000000000", "100000d", "9" * 400, "9" * 400 + "d", f"P{'9' * 400}D"]
)
def test_more_steps_than_cases_can_hold_are_refused(text):
    assert leads_of("200000", model(6 * HOUR)) == leads_of("50000d", model(6 * HOUR)) == MOST_LEADS
    with pytest.raises(TooManyLeads, match="^--lead .*at most 200,000") as told:
        leads_of(text, model(6 * HOUR))
    assert len(str(told.value)) < 200


def test_a_model_without_leads_has_none():
    with pytest.raises(ConfigError, match="--lead 6h: this model does not forecast"):
        leads_of("6h", makers.downscaling())

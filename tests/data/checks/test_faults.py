"""Every seeded fault is told by its code, and no clean data raises an alarm; the page says so."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data import fault_matrix
from tests.data.fault_matrix import CLEAN, FAULTS, check

PAGE = Path(__file__).parents[3] / "docs" / "faults.md"


@pytest.mark.parametrize("name", FAULTS)
def test_a_seeded_fault_is_told(name):
    code, write = FAULTS[name]
    problems = check(write, 7)
    assert code in {problem.code for problem in problems}, problems
    assert all(problem.fix and problem.value for problem in problems)
    assert "Traceback" not in str(problems)


@pytest.mark.parametrize("name", CLEAN)
def test_clean_data_raises_no_alarm(name):
    assert check(CLEAN[name], 7) == []


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(FAULTS)), st.integers(0, 2**31))
def test_faults_are_told_wherever_they_are(name, seed):
    code, write = FAULTS[name]
    assert code in {problem.code for problem in check(write, seed)}


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(CLEAN)), st.integers(0, 2**31))
def test_clean_data_raises_no_alarm_whatever_its_values(name, seed):
    assert check(CLEAN[name], seed) == []


def test_there_are_enough_of_both():
    assert len(FAULTS) >= 40 and len(CLEAN) >= 30


def test_the_page_lists_every_fault():
    text = PAGE.read_text(encoding="utf-8")
    rows = [f"| {name} | `{code}` | yes |" for name, (code, _) in FAULTS.items()]
    assert all(row in text for row in rows) and text.count("| yes |") == len(rows)
    assert f"{len(FAULTS)} kinds, {len(FAULTS)} reported" in text
    assert f"{len(CLEAN)} kinds, 0 false alarms" in text


@pytest.mark.slow
def test_the_page_is_what_the_code_does():
    assert PAGE.read_text(encoding="utf-8") == fault_matrix.page()

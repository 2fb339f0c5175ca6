"""Laws that every baseline keeps, whichever it is."""

from dataclasses import replace

import numpy as np
import pytest

from diffsci import families
from diffsci.data.fields import Cases, Channel, Fields
from diffsci.evaluation.baselines.base import Baseline, Problem
from diffsci.grid import Grid

WINDOWS, MEMBERS, SPACE = 30, 5, (3, 4)


def problem(task, members=MEMBERS, seed=0, cases=(0, 1, 2, 3)):
    random = np.random.default_rng(1)
    channels = (Channel(variable="t", unit="K"), Channel(variable="q", unit="1"))
    grid = Grid(
        dims=("y", "x"),
        coordinates=((0.0, 1.0, 2.0), (0.0, 1.0, 2.0, 3.0)),
        units=("m", "m"),
        boundary=(("open", "open"),) * 2,
    )
    values = random.normal(size=(1, WINDOWS, 2, *SPACE)).astype(np.float32)
    train = Fields(
        values=values,
        channels=channels,
        grid=grid,
        trajectories=np.arange(1),
        times=np.arange(float(WINDOWS)),
        breaks=np.zeros(WINDOWS, dtype=bool),
        source="toy",
    )
    given = random.normal(size=(4, 2, *SPACE)).astype(np.float32)
    known = random.random((4, *SPACE)) < 0.5
    rows = list(cases)
    return Problem(
        train=train,
        train_given=None if task == "generate" else values[0] + np.float32(1),
        train_truth=values[0],
        given=None if task == "generate" else given[rows],
        cases=Cases(
            rows=np.zeros((len(rows), 2), dtype=np.int64),
            keys=tuple(f"case-{row}" for row in rows),
            trajectories=np.zeros(len(rows)),
            times=np.arange(len(rows)),
            leads=(1, 2, 3) if task == "forecast" else (),
            labels={"known": known[rows]} if task == "infill" else {},
        ),
        seed=seed,
        members=members,
    )


def dated(task, **changes):
    """The same with dates four times a day, and the test data that the cases come from."""
    asked = problem(task, **changes)
    if task != "forecast":
        return asked
    step = np.timedelta64(6, "h").astype("timedelta64[ns]")
    times = np.datetime64("2001-01-01", "ns") + step * np.arange(WINDOWS)
    random = np.random.default_rng(2)
    values = random.normal(size=(1, 12, 2, *SPACE)).astype(np.float32)
    later = times[-1] + step * np.arange(1, 13)
    test = replace(asked.train, values=values, times=later, breaks=np.zeros(12, dtype=bool))
    rows = np.array([[0, 5 + k] for k in changes.get("cases", range(4))])
    cases = replace(asked.cases, rows=rows, times=later[rows[:, 1]], step=step, stamps=later)
    return replace(
        asked,
        train=replace(asked.train, times=times),
        cases=cases,
        given=values[0, rows[:, 1]],
        test=test,
    )


@pytest.fixture(params=families.names("baselines"))
def baseline(request):
    if request.param in ("coarse_solver", "exact_solver"):
        pytest.skip("needs a solver and its data: its own tests hold it to these laws")
    return families.load("baselines", request.param)()


def test_it_is_a_baseline_for_known_tasks(baseline):
    assert isinstance(baseline, Baseline)
    assert set(baseline.tasks) <= set(families.names("tasks"))
    assert baseline.tasks


def test_it_gives_finite_members_for_each_case_lead_and_channel(baseline):
    for task in baseline.tasks:
        assert baseline.fits(dated(task)) is None
        found = baseline(dated(task))
        leads = 3 if task == "forecast" else 1
        assert found.shape[0] == 4
        assert found.shape[1] in (1, MEMBERS)
        assert found.shape[2:] == (leads, 2, *SPACE)
        assert np.isfinite(found).all()


def test_the_seed_alone_decides(baseline):
    for task in baseline.tasks:
        one, again = baseline(dated(task)), baseline(dated(task))
        np.testing.assert_array_equal(one, again)
        if one.shape[1] > 1 and baseline.drawn:
            assert not np.array_equal(one, baseline(dated(task, seed=1)))


def test_a_case_does_not_depend_on_the_others(baseline):
    for task in baseline.tasks:
        whole, part = baseline(dated(task)), baseline(dated(task, cases=(2,)))
        np.testing.assert_array_equal(part[0], whole[2])


def test_what_was_fitted_is_kept_for_further_cases(baseline):
    """A baseline is made block by block: each block as if it were alone."""
    for task in baseline.tasks:
        asked = dated(task)
        whole = baseline(asked)
        blocks = [baseline(asked.part(rows)) for rows in (slice(0, 1), slice(1, 4))]
        np.testing.assert_array_equal(np.concatenate(blocks), whole)

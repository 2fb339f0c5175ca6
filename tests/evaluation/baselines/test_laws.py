"""The law of each baseline's members, against what it should be."""

from dataclasses import replace

import numpy as np
import pytest

from diffsci.data.canonical.times import regular_step
from diffsci.data.fields import Cases, Fields
from diffsci.errors import DataError
from diffsci.evaluation.baselines import _damped
from diffsci.evaluation.baselines._damped import training_rows
from diffsci.evaluation.baselines.analogues import Analogues, _nearest
from diffsci.evaluation.baselines.base import Problem
from diffsci.evaluation.baselines.climatology import Climatology
from diffsci.evaluation.baselines.damped_anomaly import DampedAnomaly
from diffsci.evaluation.baselines.dressed_persistence import DressedPersistence
from diffsci.evaluation.baselines.gaussian import Gaussian
from diffsci.evaluation.baselines.interpolation import Interpolation
from diffsci.evaluation.baselines.linear_extrapolation import LinearExtrapolation
from diffsci.evaluation.baselines.persistence import Persistence
from diffsci.evaluation.baselines.yesterday import Yesterday
from tests.contracts.test_baselines import problem


def test_persistence_is_the_given_frame_at_every_lead():
    asked = problem("forecast")
    found = Persistence()(asked)
    for lead in range(3):
        np.testing.assert_array_equal(found[:, 0, lead], asked.given)


def test_climatology_members_are_distinct_training_fields_the_same_at_all_leads():
    asked = problem("forecast")
    found = Climatology()(asked)
    pool = asked.train.values[0].reshape(30, -1)
    for case in found:
        rows = [np.flatnonzero((pool == member[0].ravel()).all(axis=1)) for member in case]
        assert all(len(row) == 1 for row in rows)
        assert len({int(row[0]) for row in rows}) == len(case)
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 2])


def test_interpolation_adds_whole_training_residuals():
    """The toy's residual is -1 everywhere in every window."""
    asked = problem("downscale")
    found = Interpolation()(asked)
    # float32 sums of numbers of size 1.
    np.testing.assert_allclose(found[:, :, 0], np.repeat(asked.given[:, None], 5, 1) - 1, atol=1e-6)


def test_more_members_than_windows_are_drawn_with_replacement():
    assert Climatology()(problem("forecast", members=40)).shape[1] == 40
    assert Interpolation()(problem("downscale", members=40)).shape[1] == 40


def test_gaussian_has_mean_and_covariance_of_the_training_set():
    asked = problem("generate", members=20_000, cases=(0,))
    draws = Gaussian()(asked)[0].reshape(20_000, -1)
    data = asked.train.values.reshape(30, -1)
    error = np.sqrt(data.var(axis=0, ddof=1) / 20_000)
    assert (np.abs(draws.mean(axis=0) - data.mean(axis=0)) < 5 * error).all()
    exact, found = np.cov(data.T), np.cov(draws.T)
    # Of a Gaussian sample covariance: var = (s_ii s_jj + s_ij^2) / n; 5 of them for 300 entries.
    spread = np.sqrt((np.outer(exact.diagonal(), exact.diagonal()) + exact**2) / 20_000)
    assert (np.abs(found - exact) < 5 * spread).all()


def classes(labels, wanted):
    """One-cell fields equal to ten times their class, plus noise of 0.1."""
    base = problem("generate")
    random = np.random.default_rng(0)
    values = (10 * labels + 0.1 * random.normal(size=len(labels))).reshape(-1, 1, 1, 1, 1)
    train = Fields(
        values=values.astype(np.float32),
        channels=base.train.channels[:1],
        grid=base.train.grid,
        trajectories=np.arange(len(labels)),
        times=np.arange(1.0),
        breaks=np.zeros(1, dtype=bool),
        scalars=np.eye(3, dtype=np.float32)[labels],
        scalar_names=("label=0", "label=1", "label=2"),
        source="toy",
    )
    cases = Cases(
        rows=np.zeros((len(wanted), 2), dtype=np.int64),
        keys=tuple(f"case-{k}" for k in range(len(wanted))),
        trajectories=np.arange(len(wanted)),
        times=np.zeros(len(wanted)),
        labels={"label": np.array(wanted)},
    )
    return Problem(
        train=train,
        train_given=None,
        train_truth=train.values[:, 0],
        given=None,
        cases=cases,
        seed=0,
        members=4,
    )


def test_gaussian_is_fitted_class_by_class():
    wanted = [2, 0, 1, 2]
    found = Gaussian()(classes(np.arange(60) % 3, wanted))
    # 0.1 noise: 0.6 is six standard deviations, classes are 10 apart.
    assert np.abs(found.reshape(4, 4) - 10 * np.array(wanted)[:, None]).max() < 0.6


def test_gaussian_names_a_class_that_the_training_set_lacks():
    with pytest.raises(DataError, match="no class label=7.*label=0, label=1"):
        Gaussian()(classes(np.arange(6) % 3, [7]))
    with pytest.raises(DataError, match="label=2 has 1 training fields in toy"):
        Gaussian()(classes(np.array([0, 0, 1, 1, 2]), [2]))


def test_a_baseline_without_what_it_needs_says_so():
    with pytest.raises(DataError, match="persistence: needs the last given frame"):
        Persistence()(problem("generate"))
    with pytest.raises(DataError, match="interpolation: needs the coarse field"):
        Interpolation()(problem("generate"))


def dated(times, leads, step, starts, members=6):
    """A forecast problem whose training fields hold the number of their time, and nothing else."""
    base = problem("forecast")
    numbers = np.arange(len(times), dtype=np.float32).reshape(1, -1, 1, 1, 1)
    starts = np.array(starts, dtype=times.dtype)
    return Problem(
        train=replace(
            base.train,
            values=np.broadcast_to(numbers, (1, len(times), 1, *base.train.grid.sizes)).copy(),
            channels=base.train.channels[:1],
            times=times,
            breaks=np.zeros(len(times), dtype=bool),
        ),
        train_given=None,
        train_truth=np.zeros((1, 1, *base.train.grid.sizes), dtype=np.float32),
        given=None,
        cases=Cases(
            rows=np.zeros((len(starts), 2), dtype=np.int64),
            keys=tuple(f"case-{k}" for k in range(len(starts))),
            trajectories=np.zeros(len(starts)),
            times=starts,
            leads=leads,
            step=step,
        ),
        seed=0,
        members=members,
    )


def drawn_times(asked):
    """Number of the training time of each member: `[case, member, lead]`."""
    found = Climatology()(asked)
    assert (found == found[..., :1, :1]).all()
    return found[:, :, :, 0, 0, 0].astype(int)


def test_climatology_draws_the_season_and_the_hour_of_the_valid_time():
    """6-hourly, 3 years: the valid day of the year within 15 days, around New Year as well."""
    times = np.datetime64("2001-01-01", "ns") + np.arange(3 * 1461) * np.timedelta64(6, "h")
    starts = ["2010-12-31T06", "2012-02-29T00", "2010-07-10T18"]
    asked = dated(times, (1, 2, 40), np.timedelta64(6, "h"), starts, members=60)
    rows = drawn_times(asked)
    for case, start in enumerate(np.array(starts, dtype="datetime64[ns]")):
        for place, lead in enumerate(asked.cases.leads):
            valid = start + lead * np.timedelta64(6, "h")
            drawn = times[rows[case, :, place]]
            hour = (drawn - drawn.astype("datetime64[D]")) / np.timedelta64(1, "h")
            assert (hour == (valid - valid.astype("datetime64[D]")) / np.timedelta64(1, "h")).all()
            # The same date in the years around, one of which is near; a leap day counts as a day.
            near = [
                np.abs(drawn - (valid.astype("datetime64[D]") + np.timedelta64(days, "D")))
                for days in range(-365 * 13, 365 * 3, 365)
            ]
            # 15 days, the hour, and up to three leap days in 13 years.
            assert np.min(near, axis=0).max() <= np.timedelta64(19 * 24, "h")
            assert len(np.unique(drawn)) == 60
    # Both ends of the window are drawn from.
    assert not np.array_equal(rows[:, :, 0], rows[:, :, 1])


def test_climatology_of_months_draws_the_same_calendar_month():
    times = np.arange("1980-01", "2000-01", dtype="datetime64[M]").astype("datetime64[ns]")
    step, _ = regular_step(times)
    leads = tuple(range(1, 37))
    asked = dated(times, leads, step, ["2010-01-01", "2011-08-01"])
    rows = drawn_times(asked)
    for case, first in enumerate((0, 7)):
        for place, lead in enumerate(leads):
            assert (rows[case, :, place] % 12 == (first + lead) % 12).all()


def test_climatology_knows_other_calendars():
    cftime = pytest.importorskip("cftime")
    times = np.array(
        [cftime.Datetime360Day(2000 + n // 360, n % 360 // 30 + 1, n % 30 + 1) for n in range(1080)]
    )
    starts = [cftime.Datetime360Day(2010, 12, 30)]
    rows = drawn_times(dated(times, (1, 30), np.timedelta64(1, "D"), starts, members=90))
    for place, day in enumerate((0, 29)):
        apart = np.abs(rows[0, :, place] % 360 - day)
        apart = np.minimum(apart, 360 - apart)
        # 93 fields fit, and 90 different ones are drawn.
        assert apart.max() == 15
        assert len(np.unique(rows[0, :, place])) == 90


def test_climatology_of_too_few_fields_of_the_season_draws_from_all():
    times = np.datetime64("2001-01-01", "ns") + np.arange(40) * np.timedelta64(1, "D")
    # In July none fits; on 25 January those from 10 January to 9 February do.
    starts = ["2010-07-01", "2010-01-24"]
    rows = drawn_times(dated(times, (1, 2), np.timedelta64(1, "D"), starts, members=30))
    assert np.array_equal(rows[0, :, 0], rows[0, :, 1])
    assert rows[0].min() < 9
    assert (rows[1] >= 9).all()
    assert not np.array_equal(rows[1, :, 0], rows[1, :, 1])


def cycle(noise=0.0, damping=0.7, days=40, seed=0):
    """Hourly values: a daily cycle of each cell, and a damped anomaly about it, all cells alike."""
    random = np.random.default_rng(seed)
    step = np.timedelta64(6, "h").astype("timedelta64[ns]")
    times = np.datetime64("2001-01-01", "ns") + step * np.arange(4 * days)
    base = problem("forecast")
    height = random.normal(size=(4, 1, *base.train.grid.sizes))
    anomaly = np.zeros((4 * days, 1, *base.train.grid.sizes))
    anomaly[0] = random.normal(size=anomaly[0].shape)
    for time in range(1, 4 * days):
        shock = random.normal(size=anomaly[0].shape)
        anomaly[time] = damping * anomaly[time - 1] + noise * shock
    values = (height[np.arange(4 * days) % 4] + anomaly).astype(np.float32)[None]
    half = 2 * days
    train = replace(
        base.train,
        values=values[:, :half],
        channels=base.train.channels[:1],
        times=times[:half],
        breaks=np.zeros(half, dtype=bool),
    )
    test = replace(train, values=values[:, half:], times=times[half:])
    rows = np.array([[0, 4 + 3 * k] for k in range((half - 10) // 3)])
    cases = Cases(
        rows=rows,
        keys=tuple(str(k) for k in range(len(rows))),
        trajectories=np.zeros(len(rows)),
        times=test.times[rows[:, 1]],
        leads=(1, 2, 5),
        step=step,
        stamps=test.times,
    )
    asked = Problem(
        train=train,
        train_given=None,
        train_truth=values[0, :1],
        given=test.values[0, rows[:, 1]],
        cases=cases,
        seed=0,
        members=400,
        test=test,
    )
    truth = test.values[0, rows[:, 1][:, None] + np.array(cases.leads)]
    return asked, truth


def test_damped_anomalies_have_the_law_of_a_damped_process():
    """x(t + l) = c + d^l a(t) + noise of variance s^2 (1 - d^2l) / (1 - d^2)."""
    asked, _ = cycle(noise=0.5, days=400)
    found = DampedAnomaly()(asked)
    assert DampedAnomaly().fits(asked) is None
    values, kind = asked.train.values[0], np.arange(800) % 4
    climate = np.stack([values[kind == k].mean(axis=0) for k in range(4)])
    rows = asked.cases.rows[:, 1]
    anomaly = asked.given - climate[rows % 4]
    for number, lead in enumerate(asked.cases.leads):
        mean, std = found[:, :, number].mean(axis=1), found[:, :, number].std(axis=1)
        wanted = climate[(rows + lead) % 4] + 0.7**lead * anomaly
        spread = 0.5 * np.sqrt((1 - 0.49**lead) / (1 - 0.49))
        # 400 members; the slope has an error of some 0.01 (800 x 12 examples, hardly alike).
        assert np.abs(mean - wanted).max() < 5 * spread / np.sqrt(400) + 0.03
        assert np.abs(std / spread - 1).mean() < 0.06


def test_yesterday_of_a_pure_cycle_is_right():
    asked, truth = cycle()
    quiet = replace(asked, members=1)
    found = Yesterday()(quiet)
    # The anomaly has died out in the test half: what is left is float32 rounding of the cycle.
    assert np.abs(found[:, 0] - truth).max() < 1e-5


def test_yesterday_says_what_it_lacks():
    asked, _ = cycle()
    early = replace(asked.cases, rows=asked.cases.rows - [0, 4])
    assert "day of frames before" in Yesterday().fits(replace(asked, cases=early))
    assert "divide the day" in Yesterday().fits(problem("forecast"))
    short = replace(asked, train=replace(asked.train, values=asked.train.values[:, :6],
                    times=asked.train.times[:6], breaks=asked.train.breaks[:6]))  # fmt: skip
    assert "no training window" in Yesterday().fits(short)
    assert "no training window" in DampedAnomaly().fits(
        replace(short, cases=replace(asked.cases, leads=(1, 9)))
    )


def test_linear_extrapolation_goes_on_as_it_went():
    asked, _ = cycle(noise=0.5)
    found = LinearExtrapolation()(asked)
    rows = asked.cases.rows[:, 1]
    now, before = asked.test.values[0, rows], asked.test.values[0, rows - 1]
    for number in range(3):
        wanted = now + (number + 1) * (now - before)
        assert np.abs(found[:, 0, number] - wanted).max() < 1e-5
    alone = replace(asked, cases=replace(asked.cases, rows=np.zeros_like(asked.cases.rows)))
    assert "frame before" in LinearExtrapolation().fits(alone)


def test_the_past_never_crosses_a_break():
    asked, _ = cycle()
    breaks = asked.test.breaks.copy()
    breaks[4] = True  # between frames 3 and 4; the first case starts from 4
    broken = replace(asked, test=replace(asked.test, breaks=breaks))
    assert broken.past((0,)) is not None and broken.past((1,)) is None
    later = replace(broken, cases=replace(asked.cases, rows=asked.cases.rows + [0, 1]))
    assert later.past((1,)) is not None and later.past((2,)) is None


def test_analogues_of_a_pure_cycle_are_right():
    """What came after the same state of the cycle comes after it again."""
    asked, truth = cycle()
    found = Analogues()(replace(asked, members=3))
    # The anomaly has died out in the test half, and in most of the training half.
    assert np.abs(found[:, 0] - truth).max() < 1e-5


def test_analogues_are_the_nearest_that_lie_apart():
    """By hand: distances of windows 0 to 7 of a trajectory and 8 of another."""
    rows = np.array([[0, time] for time in range(8)] + [[1, 3]])
    distance = np.array([9.0, 1.0, 2.0, 3.0, 4.0, 0.5, 8.0, 7.0, 6.0])
    every = np.ones(9, dtype=bool)
    assert _nearest(distance, every, rows, 1, 3).tolist() == [5, 1, 2]
    # 1 and 5 are four apart; the other trajectory is apart from both, then distance alone.
    assert _nearest(distance, every, rows, 4, 4).tolist() == [5, 1, 8, 2]
    winter = np.arange(9) > 5
    assert _nearest(distance, winter, rows, 2, 3).tolist() == [8, 7, 5]


def test_analogues_are_of_the_hour():
    """Where all states are alike, those of another hour of the day are not taken."""
    asked, _ = cycle()
    still = np.zeros_like(asked.train.values)
    marked = still + np.arange(still.shape[1], dtype=np.float32).reshape(1, -1, 1, 1, 1)
    found = Analogues(apart=1)(replace(asked, members=2, train=replace(asked.train, values=marked)))
    first = found[:, :, 0, 0, 0, 0] - asked.cases.leads[0]
    wanted = asked.cases.rows[:, 1] % 4
    assert np.array_equal(first % 4, np.repeat(wanted[:, None], 2, axis=1))


def test_dressed_persistence_of_a_random_walk_has_its_spread():
    """x(t + l) = x(t) + the sum of l shocks: spread s sqrt(l), whole fields together."""
    base, random = problem("forecast", members=300), np.random.default_rng(3)
    times = 900
    shocks = 0.5 * random.normal(size=(1, times, 2, 3, 4)).astype(np.float32)
    walk = np.cumsum(shocks, axis=1)
    train = replace(
        base.train, values=walk, times=np.arange(float(times)), breaks=np.zeros(times, dtype=bool)
    )
    found = DressedPersistence()(replace(base, train=train))
    for number, lead in enumerate(base.cases.leads):
        moved = found[:, :, number] - base.given[:, None]
        # 300 of 897 windows that overlap.
        assert moved.std() == pytest.approx(0.5 * np.sqrt(lead), rel=0.05)
        assert np.abs(moved.mean(axis=1)).max() < 6 * 0.5 * np.sqrt(lead / 300)
    one = found[0, 0, 0] - base.given[0]
    windows = np.abs(walk[0, 1:] - walk[0, :-1] - one).max(axis=(1, 2, 3))
    assert windows.min() < 1e-5  # One window for all channels and cells.


def test_of_large_fields_fewer_windows_are_held(monkeypatch):
    """24 numbers a field: 40 fields in 3840 bytes are 10 windows that hold 4 each."""
    train = problem("forecast").train
    assert len(training_rows(train, 0, 3)) == 27
    monkeypatch.setattr(_damped, "_MOST_BYTES", 3840)
    assert len(training_rows(train, 0, 3)) == 27
    fewer = training_rows(train, 0, 3, held=4)
    assert len(fewer) == 10 and fewer[0, 1] == 0 and fewer[-1, 1] == 26

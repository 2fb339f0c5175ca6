"""Intervals of scores: where they lie, what they are of, and how often they hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from diffsci.evaluation.intervals import ANYWHERE, Bootstrap, influence
from tests.evaluation.test_resampling import CASES, damped

POSITIVE = (0.0, math.inf)


def mean(means):
    return means[..., 0]


def root(means):
    return np.sqrt(means[..., 0])


def ratio(means):
    return means[..., 0] / means[..., 1]


def test_the_influence_of_a_mean_a_root_and_a_ratio_is_that_of_calculus():
    random = np.random.default_rng(0)
    a, b = random.uniform(1, 2, (2, 4000))
    both = np.stack([a, b], axis=1)
    assert np.allclose(influence(mean, both), a - a.mean(), atol=1e-10)
    # Slopes: 1 / (2 sqrt m), and (a - r b) / mean of b; of second order in 1 / n.
    assert np.allclose(influence(root, both), (a - a.mean()) / 2 / root(a.mean()[None]), atol=1e-4)
    r = a.mean() / b.mean()
    assert np.allclose(influence(ratio, both), (a - r * b) / b.mean(), atol=1e-3)
    assert not influence(root, np.full((9, 1), 0.1)).any()


def test_the_interval_of_few_cases_is_students():
    """Of a mean of 7 cases: t(6) s / sqrt(n), but for the noise of 20 000 resamples."""
    series = np.random.default_rng(7).normal(size=(7, 1))
    told = Bootstrap(cases=7, resamples=20_000, confidence=0.9).interval(mean, series)
    half = stats.t.ppf(0.95, 6) * series.std(ddof=1) / math.sqrt(7)
    centre = series.mean()
    assert (told.low, told.high) == pytest.approx((centre - half, centre + half), abs=0.03 * half)


def test_an_interval_keeps_within_the_bounds_of_its_score():
    """Of skewed errors it leans to where they are rarer; of nine and a huge one, it ends at 0."""
    series = np.random.default_rng(1).lognormal(size=(40, 1))
    boot = Bootstrap(cases=40, resamples=500, confidence=0.95)
    plain, kept = boot.interval(mean, series), boot.interval(mean, series, POSITIVE)
    assert 0 < plain.low < kept.low < series.mean() < plain.high < kept.high
    # A factor would say nothing here, so it is in plain numbers.
    series = np.array([0.01] * 9 + [5.0])[:, None]
    boot = Bootstrap(cases=10, resamples=500, confidence=0.95)
    plain, kept = boot.interval(mean, series), boot.interval(mean, series, POSITIVE)
    assert plain.low < 0 == kept.low and kept.high == plain.high
    share = np.array([1.0] * 9 + [0.6])[:, None]
    held, free = boot.interval(mean, share, (0.0, 1.0)), boot.interval(mean, share)
    assert free.high > 1 >= held.high > share.mean() > held.low
    # At a bound all is one, and an unbiased estimate may be beyond it.
    assert boot.interval(mean, np.ones((10, 1)), (0.0, 1.0)).high == 1
    below = boot.interval(mean, series - 1, POSITIVE)
    assert below.low <= (series - 1).mean() <= below.high


def test_the_interval_of_few_cases_does_not_take_chance_for_a_long_memory():
    """RMSE of 8 independent cases of 10 cells, about 1: t(2) with a variance of 8 / 3, at most.

    A relative scatter of the mean square of 0.16, half of it for the root: 0.08 x 1.63 x 2.92 is
    a factor of 1.46 to either side, 2.1 in all; the scatter of the scatter doubles it in 200 sets.
    """
    random = np.random.default_rng(4)
    boot = Bootstrap(cases=8, resamples=200, confidence=0.9)
    for _ in range(200):
        square = (random.normal(size=(8, 10)) ** 2).mean(axis=1, keepdims=True)
        told = boot.interval(root, square, POSITIVE)
        assert told.high / told.low < 4.5


def test_the_interval_is_the_same_in_other_units_and_by_another_name_of_the_score():
    series = np.random.default_rng(1).lognormal(size=(40, 1))
    boot = Bootstrap(cases=40, resamples=300, confidence=0.9)
    one, two = (boot.interval(root, series * unit, POSITIVE) for unit in (1.0, 1e6))
    assert (two.low, two.high) == pytest.approx((1e3 * one.low, 1e3 * one.high), rel=1e-9)
    # On the logarithm a root is a half: the interval of the root is the root of the interval.
    squared = boot.interval(mean, series, POSITIVE)
    # The series of the two are proportional but for 1 / n, and so is the stretch.
    assert (one.low, one.high) == pytest.approx((squared.low**0.5, squared.high**0.5), rel=0.02)


def test_a_row_has_the_blocks_of_its_own_series():
    random = np.random.default_rng(2)
    boot = Bootstrap(cases=200, resamples=100, confidence=0.9)
    lasting, brief = damped(200, 0.8, random), random.normal(size=200)
    both = np.stack([lasting, brief], axis=1)
    assert boot.interval(mean, both).block > 4
    assert boot.interval(lambda means: means[..., 1], both).block <= 2
    assert math.isnan(Bootstrap(cases=1, resamples=9, confidence=0.9).interval(mean, both[:1]).low)


def errors(cases, correlation, cells, random):
    """Of independent cells, each a stationary AR(1) series of unit variance."""
    shocks = random.normal(size=(cases, cells)) * math.sqrt(1 - correlation**2)
    found = np.empty((cases, cells))
    found[0] = random.normal(size=cells)
    for k in range(1, cases):
        found[k] = correlation * found[k - 1] + shocks[k]
    return found


def covers(correlation, cases, trials, cells=10):
    """Shares of 95 % intervals of RMSE, mean absolute error and bias that hold the exact value.

    Of errors of unit variance: 1, the square root of 2 / pi, and 0.
    """
    random = np.random.default_rng(3)
    boot = Bootstrap(cases=cases, resamples=500, confidence=0.95)
    inside = np.zeros(3)
    for _ in range(trials):
        error = errors(cases, correlation, cells, random)
        made = (
            (root, error**2, POSITIVE, 1.0),
            (mean, np.abs(error), POSITIVE, math.sqrt(2 / math.pi)),
            (mean, error, ANYWHERE, 0.0),
        )
        for number, (value, each, bounds, exact) in enumerate(made):
            told = boot.interval(value, each.mean(axis=1, keepdims=True), bounds)
            inside[number] += told.low <= exact <= told.high
    return inside / trials


def test_intervals_of_scores_hold_the_truth():
    # Four standard errors of a share of 0.95 in 200 trials.
    assert np.abs(covers(0.6, 100, 200) - 0.95).max() < 4 * math.sqrt(0.95 * 0.05 / 200)


@pytest.mark.slow
@pytest.mark.parametrize(("correlation", "cases"), CASES)
def test_intervals_of_scores_hold_the_truth_in_93_to_97_of_100(correlation, cases):
    # And two standard errors of a share of 0.95 in 1000 trials.
    assert np.abs(covers(correlation, cases, 1000) - 0.95).max() < 0.02 + 0.014

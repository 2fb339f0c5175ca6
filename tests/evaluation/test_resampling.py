"""Blocks of the bootstrap: their length, their counts, and what their intervals cover."""

import numpy as np
import pytest

from diffsci.evaluation.resampling import block_length, stretch, weights


def damped(count, correlation, random):
    """A stationary AR(1) series of unit variance."""
    shocks = random.normal(size=count) * np.sqrt(1 - correlation**2)
    found = np.empty(count)
    found[0] = random.normal()
    for k in range(1, count):
        found[k] = correlation * found[k - 1] + shocks[k]
    return found


def test_independent_cases_are_drawn_one_by_one_as_ever():
    random = np.random.default_rng(0)
    assert np.median([block_length(random.normal(size=200)) for _ in range(50)]) <= 2
    old = np.random.default_rng(3).multinomial(20, np.full(20, 1 / 20), size=7) / 20
    assert np.array_equal(weights(20, 7, 1, 3), old)


def test_the_length_is_that_of_the_formula_for_a_damped_series():
    """(2 G^2 / D)^(1/3) n^(1/3), with G = 2 r / (1 - r)^2 / (1 + r) v, and D of the sum of all."""
    r, count = 0.7, 2000
    slope = 2 * r / (1 - r) ** 2  # sum of |k| r^|k|
    level = (1 + r) / (1 - r)  # sum of r^|k|
    wanted = (2 * slope**2 / (4 / 3 * level**2)) ** (1 / 3) * count ** (1 / 3)
    random = np.random.default_rng(1)
    found = [block_length(damped(count, r, random)) for _ in range(30)]
    assert np.median(found) == pytest.approx(wanted, rel=0.25)


def test_a_resample_is_made_of_whole_blocks_and_sums_to_one():
    found = weights(12, 500, 4, 0)
    assert np.allclose(found.sum(axis=1), 1) and found.shape == (500, 12)
    counts = np.round(found * 12).astype(int)
    assert counts.max() <= 3  # three blocks
    # Each case is as likely as any other: on a circle there are no ends.
    error = 5 * np.sqrt(3 / 500)
    assert np.abs(counts.mean(axis=0) - 1).max() < error
    # The first of a resample's blocks alone: neighbours come together.
    pairs = (counts[:, :-1] > 0) & (counts[:, 1:] > 0)
    assert pairs.mean() > 0.4


def test_what_has_no_autocorrelation_to_see_is_drawn_one_by_one():
    assert block_length(np.ones(50)) == 1 and block_length(np.arange(5.0)) == 1
    assert block_length(np.array([np.nan] * 20)) == 1
    assert block_length(np.arange(60.0)) <= 20  # a trend: as long as is allowed


@pytest.mark.parametrize(("correlation", "cases"), [(0.0, 200), (0.6, 200), (0.6, 56), (0.8, 100)])
def test_intervals_cover_the_truth(correlation, cases):
    """Of the mean of a series, 95 % intervals, 400 times; blocks of single cases cover far less."""
    random = np.random.default_rng(2)
    inside = {"blocks": 0, "single": 0}
    for trial in range(400):
        series = damped(cases, correlation, random)
        length = block_length(series)
        ways = {"blocks": (length, stretch(series, length, 0.95)), "single": (1, 1.0)}
        for word, (block, more) in ways.items():
            means = weights(cases, 300, block, trial) @ series
            means = series.mean() + more * (means - series.mean())
            low, high = np.quantile(means, [0.025, 0.975])
            inside[word] += low <= 0 <= high
    share = inside["blocks"] / 400
    # The standard error of the share is 0.011.
    assert 0.92 <= share <= 0.97
    if correlation:
        assert inside["single"] / 400 < share - 0.15


def test_independent_cases_are_not_stretched():
    random = np.random.default_rng(4)
    found = []
    for _ in range(50):
        series = random.normal(size=100)
        found.append(stretch(series, block_length(series), 0.9))
    assert np.median(found) == 1 and np.mean(np.array(found) > 1.1) < 0.2
    assert stretch(np.ones(30), 1, 0.9) == 1 and stretch(np.arange(5.0), 1, 0.9) == 1

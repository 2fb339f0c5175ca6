"""Blocks of the bootstrap: their length, their counts, and what their intervals cover."""

import numpy as np
import pytest

from diffsci.evaluation.resampling import accuracy, block_length, stretch, weights


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


CASES = [(r, n) for n in (56, 100, 200) for r in (0.0, 0.3, 0.6, 0.8)]


@pytest.mark.parametrize(("correlation", "cases"), [CASES[0], CASES[3], CASES[5], CASES[10]])
def test_intervals_cover_the_truth(correlation, cases):
    """Of the mean of a series, 95 % intervals, 300 times; blocks of single cases cover far less."""
    covers(correlation, cases, 300, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("correlation", "cases"), CASES)
def test_intervals_cover_the_truth_in_93_to_97_of_100(correlation, cases):
    covers(correlation, cases, 2500, 3)


def covers(correlation, cases, trials, errors):
    random = np.random.default_rng(2)
    inside = {"blocks": 0, "single": 0}
    for trial in range(trials):
        series = damped(cases, correlation, random)
        length = block_length(series)
        ways = {"blocks": (length, stretch(series, length, 0.95))}
        if correlation >= 0.6:
            ways["single"] = (1, 1.0)
        for word, (block, more) in ways.items():
            means = weights(cases, 200, block, trial) @ series
            means = series.mean() + more * (means - series.mean())
            low, high = np.quantile(means, [0.025, 0.975])
            inside[word] += low <= 0 <= high
    share = inside["blocks"] / trials
    # 0.93 to 0.97 is asked for; what chance adds, in standard errors of the share.
    chance = errors * np.sqrt(0.95 * 0.05 / trials)
    assert abs(share - 0.95) < (0.02 if trials > 1000 else chance)
    if correlation >= 0.6:
        assert inside["single"] / trials < share - 0.15


def test_few_cases_have_students_quantiles():
    """Five independent cases: the half-width of a mean is t(4) s / sqrt(n)."""
    series = np.random.default_rng(0).normal(size=5)
    wider, freedom = accuracy(series, 1)
    assert freedom == 4 and wider == pytest.approx(np.sqrt(5 / 4))
    assert accuracy(np.ones(9), 1) == (1.0, np.inf) and accuracy(np.ones(1), 1) == (1.0, np.inf)


def test_independent_cases_are_hardly_stretched():
    random = np.random.default_rng(4)
    found = []
    for _ in range(50):
        series = random.normal(size=100)
        found.append(stretch(series, block_length(series), 0.9))
    assert np.median(found) == pytest.approx(1.03, abs=0.06)
    assert stretch(np.ones(30), 1, 0.9) == 1


def test_the_scatter_of_the_mean_is_that_of_the_process():
    """Standard error of the mean of an AR(1): sqrt((1 + r) / (1 - r) / n) for large n."""
    random, r = np.random.default_rng(6), 0.5
    found = []
    for _ in range(40):
        series = damped(500, r, random)
        wider, _ = accuracy(series, 1)  # Blocks of one see the variance alone.
        found.append(wider * series.std() / np.sqrt(500))
    assert np.mean(found) == pytest.approx(np.sqrt((1 + r) / (1 - r) / 500), rel=0.06)

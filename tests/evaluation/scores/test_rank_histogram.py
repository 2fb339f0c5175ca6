"""Rank histogram: flat for a perfect ensemble, exact with ties."""

import numpy as np
import pytest

from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.rank_histogram import RankHistogram


def test_a_perfect_ensemble_is_flat_within_binomial_error():
    random = np.random.default_rng(0)
    cases, members = 50_000, 7
    pairs = Pairs(
        members=random.normal(size=(cases, members, 1)),
        truth=random.normal(size=(cases, 1)),
        weights=np.ones(1),
    )
    share = RankHistogram().statistics(pairs).mean(axis=0)
    p = 1 / (members + 1)
    assert np.abs(share - p).max() < 4 * np.sqrt(p * (1 - p) / cases)
    assert share.sum() == pytest.approx(1, rel=1e-12)


def test_by_hand_with_ties_and_weights():
    """First cell above one member of three; second equal to two and below one: ranks 0, 1, 2."""
    pairs = Pairs(
        members=np.array([[[0.0, 5.0], [2.0, 5.0], [3.0, 6.0]]]),
        truth=np.array([[1.0, 5.0]]),
        weights=np.array([0.5, 1.5]),
    )
    found = RankHistogram().statistics(pairs)
    np.testing.assert_allclose(found, [[0.25, 0.25 + 0.25, 0.25, 0.0]], atol=1e-15)


def test_all_equal_is_flat():
    pairs = Pairs(members=np.zeros((2, 4, 3)), truth=np.zeros((2, 3)), weights=np.ones(3))
    found = RankHistogram().statistics(pairs)
    np.testing.assert_allclose(found, 0.2, rtol=1e-14)
    assert RankHistogram().value(found.mean(axis=0)) == pytest.approx(0, abs=1e-14)


def test_too_high_an_ensemble_fills_the_first_rank():
    pairs = Pairs(members=np.ones((2, 4, 3)), truth=np.zeros((2, 3)), weights=np.ones(3))
    means = RankHistogram().statistics(pairs).mean(axis=0)
    np.testing.assert_allclose(means, [1, 0, 0, 0, 0], atol=1e-15)
    assert RankHistogram().value(means) == pytest.approx(0.8 + 4 * 0.2)


def test_one_member_has_no_value():
    pairs = Pairs(members=np.ones((2, 1, 3)), truth=np.zeros((2, 3)), weights=np.ones(3))
    assert np.isnan(RankHistogram().value(RankHistogram().statistics(pairs).mean(axis=0)))

"""CRPS against closed forms and an independent implementation."""

import math

import numpy as np
import pytest
import scores.probability
import xarray as xr

from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.crps import Crps, crps


def test_by_hand():
    members, truth = np.array([[[0.0], [2.0]]]), np.array([[1.0]])
    assert crps(members, truth) == 0.0  # error 1, half the fair spread 1
    assert crps(members, truth, fair=False) == 0.5  # error 1, half the plain spread 0.5


def test_fair_mean_is_that_of_the_law_at_any_size_and_the_plain_one_is_not():
    """N(0, 1) members and truth y: s [z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)]."""
    y, cases = 0.3, 200_000
    phi = math.exp(-y * y / 2) / math.sqrt(2 * math.pi)
    exact = y * math.erf(y / math.sqrt(2)) + 2 * phi - 1 / math.sqrt(math.pi)
    random = np.random.default_rng(0)
    for count in (2, 4):
        members, truth = random.standard_normal((cases, count)), np.full(cases, y)
        found = crps(members, truth)
        assert abs(found.mean() - exact) < 4 * found.std() / math.sqrt(cases)
        # The plain form misses E|X - X'| / 2m = 1 / (m sqrt(pi)).
        plain = crps(members, truth, fair=False)
        bias = 1 / (count * math.sqrt(math.pi))
        assert abs(plain.mean() - exact - bias) < 4 * plain.std() / math.sqrt(cases)


@pytest.mark.parametrize(("fair", "method"), [(True, "fair"), (False, "ecdf")])
def test_equals_an_independent_implementation(fair, method):
    random = np.random.default_rng(1)
    members = random.normal(size=(6, 9, 4, 5)) * 30 + 280
    truth = random.normal(size=(6, 4, 5)) * 30 + 280
    members[0, 3] = members[0, 4]  # ties
    theirs = scores.probability.crps_for_ensemble(
        xr.DataArray(members, dims=("case", "member", "y", "x")),
        xr.DataArray(truth, dims=("case", "y", "x")),
        "member",
        method=method,
        preserve_dims=["case", "y", "x"],
    )
    # Two float64 sums in different order over numbers of size 300.
    np.testing.assert_allclose(crps(members, truth, fair=fair), theirs.values, atol=1e-11)


def test_one_member_is_the_absolute_error():
    assert crps(np.array([[3.0]]), np.array([5.0])) == 2.0


def test_the_mean_is_weighted_by_area():
    """Error 1 in a cell of weight 1.5, 0 in one of weight 0.5."""
    pairs = Pairs(
        members=np.array([[[1.0, 0.0]]]), truth=np.zeros((1, 2)), weights=np.array([1.5, 0.5])
    )
    assert Crps().statistics(pairs)[0, 0] == 0.75


def test_splitting_a_cell_changes_nothing():
    random = np.random.default_rng(2)
    members, truth = random.normal(size=(3, 4, 2)), random.normal(size=(3, 2))
    coarse = Pairs(members=members, truth=truth, weights=np.array([1.0, 1.0]))
    halves = Pairs(
        members=members[..., [0, 0, 1]],
        truth=truth[..., [0, 0, 1]],
        weights=np.array([0.75, 0.75, 1.5]),
    )
    np.testing.assert_allclose(
        Crps().statistics(halves), Crps().statistics(coarse), rtol=1e-14, atol=1e-15
    )

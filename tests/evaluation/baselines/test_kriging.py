"""Kriging: what is known stays, and the rest has the moments of the conditional Gaussian."""

import numpy as np
import pytest

from diffsci.errors import ConfigError
from diffsci.evaluation.baselines.kriging import Kriging, posterior
from tests.contracts.test_baselines import problem


def test_draws_have_the_moments_of_the_conditional_gaussian():
    random = np.random.default_rng(0)
    root, nugget = random.normal(size=(6, 9)), 0.3
    known = np.arange(9) % 3 == 0
    values = random.normal(size=9)
    drawn = posterior(root, values, known, nugget, 40_000, random)
    assert np.array_equal(drawn[:, known], np.broadcast_to(values[known], (40_000, 3)))
    covariance = root.T @ root + nugget * np.eye(9)
    inside = covariance[np.ix_(~known, known)] @ np.linalg.inv(covariance[np.ix_(known, known)])
    mean = inside @ values[known]
    wanted = covariance[np.ix_(~known, ~known)] - inside @ covariance[np.ix_(known, ~known)]
    # Standard errors of 40 000 draws: 0.5 % of the spread, and 0.7 % of a variance.
    spread = np.sqrt(np.diag(wanted))
    assert (np.abs(drawn[:, ~known].mean(axis=0) - mean) < 4 * 0.005 * spread).all()
    found = np.cov(drawn[:, ~known].T)
    assert (np.abs(found - wanted) < 4 * 0.0072 * np.outer(spread, spread)).all()


def test_members_have_the_known_values_bit_for_bit():
    asked = problem("infill")
    members = Kriging()(asked)
    known = np.broadcast_to(asked.cases.labels["known"][:, None], asked.given.shape)
    for member in range(asked.members):
        assert np.array_equal(members[:, member, 0][known], asked.given[known])
    assert (members[:, 0, 0][~known] != members[:, 1, 0][~known]).all()


def test_what_is_not_known_is_not_looked_at():
    asked = problem("infill")
    given = np.where(asked.cases.labels["known"][:, None], asked.given, np.float32(99))
    other = Kriging()(type(asked)(**{**_plain(asked), "given": given}))
    assert np.array_equal(other, Kriging()(asked))


def _plain(asked):
    return {key: value for key, value in vars(asked).items() if not key.startswith("_")}


def test_wrong_values_name_the_key():
    with pytest.raises(ConfigError, match="rank: got 1, expected 2 or more"):
        Kriging(rank=1)

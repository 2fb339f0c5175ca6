"""RMSE, bias and spread over skill on ensembles whose law is known."""

import numpy as np
import pytest

from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.bias import Bias
from diffsci.evaluation.scores.rmse import Rmse
from diffsci.evaluation.scores.spread_skill import SpreadSkill


def value(score, pairs):
    return float(score.value(score.statistics(pairs).mean(axis=0)))


def law(cases=4000, members=4, cells=5, spread=1.0):
    """Members with `spread` times the standard deviation of the truth about a known mean."""
    random = np.random.default_rng(0)
    mean = random.normal(size=(cases, 1, cells)) * 3
    truth = (mean + random.normal(size=mean.shape))[:, 0]
    found = mean + spread * random.normal(size=(cases, members, cells))
    return Pairs(members=found, truth=truth, weights=np.ones(cells))


@pytest.mark.parametrize("members", [2, 4, 16])
def test_a_perfect_ensemble_has_spread_over_skill_one_at_any_size(members):
    # Each mean square is over 20000 draws: relative error sqrt(2 / 20000) = 1 %, half of it in the
    # root; 2 % is four of those.
    assert value(SpreadSkill(), law(members=members)) == pytest.approx(1, abs=0.02)


def test_half_the_spread_gives_its_closed_form():
    """Spread^2 = (1 + 1/m) s^2 over error^2 = 1 + s^2 / m, for s = 1/2 and m = 4."""
    exact = np.sqrt((5 / 4) * 0.25 / (1 + 0.25 / 4))
    assert value(SpreadSkill(), law(spread=0.5)) == pytest.approx(exact, rel=0.02)


def test_one_member_has_no_spread():
    assert np.isnan(value(SpreadSkill(), law(members=1, cases=5)))


def test_rmse_takes_the_root_after_the_mean_over_cases():
    """Errors 0 and 2: the root of the mean square is sqrt 2, the mean of the roots 1."""
    pairs = Pairs(
        members=np.array([[[1.0], [-1.0]], [[3.0], [1.0]]]),
        truth=np.zeros((2, 1)),
        weights=np.ones(1),
    )
    assert value(Rmse(), pairs) == pytest.approx(np.sqrt(2), rel=1e-15)
    assert value(Bias(), pairs) == 1.0


def test_rmse_of_a_perfect_ensemble_is_the_closed_form():
    # sqrt(1 + 1/m) for unit variance; statistical error as above.
    assert value(Rmse(), law(members=4)) == pytest.approx(np.sqrt(1.25), rel=0.02)

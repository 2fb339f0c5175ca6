"""Every score that another library has, against it: the same numbers to 1e-6 or better.

`scores`, `xskillscore` and `properscoring` are independent of each other and of ours. Where one
counts ranks or quantiles otherwise by convention, the conventions are brought together, not the
tolerance. `reliability`, `fractions`, `quantile`, `interval` and `threshold_crps` have theirs in
the files of their closed forms.
"""

import numpy as np
import properscoring
import pytest
import scores as library
import xarray as xr
import xskillscore

from diffsci.evaluation.scores.anomaly_correlation import AnomalyCorrelation
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.bias import Bias
from diffsci.evaluation.scores.brier import Brier
from diffsci.evaluation.scores.correlation import Correlation
from diffsci.evaluation.scores.coverage import Coverage
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.rank_histogram import RankHistogram
from diffsci.evaluation.scores.rmse import Rmse
from diffsci.evaluation.scores.spread_skill import SpreadSkill
from tests.evaluation.scores.test_events import value

DIMS = ("case", "member", "y", "x")
SPACE = ["y", "x"]


@pytest.fixture(scope="module")
def pairs():
    random = np.random.default_rng(7)
    weights = random.uniform(0.5, 1.5, size=(4, 5))
    return Pairs(
        members=280 + random.normal(size=(12, 6, 4, 5)),
        truth=280 + random.normal(size=(12, 4, 5)),
        weights=weights / weights.mean(),
        train=280 + random.normal(size=(30, 4, 5)),
    )


@pytest.fixture(scope="module")
def arrays(pairs):
    weights = xr.DataArray(pairs.weights, dims=SPACE)
    forecast = xr.DataArray(pairs.members, dims=DIMS)
    return forecast, xr.DataArray(pairs.truth, dims=("case", *SPACE)), weights


def test_crps(pairs, arrays):
    forecast, truth, weights = arrays
    each = properscoring.crps_ensemble(pairs.truth, np.moveaxis(pairs.members, 1, -1))
    wanted = (each * pairs.weights).mean()
    theirs = xskillscore.crps_ensemble(truth, forecast, weights=weights.broadcast_like(truth))
    assert float(theirs) == pytest.approx(wanted, rel=1e-12)
    assert value(Crps(fair=False), pairs) == pytest.approx(wanted, rel=1e-10)
    fair = library.probability.crps_for_ensemble(
        forecast, truth, "member", method="fair", weights=weights
    )
    assert value(Crps(), pairs) == pytest.approx(float(fair), rel=1e-10)


def test_error_and_bias_of_the_mean(pairs, arrays):
    forecast, truth, weights = arrays
    mean = forecast.mean("member")
    wide = weights.broadcast_like(truth)
    for ours, theirs in (
        (Rmse(), xskillscore.rmse(mean, truth, weights=wide)),
        (Rmse(), np.sqrt(library.continuous.mse(mean, truth, weights=weights))),
        (Bias(), xskillscore.me(mean, truth, weights=wide)),
        (Bias(), library.continuous.additive_bias(mean, truth, weights=weights)),
    ):
        assert value(ours, pairs) == pytest.approx(float(theirs), rel=1e-9, abs=1e-12)


def test_spread_over_skill(pairs, arrays):
    """Of six members: the mean unbiased variance times 7/6, over the squared error of the mean."""
    forecast, truth, weights = arrays
    spread = forecast.var("member", ddof=1).weighted(weights).mean()
    wide = weights.broadcast_like(truth)
    error = xskillscore.mse(forecast.mean("member"), truth, weights=wide)
    wanted = float(np.sqrt(spread * 7 / 6 / error))
    assert value(SpreadSkill(), pairs) == pytest.approx(wanted, rel=1e-9)


def test_brier(pairs, arrays):
    forecast, truth, weights = arrays
    each = properscoring.threshold_brier_score(
        pairs.truth, np.moveaxis(pairs.members, 1, -1), threshold=280.5
    )
    # Without the fair correction, which is the share of members times its complement over m - 1.
    share = (pairs.members > 280.5).mean(axis=1)
    fair = each - share * (1 - share) / 5
    assert value(Brier(threshold=280.5), pairs) == pytest.approx((fair * pairs.weights).mean())
    theirs = library.probability.brier_score_for_ensemble(
        forecast, truth, "member", [280.5], fair_correction=True, weights=weights
    )
    assert value(Brier(threshold=280.5), pairs) == pytest.approx(float(theirs.squeeze()), rel=1e-9)


def test_correlation_in_space(pairs, arrays):
    forecast, truth, weights = arrays
    theirs = xskillscore.pearson_r(
        forecast, truth.broadcast_like(forecast), dim=SPACE, weights=weights
    )
    assert value(Correlation(), pairs) == pytest.approx(float(theirs.mean()), rel=1e-9)


def test_anomaly_correlation(pairs, arrays):
    """Uncentred, over all cases at once: the cosine of the angle of the weighted anomalies."""
    forecast, truth, weights = arrays
    climate = xr.DataArray(pairs.train.mean(axis=0), dims=SPACE)
    one = forecast.mean("member") - climate
    two = truth - climate
    products = [(p.weighted(weights).mean()) for p in (one * two, one**2, two**2)]
    wanted = float(products[0] / np.sqrt(products[1] * products[2]))
    assert value(AnomalyCorrelation(), pairs) == pytest.approx(wanted, rel=1e-9)


def test_ranks(pairs, arrays):
    forecast, truth, _ = arrays
    flat = Pairs(members=pairs.members, truth=pairs.truth, weights=np.ones((4, 5)))
    theirs = xskillscore.rank_histogram(truth, forecast, dim=SPACE).values / 20
    assert np.allclose(RankHistogram().statistics(flat), theirs, atol=1e-12)


def test_the_probability_integral_transform_is_that_of_the_ranks(pairs, arrays):
    """Its distribution steps at k / m, by the share of rank k."""
    forecast, truth, _ = arrays
    pit = library.probability.Pit(forecast, truth, ensemble_member_dim="member").right
    flat = Pairs(members=pairs.members, truth=pairs.truth, weights=np.ones((4, 5)))
    shares = RankHistogram().statistics(flat).mean(axis=0)
    # Truth above k of the six members has the transform k / 6.
    found = pit.sel(pit_x_value=np.arange(7) / 6, method="nearest", tolerance=1e-9)
    assert found.values == pytest.approx(np.cumsum(shares), abs=1e-9)


def test_coverage_follows_from_the_ranks(pairs):
    """Of six members, 5/7 of the truths lie among them; that interval is the level 5/7."""
    inside = (pairs.truth > pairs.members.min(axis=1)) & (pairs.truth < pairs.members.max(axis=1))
    found = Coverage(levels=(5 / 7,)).statistics(pairs).mean(axis=0)
    assert found[0] == pytest.approx((inside * pairs.weights).mean(), rel=1e-9)

"""Scores of whole fields, against closed forms."""

import numpy as np
import pytest

from diffsci.evaluation.scores.anomaly_correlation import AnomalyCorrelation
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.correlation import Correlation
from diffsci.evaluation.scores.correlation_time import CorrelationTime
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.energy import Energy
from diffsci.evaluation.scores.variogram import Variogram
from diffsci.evaluation.scores.vrmse import Vrmse
from diffsci.evaluation.table import evaluate
from tests.evaluation.scores.test_events import value
from tests.evaluation.toys import line, results


def test_the_energy_score_of_one_cell_is_the_crps():
    random = np.random.default_rng(0)
    given = {"members": random.normal(size=(30, 6, 1)), "truth": random.normal(size=(30, 1))}
    pairs = Pairs(**given, weights=np.ones(1))
    assert value(Energy(), pairs) == pytest.approx(value(Crps(), pairs), rel=1e-12)


def test_the_energy_score_by_its_double_sum():
    random = np.random.default_rng(1)
    members, truth = random.normal(size=(2, 5, 3, 4)), random.normal(size=(2, 3, 4))
    weights = random.uniform(0.5, 1.5, size=(3, 4))
    weights /= weights.mean()

    def norm(field):
        return np.sqrt((weights * field**2).mean())

    for case in range(2):
        near = np.mean([norm(one - truth[case]) for one in members[case]])
        apart = sum(norm(one - two) for one in members[case] for two in members[case]) / (2 * 20)
        found = Energy().statistics(Pairs(members=members, truth=truth, weights=weights))[case, 0]
        assert found == pytest.approx(near - apart, rel=1e-12)


@pytest.mark.parametrize("members", [2, 3, 12])
def test_the_energy_score_is_fair(members):
    """Of a reliable ensemble it is E|X - X'| / 2 at any size, 2 Gamma(k+1/2) / Gamma(k) / 2 ..."""
    random = np.random.default_rng(2)
    width = 2
    pairs = Pairs(
        members=random.normal(size=(6000, members, width)),
        truth=random.normal(size=(6000, width)),
        weights=np.ones(width),
    )
    # X - X' is N(0, 2) in two cells, |d|^2 their mean: Rayleigh, mean sqrt(pi / 2).
    wanted = np.sqrt(np.pi / 2) / 2
    assert value(Energy(), pairs) == pytest.approx(wanted, abs=0.03)


def walk(count, size, correlation, random):
    """Stationary AR(1) rows of unit variance."""
    found = np.empty((count, size))
    found[:, 0] = random.normal(size=count)
    for i in range(1, size):
        shock = np.sqrt(1 - correlation**2) * random.normal(size=count)
        found[:, i] = correlation * found[:, i - 1] + shock
    return found


def test_the_variogram_score_sees_a_wrong_correlation_and_no_common_bias():
    random = np.random.default_rng(3)
    truth = walk(400, 30, 0.9, random)
    scores = {}
    for correlation in (0.0, 0.9):
        members = np.stack([walk(400, 30, correlation, random) for _ in range(12)], axis=1)
        pairs = Pairs(members=members, truth=truth, weights=np.ones(30))
        scores[correlation] = value(Variogram(), pairs)
        shifted = Pairs(members=members + 3, truth=truth, weights=np.ones(30))
        assert value(Variogram(), shifted) == pytest.approx(scores[correlation], rel=1e-9)
    assert scores[0.9] < 0.8 * scores[0.0]


def test_the_variogram_score_by_hand():
    """Roots of differences 1 and 2 against 0 and 3: (1 + 1) / 2 for lag 1 of three cells."""
    pairs = Pairs(
        members=np.array([[[0.0, 0.0, 9.0]]]),
        truth=np.array([[0.0, 1.0, 5.0]]),
        weights=np.ones(3),
    )
    assert value(Variogram(lags=(1,)), pairs) == pytest.approx(1.0)
    # Around the circle one pair more: roots of 5 and 9.
    around = Pairs(**{**pairs.__dict__, "periodic": (True,)})
    wanted = (1 + 1 + (np.sqrt(5) - 3) ** 2) / 3
    assert value(Variogram(lags=(1,)), around) == pytest.approx(wanted)


def test_correlations_of_a_mixture():
    """A forecast a y + b z of unit variance has the correlation a with the truth y."""
    random = np.random.default_rng(4)
    truth, other = random.normal(size=(2, 40, 5000))
    members = np.stack([0.6 * truth + 0.8 * other, truth], axis=1) * 3 + 7
    pairs = Pairs(members=members, truth=truth, weights=np.ones(5000))
    assert value(Correlation(), pairs) == pytest.approx((0.6 + 1) / 2, abs=0.003)


def test_anomaly_correlation_is_one_for_the_truth_and_knows_the_climate():
    random = np.random.default_rng(5)
    climate = 20 * random.normal(size=300)
    anomaly, other = random.normal(size=(2, 100, 300))
    train = climate + random.normal(size=(20_000, 300))
    weights = np.ones(300)

    def of(forecast):
        members = (climate + forecast)[:, None]
        pairs = Pairs(members=members, truth=climate + anomaly, weights=weights, train=train)
        return value(AnomalyCorrelation(), pairs)

    assert of(anomaly) == pytest.approx(1.0)
    assert of(2 * anomaly) == pytest.approx(1.0, abs=1e-3)  # the climate's mean has an error
    assert of(other) == pytest.approx(0.0, abs=0.02)
    assert of(-anomaly) == pytest.approx(-1.0, abs=1e-3)


def test_the_mean_in_space_has_a_vrmse_of_one():
    random = np.random.default_rng(6)
    truth, weights = random.normal(size=(5, 8, 9)), random.uniform(0.5, 1.5, size=(8, 9))
    weights /= weights.mean()
    mean = (truth * weights).mean(axis=(1, 2), keepdims=True)
    flat = np.broadcast_to(mean, truth.shape)[:, None]
    found = Vrmse().statistics(Pairs(members=flat, truth=truth, weights=weights))
    assert found == pytest.approx(1.0)
    half = (truth + mean)[:, None] / 2
    assert value(Vrmse(), Pairs(members=half, truth=truth, weights=weights)) == pytest.approx(0.5)


def test_the_time_of_high_correlation_by_hand():
    """Correlations 0.9 and 0.7 at leads 2 and 4: 0.8 is crossed at 3. Or never; or at once."""
    followed = np.array([[0.9, 0.95, 0.6], [0.7, 0.85, 0.9], [0.9, 0.9, 0.9]])[..., None]
    found = CorrelationTime().along(followed, (2.0, 4.0, 6.0))
    # The third falls from 1 at the start to 0.6 at lead 2, and is not found again.
    assert found[:, :, 0] == pytest.approx(np.tile([3.0, 6.0, 1.0], (3, 1)))
    flat = np.full((2, 1, 1), np.nan)
    assert CorrelationTime().along(flat, (1.0, 2.0))[0, 0, 0] == pytest.approx(0.1)


def test_the_table_has_one_row_of_a_time_in_the_unit_of_leads():
    found = results(line(), leads=(6.0, 12.0))
    made = evaluate(
        found.forecasts, found.truth, channels=found.channels, grid=found.grid, leads=found.leads,
        scores=[CorrelationTime(), Correlation()], resamples=10, confidence=0.9,
        lead_unit="h",
    )  # fmt: skip
    rows = [row for row in made.rows if row.score == "correlation_time"]
    assert [(row.lead, row.unit) for row in rows] == [(None, "h"), (None, "h")]
    assert 0 < rows[0].value <= 12

"""Scores of probabilities, quantiles and events, against closed forms and other libraries."""

import numpy as np
import pytest
import scores as library
import scores.spatial  # not imported by the library itself
import xarray as xr
from scipy import stats

from diffsci.errors import ConfigError
from diffsci.evaluation.scores.base import Climate, Pairs
from diffsci.evaluation.scores.brier import Brier
from diffsci.evaluation.scores.coverage import Coverage
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.fractions import Fractions
from diffsci.evaluation.scores.interval import Interval
from diffsci.evaluation.scores.quantile import Quantile, quantiles
from diffsci.evaluation.scores.threshold_crps import ThresholdCrps


def gaussian(cases=4000, members=8, spread=1.0, bias=0.0, seed=0, width=5):
    """Truths from N(0, 1), members from N(bias, spread^2), a few cells each."""
    random = np.random.default_rng(seed)
    return Pairs(
        members=bias + spread * random.normal(size=(cases, members, width)),
        truth=random.normal(size=(cases, width)),
        weights=np.ones(width),
        train=random.normal(size=(4000, width)),
    )


def value(score, pairs):
    return float(score.value(score.statistics(pairs).mean(axis=0)))


@pytest.mark.parametrize("members", [2, 5, 16])
def test_a_reliable_ensemble_covers_what_it_should_whatever_its_size(members):
    pairs = gaussian(members=members)
    shares = Coverage().statistics(pairs).mean(axis=0)
    # 20000 truths: a standard error of 0.0035 at most.
    assert np.abs(shares - [0.5, 0.8, 0.9, 0.95]).max() < 0.015
    assert value(Coverage(), gaussian(spread=0.5, members=members)) > 0.03


def test_coverage_by_hand():
    """Four members, the truth between the last two: rank 3 of 0 to 4, from 0.6 to 0.8."""
    pairs = Pairs(
        members=np.array([[0.0, 1.0, 2.0, 3.0]])[..., None],
        truth=np.array([[2.5]]),
        weights=np.ones(1),
    )
    # The interval of 0.5 is (0.25, 0.75): it covers 0.15 of the 0.2. That of 0.8 reaches to 0.9.
    found = Coverage(levels=(0.5, 0.8)).statistics(pairs)
    assert found == pytest.approx(np.array([[0.75, 1.0]]))
    alone = Pairs(members=pairs.members[:, :1], truth=pairs.truth, weights=pairs.weights)
    assert np.isnan(Coverage().statistics(alone)).all()


def test_quantiles_are_those_of_a_reliable_truth():
    members = np.random.default_rng(1).normal(size=(20_000, 9, 1))
    truth = np.random.default_rng(2).normal(size=(20_000, 1))
    for level, at in zip((0.1, 0.5, 0.9), quantiles(members, (0.1, 0.5, 0.9)), strict=True):
        assert np.mean(truth < at) == pytest.approx(level, abs=0.012)  # 5 standard errors


def test_pinball_loss_is_the_librarys():
    pairs = gaussian(cases=50)
    for level, at in zip((0.2, 0.7), quantiles(pairs.members, (0.2, 0.7)), strict=True):
        wanted = library.continuous.quantile_score(
            xr.DataArray(at), xr.DataArray(pairs.truth), level
        )
        assert value(Quantile(levels=(level,)), pairs) == pytest.approx(float(wanted), rel=1e-12)


def test_twice_the_mean_pinball_loss_of_all_levels_is_the_crps():
    pairs = gaussian(cases=200, members=400)
    levels = tuple((np.arange(200) + 0.5) / 200)
    # Levels in steps of 1/200, ensembles of 400: some thousandths.
    assert 2 * value(Quantile(levels=levels), pairs) == pytest.approx(
        value(Crps(), pairs), rel=0.01
    )


def test_the_interval_score_of_a_gaussian():
    """At the true quantiles -z and z of N(0, 1): 4 phi(z) / (1 - p), p the level."""
    z = stats.norm.ppf(0.95)
    wanted = 4 * stats.norm.pdf(z) / 0.1
    found = value(Interval(), gaussian(cases=1500, members=600))
    assert found == pytest.approx(wanted, rel=0.02)
    pairs = gaussian(cases=30)
    low, high = quantiles(pairs.members, (0.05, 0.95))
    theirs = library.continuous.quantile_interval_score(
        xr.DataArray(low), xr.DataArray(high), xr.DataArray(pairs.truth), 0.05, 0.95
    )["total"]
    assert value(Interval(), pairs) == pytest.approx(float(theirs), rel=1e-12)


@pytest.mark.parametrize("members", [2, 4, 16])
def test_fair_brier_of_a_reliable_ensemble_does_not_depend_on_its_size(members):
    """E = P (1 - P), the variance of the event."""
    share = stats.norm.sf(0.7)
    found = value(Brier(threshold=0.7), gaussian(members=members))
    assert found == pytest.approx(share * (1 - share), abs=0.01)  # 5 standard errors


def test_brier_is_the_librarys():
    pairs = gaussian(cases=60)
    theirs = library.probability.brier_score_for_ensemble(
        xr.DataArray(pairs.members, dims=("case", "member", "x")),
        xr.DataArray(pairs.truth, dims=("case", "x")),
        "member",
        [0.7],
        fair_correction=True,
    )
    assert value(Brier(threshold=0.7), pairs) == pytest.approx(float(theirs.squeeze()), rel=1e-12)


def test_threshold_weighted_crps_of_a_gaussian():
    """The integral over z > t of Phi(z) (1 - Phi(z)), for a reliable N(0, 1)."""
    grid = np.linspace(0.5, 12, 100_000)
    wanted = np.trapezoid(stats.norm.cdf(grid) * stats.norm.sf(grid), grid)
    found = value(ThresholdCrps(threshold=0.5), gaussian(cases=8000))
    assert found == pytest.approx(wanted, rel=0.05)
    below = value(ThresholdCrps(threshold=-9.0), gaussian(cases=50))
    assert below == pytest.approx(value(Crps(), gaussian(cases=50)), rel=1e-12)


def test_threshold_weighted_crps_is_the_librarys():
    pairs = gaussian(cases=40)
    theirs = library.probability.tail_tw_crps_for_ensemble(
        xr.DataArray(pairs.members, dims=("case", "member", "x")),
        xr.DataArray(pairs.truth, dims=("case", "x")),
        "member",
        0.4,
        tail="upper",
        method="fair",
    )
    assert value(ThresholdCrps(threshold=0.4), pairs) == pytest.approx(float(theirs), rel=1e-10)


def test_the_lower_tail_is_the_librarys_and_both_tails_are_the_crps():
    pairs = gaussian(cases=40)
    theirs = library.probability.tail_tw_crps_for_ensemble(
        xr.DataArray(pairs.members, dims=("case", "member", "x")),
        xr.DataArray(pairs.truth, dims=("case", "x")),
        "member",
        0.4,
        tail="lower",
        method="fair",
    )
    lower = value(ThresholdCrps(threshold=0.4, tail="lower"), pairs)
    assert lower == pytest.approx(float(theirs), rel=1e-10)
    assert lower + value(ThresholdCrps(threshold=0.4), pairs) == pytest.approx(
        value(Crps(), pairs), rel=1e-10
    )


def test_cells_without_a_training_value_now_and_then_have_the_quantile_of_the_others():
    """A NaN in the training set is left out of mean and quantile, in every score alike."""
    train = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, 3.0], [4.0, 7.0]])
    found = Climate.of(train, (0.5,))
    assert found.quantiles[0.5].tolist() == [2.5, 3.0] and found.mean.tolist() == [2.5, 11 / 3]
    nowhere = Climate.of(np.full((3, 2), np.nan), (0.5,))
    assert np.isnan(nowhere.mean).all()


def test_thresholds_are_quantiles_of_the_training_set_in_each_cell():
    pairs = gaussian(cases=20)
    limit = np.quantile(pairs.train, 0.8, axis=0)
    shifted = Pairs(
        members=pairs.members - limit,
        truth=pairs.truth - limit,
        weights=pairs.weights,
        train=pairs.train,
    )
    for kind in (Brier, Fractions):
        assert value(kind(quantile=0.8), pairs) == value(kind(threshold=0.0), shifted)
    with pytest.raises(ConfigError, match="brier: needs a training set.*brier:threshold=280"):
        Brier().statistics(Pairs(members=pairs.members, truth=pairs.truth, weights=pairs.weights))
    with pytest.raises(ConfigError, match="quantile: got 1.5, expected a share"):
        Brier(quantile=1.5)


def shower(place, size=12):
    field = np.zeros((1, size, size))
    field[0, place[0], place[1]] = 1.0
    return field


def test_a_displaced_shower_is_found_in_neighbourhoods_as_large():
    """Two single cells d apart along a dim, neighbourhoods of n cells: they share (n - d) / n."""
    truth = shower((5, 4))
    for apart in (0, 1, 2, 4):
        for cells in (1, 3, 5):
            found = value(
                Fractions(cells=cells, threshold=0.5),
                Pairs(members=shower((5, 4 + apart))[:, None], truth=truth,
                      weights=np.ones((12, 12))),
            )  # fmt: skip
            assert found == pytest.approx(max(0, cells - apart) / cells)


def test_fractions_go_around_where_the_grid_does():
    given = {"members": shower((5, 0))[:, None], "truth": shower((5, 11))}
    weights, score = np.ones((12, 12)), Fractions(cells=3, threshold=0.5)
    around = value(score, Pairs(**given, weights=weights, periodic=(False, True)))
    assert around == pytest.approx(2 / 3)
    assert value(score, Pairs(**given, weights=weights)) == pytest.approx(0.0)
    assert value(score, Pairs(members=0 * given["members"], truth=0 * given["truth"],
                              weights=weights)) == 1.0  # fmt: skip


def test_fractions_are_the_librarys():
    """With a rim without events, which has no part in either sum, both see the same windows."""
    random = np.random.default_rng(0)
    rim = ((0, 0), (0, 0), (3, 3), (3, 3))
    members = np.pad(random.normal(size=(1, 1, 20, 20)), rim, constant_values=-9.0)
    truth = np.pad(random.normal(size=(1, 20, 20)), rim[1:], constant_values=-9.0)
    theirs = library.spatial.fss_2d_single_field(
        members[0, 0], truth[0], event_threshold=0.5, window_size=(3, 3), zero_padding=False
    )
    pairs = Pairs(members=members, truth=truth, weights=np.ones((26, 26)))
    assert value(Fractions(cells=3, threshold=0.5), pairs) == pytest.approx(theirs, rel=1e-10)

"""Scores of sets of samples, against the closed forms of normal laws and brute force."""

import numpy as np
import pytest

from diffsci.evaluation.scores._samples import points
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.frechet import Frechet
from diffsci.evaluation.scores.mmd import Mmd, median_distance
from diffsci.evaluation.scores.precision import Precision
from diffsci.evaluation.scores.recall import Recall
from diffsci.evaluation.scores.return_level import ReturnLevel
from diffsci.evaluation.scores.sliced_wasserstein import SlicedWasserstein
from tests.evaluation.scores.test_events import value


def normal(cases=400, members=2, cells=4, shift=0.0, spread=1.0, seed=0):
    """Truths of N(0, I), members of N(shift, spread^2 I)."""
    random = np.random.default_rng(seed)
    return Pairs(
        members=shift + spread * random.normal(size=(cases, members, cells)),
        truth=random.normal(size=(cases, cells)),
        weights=np.ones(cells),
    )


def kernel_mean(variance, shift, width, cells):
    """E exp(-|d|^2 / (2 h^2)) of d from N(shift, variance I), |d|^2 the mean over cells."""
    h = width**2 * cells
    return (h / (h + variance)) ** (cells / 2) * np.exp(-cells * shift**2 / (2 * (h + variance)))


@pytest.mark.parametrize(("shift", "spread"), [(0.5, 1.0), (0.0, 1.6), (0.0, 1.0)])
def test_mmd_of_normal_laws(shift, spread):
    found, wanted = [], []
    for seed in range(8):
        pairs = normal(cases=200, shift=shift, spread=spread, seed=seed)
        width = median_distance(points(pairs)[1])
        of = [
            kernel_mean(variance, apart, width, 4)
            for variance, apart in ((2 * spread**2, 0), (2, 0), (1 + spread**2, shift))
        ]
        found.append(value(Mmd(), pairs))
        wanted.append(of[0] + of[1] - 2 * of[2])
    error = np.std(np.array(found) - wanted) / np.sqrt(8)
    assert abs(np.mean(found) - np.mean(wanted)) < 4 * error + 1e-12


def test_mmd_by_its_double_sums():
    pairs = normal(cases=6, members=2)
    members, truth = points(pairs)
    samples = members.reshape(12, -1)

    def kernel(one, two):
        square = ((one[:, None] - two) ** 2).sum(axis=-1)
        return np.exp(-square / (2 * median_distance(truth) ** 2))

    within = (kernel(samples, samples).sum() - 12) / (12 * 11)
    own = (kernel(truth, truth).sum() - 6) / (6 * 5)
    wanted = within + own - 2 * kernel(samples, truth).mean()
    assert value(Mmd(), pairs) == pytest.approx(wanted, rel=1e-10)


def test_its_interval_is_as_wide_as_its_spread_between_sets():
    """Resampling the cases finds the standard deviation that new sets have."""
    values = [value(Mmd(), normal(cases=150, shift=0.6, seed=seed)) for seed in range(40)]
    statistics = Mmd().statistics(normal(cases=150, shift=0.6, seed=99))
    drawn = np.random.default_rng(0).multinomial(150, np.full(150, 1 / 150), size=400) / 150
    assert np.std(Mmd().value(drawn @ statistics)) == pytest.approx(np.std(values), rel=0.35)


@pytest.mark.parametrize(("shift", "spread"), [(2.0, 1.0), (0.0, 3.0), (1.5, 2.0)])
def test_sliced_wasserstein_of_normal_laws(shift, spread):
    """Along each direction W^2 is the square of the means' distance and that of the deviations."""
    pairs = normal(cases=1000, shift=shift, spread=spread)
    found = value(SlicedWasserstein(directions=800), pairs)
    # 800 directions in 4 cells: the mean square of a shift's component is known to 4 %.
    assert found**2 == pytest.approx(shift**2 + (spread - 1) ** 2, rel=0.12)


def test_in_one_cell_it_is_the_sorted_distance():
    pairs = normal(cases=50, members=1, cells=1, spread=2.0)
    wanted = np.sort(pairs.members[:, 0, 0]) - np.sort(pairs.truth[:, 0])
    assert value(SlicedWasserstein(), pairs) == pytest.approx(np.sqrt((wanted**2).mean()))
    assert (
        value(SlicedWasserstein(), Pairs(**{**pairs.__dict__, "members": pairs.truth[:, None]}))
        == 0
    )


def test_frechet_distance_of_normal_laws():
    """N(a, s^2) and N(0, 1) in each of eight projections: units of the truth's deviation."""
    pairs = normal(cases=20_000, members=1, cells=40, shift=0.0, spread=1.5)
    # Projections are of equal covariance up to the factor 1.5^2: 8 (1.5 - 1)^2.
    assert value(Frechet(features="projections"), pairs) == pytest.approx(8 * 0.25, rel=0.05)
    same = normal(cases=20_000, members=1, cells=40)
    assert 0 <= value(Frechet(features="projections"), same) < 0.01


def test_frechet_distance_against_scipy():
    from scipy.linalg import sqrtm

    random = np.random.default_rng(3)
    mix = random.normal(size=(40, 40)) / 6
    pairs = normal(cases=500, members=1, cells=40, seed=1)
    pairs = Pairs(**{**pairs.__dict__, "members": pairs.members @ mix + 0.3})
    one, two = (
        fields.reshape(500, 40) @ (np.random.default_rng(0).standard_normal((40, 8)) / np.sqrt(40))
        for fields in (pairs.members, pairs.truth)
    )
    scale = two.std(axis=0)
    one, two = one / scale, two / scale
    first, second = np.cov(one.T, bias=True), np.cov(two.T, bias=True)
    wanted = ((one.mean(axis=0) - two.mean(axis=0)) ** 2).sum() + np.trace(
        first + second - 2 * sqrtm(first @ second).real
    )
    assert value(Frechet(features="projections"), pairs) == pytest.approx(wanted, rel=1e-8)


def test_spectral_features_see_a_blur_that_no_mean_shows():
    random = np.random.default_rng(4)
    truth, fresh = random.normal(size=(2, 300, 16, 16))
    blurred = (fresh + np.roll(fresh, 1, axis=1)) / np.sqrt(2)
    beside = {"truth": truth, "weights": np.ones((16, 16)), "periodic": (True, True)}
    sharp = value(Frechet(), Pairs(members=fresh[:, None], **beside))
    soft = value(Frechet(), Pairs(members=blurred[:, None], **beside))
    assert sharp < 0.2 and soft > 5


def brute(asked, centres, neighbours):
    own = np.sqrt(((centres[:, None] - centres) ** 2).sum(-1))
    reach = np.sort(own, axis=1)[:, neighbours]
    apart = np.sqrt(((asked[:, None] - centres) ** 2).sum(-1))
    return (apart <= reach).any(axis=1)


def test_precision_and_recall_by_brute_force():
    pairs = normal(cases=40, members=2, spread=1.4)
    members, truth = points(pairs)
    precision = brute(members.reshape(80, -1), truth, 3).mean()
    recall = np.mean([brute(truth, members[:, m], 3) for m in range(2)])
    assert value(Precision(), pairs) == pytest.approx(precision)
    assert value(Recall(), pairs) == pytest.approx(recall)


def test_a_model_that_leaves_out_a_class_has_no_recall_there_and_full_precision():
    random = np.random.default_rng(5)
    classes = 20.0 * (np.arange(400) % 2)
    truth = random.normal(size=(400, 2)) + classes[:, None]
    pairs = Pairs(members=random.normal(size=(400, 1, 2)), truth=truth, weights=np.ones(2))
    assert value(Precision(), pairs) > 0.9
    assert value(Recall(), pairs) == pytest.approx(0.5, abs=0.03)
    far = Pairs(**{**pairs.__dict__, "members": pairs.members + 100})
    assert value(Precision(), far) == value(Recall(), far) == 0


def test_return_levels_of_normal_laws():
    """The quantile 0.9 of N(0, s^2) is 1.2816 s, whatever the number of members."""
    for members in (1, 4):
        pairs = normal(cases=3000, members=members, cells=20, spread=1.5)
        found = ReturnLevel().statistics(pairs).mean(axis=0)
        assert found == pytest.approx([1.5 * 1.2816, 1.2816], abs=0.02)
    assert np.isnan(value(ReturnLevel(period=50.0), normal(cases=49)))


def test_the_interval_of_a_return_level_is_as_wide_as_its_spread():
    """The standard error of the quantile 0.9 of 300 values: sqrt(0.9 0.1 / 300) / phi(1.2816)."""
    errors = []
    for seed in range(30):
        statistics = ReturnLevel().statistics(normal(300, 1, 1, seed=seed))[:, 1]
        errors.append(statistics.std() / np.sqrt(300))
    # One estimate scatters by 40 %.
    assert np.mean(errors) == pytest.approx(np.sqrt(0.09 / 300) / 0.17550, rel=0.2)

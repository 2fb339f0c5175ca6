"""Laws that every score keeps, whichever it is."""

import math
from dataclasses import replace

import numpy as np
import pytest

from diffsci import families
from diffsci.errors import ConfigError
from diffsci.evaluation.scores.base import Climate, Pairs, Score

CASES, MEMBERS, SPACE = 12, 5, (6, 7)


def pairs(unit=1.0, order=slice(None)):
    """Members about a truth, with classes and a training set; `unit` changes the physical unit."""
    random = np.random.default_rng(3)
    truth = random.normal(size=(CASES, *SPACE))
    members = truth[:, None] + random.normal(size=(CASES, MEMBERS, *SPACE))
    weights = random.uniform(0.5, 1.5, size=SPACE)
    labels = np.arange(CASES) % 2
    train = random.normal(size=(40, *SPACE)) + (np.arange(40) % 2)[:, None, None]
    return Pairs(
        members=members[:, order] * unit,
        truth=truth * unit,
        weights=weights / weights.mean(),
        labels=labels,
        train=train * unit,
        train_labels=np.arange(40) % 2,
        periodic=(False, True),
        latitudes=np.linspace(75, -75, SPACE[0]),
    )


@pytest.fixture(params=families.names("scores"))
def score(request):
    return families.load("scores", request.param)()


def value(score, given):
    return score.value(score.statistics(given).mean(axis=0))


def test_it_is_a_score_with_a_goal_and_a_line_for_the_list(score):
    assert isinstance(score, Score)
    assert score.goal in ("0", "1", "higher")
    assert len(families.summary("scores", families.name_of(score))) > 20


def test_statistics_are_one_row_of_float64_a_case(score):
    found = score.statistics(pairs())
    assert found.dtype == np.float64
    assert found.shape[0] == CASES
    assert np.isfinite(found).all()


def test_the_order_of_members_does_not_matter(score):
    # Sums in another order: a few units in the last place of numbers of size 1.
    shuffled = pairs(order=[3, 0, 4, 1, 2])
    np.testing.assert_allclose(value(score, shuffled), value(score, pairs()), rtol=1e-11)


def test_a_change_of_unit_changes_the_value_as_its_unit_says(score):
    factor = 4.0 if score.unit("K") == "K" and not score.timed else 1.0
    # The regression of class_accuracy and all else: exact powers of two, so rounding is the same,
    # but for what is a difference of larger numbers.
    np.testing.assert_allclose(
        value(score, pairs(unit=4.0)), factor * value(score, pairs()), rtol=1e-9, atol=1e-13
    )


def of_kind(kind, seed):
    """Random members: of the truth's law, turned over, far above it or below, or it itself."""
    given, random = pairs(), np.random.default_rng(seed)
    truth = random.normal(size=given.truth.shape)
    noise = random.normal(size=given.members.shape)
    members = {
        "alike": noise,
        "turned": 0.1 * noise - truth[:, None],
        "above": 30 + 5 * noise,
        "below": 0.1 * noise - 30,
        "perfect": np.broadcast_to(truth[:, None], noise.shape),
    }
    return replace(given, members=members[kind], truth=truth)


@pytest.mark.parametrize("kind", ["alike", "turned", "above", "below", "perfect"])
def test_values_lie_within_the_bounds(score, kind):
    """Between which the ends of its interval lie, too."""
    low, high = score.bounds
    if families.name_of(score) == "mmd" and kind in ("alike", "perfect"):
        low = -math.inf  # an unbiased estimate of 0; its interval knows that (`intervals.py`)
    # A perfect score is a difference of equal numbers of size 1: rounding may leave it below 0.
    slack = 1e-12
    for seed in range(3):
        statistics = score.along(score.statistics(of_kind(kind, seed))[None], (6.0,))[0]
        weights = np.random.default_rng(seed).dirichlet(np.ones(CASES), size=20)
        found = score.value(np.concatenate([statistics.mean(axis=0)[None], weights @ statistics]))
        inside = (found >= low - slack) & (found <= high + slack)
        assert (inside | np.isnan(found)).all(), (seed, found[~inside])


def test_value_works_on_many_resamples_at_once(score):
    statistics = score.statistics(pairs())
    weights = np.random.default_rng(0).dirichlet(np.ones(CASES), size=(3, 4))
    together = score.value(weights @ statistics)
    assert together.shape == (3, 4)
    assert together[2, 1] == pytest.approx(
        float(score.value(weights[2, 1] @ statistics)), rel=1e-12
    )


def test_cases_are_scored_alone(score):
    """Statistics of a case do not depend on its neighbours: chunks may be cut anywhere."""
    if score.scope == "set":
        pytest.skip("compares cases with each other, by definition")
    whole, given = score.statistics(pairs()), pairs()
    part = replace(
        given, members=given.members[4:6], truth=given.truth[4:6], labels=given.labels[4:6]
    )
    np.testing.assert_allclose(score.statistics(part), whole[4:6], rtol=1e-11, atol=1e-13)


def test_statistics_of_cells_are_the_means_of_their_slabs(score):
    """What lets a field be scored in pieces, with quantiles of the training set made once."""
    if score.scope != "cells":
        pytest.skip("sees whole fields")
    given = pairs()
    once = replace(given, climate=Climate.of(given.train, score.quantile_levels))
    slabs = [slice(0, 1), slice(1, 4), slice(4, 6)]
    parts = [score.statistics(once.rows(rows)) * (rows.stop - rows.start) / 6 for rows in slabs]
    np.testing.assert_allclose(sum(parts), score.statistics(given), rtol=1e-12, atol=1e-14)


def test_splitting_cells_changes_nothing_where_each_is_scored_alone(score):
    if score.scope != "cells":
        pytest.skip("neighbours matter")
    given = pairs()
    split = replace(
        given,
        members=np.repeat(given.members, 2, axis=2),
        truth=np.repeat(given.truth, 2, axis=1),
        weights=np.repeat(given.weights, 2, axis=0),
        train=np.repeat(given.train, 2, axis=1),
        latitudes=None,
    )
    np.testing.assert_allclose(value(score, split), value(score, given), rtol=1e-11, atol=1e-14)


def test_without_training_data_it_says_so(score):
    if not score.needs_train:
        pytest.skip("compares with no training data")
    bare = Pairs(members=np.zeros((1, 2, 3)), truth=np.zeros((1, 3)), weights=np.ones(3))
    with pytest.raises(ConfigError, match=f"{families.name_of(score)}: needs .*leave it out"):
        score.statistics(bare)

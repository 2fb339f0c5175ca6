"""Reliability: isotonic regression against another implementation, identities, frequencies."""

import numpy as np
import pytest
import scores as library
import xarray as xr

from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.reliability import Reliability, decomposed, pooled


def said(probability, count, cases=20_000, seed=0):
    """Ensembles of `count` members that say k/m, and events that follow a rule."""
    random = np.random.default_rng(seed)
    above = random.integers(0, count + 1, size=cases)
    members = (np.arange(count)[None] < above[:, None]).astype(float)[..., None]
    truth = (random.uniform(size=cases) < probability(above / count)).astype(float)[:, None]
    return Pairs(members=members, truth=truth, weights=np.ones(1)), above / count, truth[:, 0]


def means(pairs):
    return Reliability(threshold=0.5).statistics(pairs).mean(axis=0)


def test_pooling_is_isotonic_regression():
    random = np.random.default_rng(1)
    for _ in range(30):
        frequency, weight = random.uniform(size=9), random.uniform(size=9)
        fit = library.probability.isotonic_fit(
            np.arange(9.0), frequency, weight=weight, functional="mean"
        )
        found = pooled(frequency, weight)
        # Scores gives the regression at each distinct forecast value.
        assert np.allclose(found, fit["regression_values"], atol=1e-12)
    many = pooled(np.tile(frequency, (4, 1)), np.tile(weight, (4, 1)))
    assert np.array_equal(many, np.tile(found, (4, 1)))


def test_the_parts_add_up_to_the_brier_score():
    pairs, probability, event = said(lambda p: p**2, 6, cases=500)
    miscalibrated, discrimination, uncertainty = decomposed(means(pairs))
    brier = float(((probability - event) ** 2).mean())
    assert miscalibrated - discrimination + uncertainty == pytest.approx(brier, rel=1e-12)
    assert uncertainty == pytest.approx(event.mean() * (1 - event.mean()), rel=1e-12)
    theirs = library.probability.brier_score(xr.DataArray(probability), xr.DataArray(event))
    assert brier == pytest.approx(float(theirs), rel=1e-12)
    assert miscalibrated > 0 and discrimination > 0


def test_probabilities_that_come_true_are_reliable():
    """Pooling fits what is chance: some 1 / cases for each of the m + 1 values."""
    found = decomposed(means(said(lambda p: p, 5)[0]))[0]
    assert 0 <= found < 20 / 20_000
    # Members of probability 1/2 say nothing, and are right: no discrimination either.
    flat = decomposed(means(said(lambda p: 0 * p + 0.5, 5)[0]))
    assert flat[1] < 20 / 20_000


def test_squared_frequencies_have_their_closed_form():
    """Of p uniform on 0, 1/4 ... 1, events of frequency p^2: the mean of (p - p^2)^2."""
    p = np.arange(5) / 4
    found = float(Reliability().value(means(said(lambda p: p**2, 4)[0])))
    assert found == pytest.approx(((p - p**2) ** 2).mean(), abs=0.003)  # 4 standard errors


def test_probabilities_that_were_never_said_do_not_matter():
    frequency = np.array([0.3, 0.9, 0.1, 0.7])
    weight = np.array([1.0, 0.0, 1.0, 1.0])
    assert np.allclose(pooled(frequency, weight)[[0, 2, 3]], [0.2, 0.2, 0.7])
    assert np.allclose(pooled(frequency, 0 * weight), 0)

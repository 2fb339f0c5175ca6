"""Scores of samples that answer to no single truth."""

import numpy as np

from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.class_accuracy import ClassAccuracy
from diffsci.evaluation.scores.memorisation import Memorisation, nearest


def blobs(count, random):
    """Two classes far apart: their centres are 8 standard deviations from each other."""
    labels = np.arange(count) % 2
    return random.normal(size=(count, 2, 2)) + 4 * labels[:, None, None], labels


def test_well_separated_classes_are_recognised_and_swapped_ones_are_not():
    random = np.random.default_rng(0)
    train, train_labels = blobs(200, random)
    truth, labels = blobs(50, random)
    pairs = Pairs(
        members=np.repeat(truth[:, None], 3, axis=1),
        truth=truth,
        weights=np.ones((2, 2)),
        labels=labels,
        train=train,
        train_labels=train_labels,
    )
    assert ClassAccuracy().statistics(pairs).mean() == 1.0
    half = np.stack([truth, truth[np.arange(50) ^ 1]], axis=1)  # the second is of the other class
    swapped = Pairs(
        members=half,
        truth=truth,
        weights=np.ones((2, 2)),
        labels=labels,
        train=train,
        train_labels=train_labels,
    )
    np.testing.assert_array_equal(ClassAccuracy().statistics(swapped), 0.5)


def test_nearest_is_the_brute_force_distance():
    random = np.random.default_rng(0)
    points, train = random.normal(size=(20, 6)), random.normal(size=(30, 6))
    brute = np.sqrt(((points[:, None] - train[None]) ** 2).sum(-1)).min(axis=1)
    np.testing.assert_allclose(nearest(points, train), brute, rtol=1e-9)


def test_copies_are_found_and_fresh_draws_are_not():
    random = np.random.default_rng(0)
    train, truth, fresh = (random.normal(size=(n, 10)) for n in (300, 2000, 2000))
    pairs = Pairs(members=fresh[:, None], truth=truth, weights=np.ones(10), train=train)
    share = Memorisation().statistics(pairs).mean()
    # Both the limit and the share are of 2000 draws: 1 % with error sqrt(2 * 0.01 / 2000) = 0.3 %.
    assert abs(share - 0.01) < 4 * 0.0032
    copies = fresh.copy()
    copies[:500] = train[random.integers(0, 300, 500)]
    pairs = Pairs(members=copies[:, None], truth=truth, weights=np.ones(10), train=train)
    assert Memorisation().statistics(pairs)[:500].mean() == 1.0

"""The score in closed form: its double sum, its shares, and the law at which it is least."""

import math

import numpy as np
import pytest
import torch

from diffsci.diffusion.noise import seeded
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.errors import FieldError
from diffsci.evaluation.scores.crps import crps


def normal(*shape, seed=0):
    return seeded(seed)(torch.empty(*shape, dtype=torch.float64), 0)


def by_pairs(found, target, divisor):
    """The definition, over all ordered pairs of members."""
    count, distances = len(found), torch.zeros_like(target)
    for one in found:
        for other in found:
            distances += (one - other).abs()
    return (found - target).abs().sum(dim=0) / count - distances / (2 * divisor)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_it_is_the_double_sum_over_pairs(count):
    found, target = normal(count, 3, 2, 5), normal(3, 2, 5, seed=1)
    fair = by_pairs(found, target, count * (count - 1))
    plain = by_pairs(found, target, count**2)
    for share in (0.0, 0.3, 0.95, 1.0):
        score = CRPS(members=count, fair=share).loss(found, target)
        # Sums of at most 49 numbers of about unit size, in another order.
        assert torch.allclose(score, share * fair + (1 - share) * plain, rtol=0, atol=1e-14)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_it_is_the_score_that_ensembles_are_judged_by(share):
    """Two implementations, in torch and numpy, of Ferro's formula and of the plain one."""
    found, target = normal(4, 3, 2, 5), normal(3, 2, 5, seed=1)
    judged = crps(np.moveaxis(found.numpy(), 0, 1), target.numpy(), fair=share == 1.0)
    score = CRPS(members=4, fair=share).loss(found, target).numpy()
    assert np.allclose(score, judged, rtol=0, atol=1e-14)


def test_by_hand():
    """Members 0, 1 and 5 of a truth of 2: error (2 + 1 + 3) / 3 = 2, distances 1 + 4 + 5 = 10.

    Fair: 2 - 10 / 6; plain: 2 - 10 / 9. With a share a of the fair one and e = (1 - a) / M, the
    source divides by M (M - 1) and multiplies by 1 - e: for a = 0.95, e = 1 / 60.
    """
    found = torch.tensor([5.0, 0.0, 1.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    target = torch.full((1, 1, 1), 2.0, dtype=torch.float64)
    for share, expected in ((1.0, 1 / 3), (0.0, 8 / 9), (0.95, 2 - (1 - 1 / 60) * 10 / 6)):
        assert float(CRPS(members=3, fair=share).loss(found, target)) == pytest.approx(expected)


def test_the_fair_score_leaves_one_member_free_and_the_share_holds_it():
    """All but one right: error d / M, fair distance d / M as well. So the score is 0 for any d."""
    target = torch.zeros(1, 1, 1, dtype=torch.float64)
    for distance in (0.1, 7.0):
        found = torch.zeros(3, 1, 1, 1, dtype=torch.float64)
        found[1] = distance
        assert abs(float(CRPS(members=3, fair=1.0).loss(found, target))) < 1e-14
        # What is left of the other: 0.05 x d / M x (1 - (M - 1) / M).
        left = float(CRPS(members=3, fair=0.95).loss(found, target))
        assert left == pytest.approx(0.05 * distance / 9, rel=1e-12)


def best_spread(share, members):
    """Spread over that of the truth at which normal members about its mean score least.

    With s the members' standard deviation in units of the truth's, E|X - y| is sqrt(2 (s^2 + 1) /
    pi), E|X - X'| is 2 s / sqrt(pi), of which the score takes half, times c = a + (1 - a)(M - 1)/M.
    The derivative vanishes at s^2 = c^2 / (2 - c^2).
    """
    c = share + (1 - share) * (members - 1) / members
    return c / math.sqrt(2 - c**2)


@pytest.mark.parametrize("members", [2, 4])
@pytest.mark.parametrize("share", [0.0, 0.95, 1.0])
def test_its_least_value_is_at_the_true_law(share, members):
    """Proper: of all normal laws the true one, mean 0.7 and spread 1.6, is best if it is fair.

    By Monte Carlo: the gradient of the mean score over 200 000 truths vanishes there, within 4.5
    standard errors; the value is the closed form; and 10 % away it is higher.
    """
    count, mean, std = 200_000, 0.7, 1.6
    objective = CRPS(members=members, fair=share)
    truth = mean + std * normal(count, 1, 1)
    draws = normal(members, count, 1, 1, seed=1)

    def score(shift, spread):
        return objective.loss(mean + shift + std * spread * draws, truth).flatten()

    best = best_spread(share, members)
    at = torch.tensor([0.0, best], dtype=torch.float64).expand(count, 2).clone().requires_grad_()
    places = at.T.reshape(2, count, 1, 1)
    loss = objective.loss(mean + places[0] + std * places[1] * draws, truth)
    (gradient,) = torch.autograd.grad(loss.sum(), at)
    error = gradient.std(dim=0) / count**0.5
    assert (gradient.mean(dim=0).abs() < 4.5 * error).all()
    assert (error < 0.01).all()  # so that the test can fail: 10 % away the slopes are 0.03 and more
    c = share + (1 - share) * (members - 1) / members
    exact = std * (math.sqrt(2 * (best**2 + 1) / math.pi) - c * best / math.sqrt(math.pi))
    assert abs(loss.mean() - exact) < 4.5 * loss.std() / count**0.5
    for shift, factor in ((0.3, 1.0), (-0.3, 1.0), (0.0, 0.8), (0.0, 1.25)):
        gap = score(shift, factor * best) - score(0.0, best)
        assert gap.mean() > 4.5 * gap.std() / count**0.5


def test_what_a_share_costs():
    """The default of two members: a spread 4.8 % too small for normal laws; of four, 2.5 %."""
    assert best_spread(1.0, 2) == 1.0
    assert best_spread(0.95, 2) == pytest.approx(0.952, abs=5e-4)
    assert best_spread(0.95, 4) == pytest.approx(0.975, abs=5e-4)
    assert best_spread(0.0, 2) == pytest.approx(0.378, abs=5e-4)


def test_values_out_of_range_are_named():
    with pytest.raises(FieldError, match="members: got 1, expected 2 or more: one has no spread"):
        CRPS(members=1)
    with pytest.raises(FieldError, match="noise: got 0, expected 1 number or more"):
        CRPS(noise=0)
    with pytest.raises(FieldError, match="fair: got 1.5, expected a share from 0 to 1"):
        CRPS(fair=1.5)

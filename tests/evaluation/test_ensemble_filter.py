"""The ensemble filter against the Kalman filter, whose law it has for a linear model."""

import numpy as np
import torch

from diffsci.diffusion.exact import Gaussian, kalman
from diffsci.evaluation.ensemble_filter import analysed, filtered


def law(members):
    """Mean and covariance of an ensemble, unbiased."""
    return Gaussian(
        mean=torch.from_numpy(members.mean(axis=0)),
        covariance=torch.from_numpy(np.cov(members.T)),
    )


def test_an_analysis_has_mean_and_covariance_of_the_kalman_filter():
    """For the covariance that the members have, with correlated states and unequal errors."""
    random = np.random.default_rng(0)
    members = random.standard_normal((9, 4)) @ random.standard_normal((4, 4)) + 2
    h, values, errors = (
        random.standard_normal((3, 4)),
        np.array([1.0, -1, 0.5]),
        np.array([0.3, 1, 2]),
    )
    made = law(analysed(members, members @ h.T, values, errors))
    exact = kalman(
        law(members),
        torch.from_numpy(h),
        torch.diag(torch.from_numpy(errors**2)),
        torch.from_numpy(values),
    )
    assert torch.allclose(made.mean, exact.mean, rtol=0, atol=1e-12)
    assert torch.allclose(made.covariance, exact.covariance, rtol=0, atol=1e-12)


def test_inflation_is_that_of_the_covariance_before():
    random = np.random.default_rng(1)
    members = random.standard_normal((6, 2))
    wide = members.mean(axis=0) + np.sqrt(1.5) * (members - members.mean(axis=0))
    h, y, r = np.eye(2)[:1], np.array([0.4]), np.array([0.7])
    one, two = analysed(members, members @ h.T, y, r, 1.5), analysed(wide, wide @ h.T, y, r)
    assert np.allclose(law(one).mean, law(two).mean, rtol=0, atol=1e-13)
    assert np.allclose(law(one).covariance, law(two).covariance, rtol=0, atol=1e-13)


def test_a_filter_over_linear_dynamics_follows_the_kalman_filter():
    """Ten frames of a turning, growing state, of which a sum is seen at every second frame."""
    random = np.random.default_rng(2)
    members = random.standard_normal((7, 3))
    turn = np.array([[1.0, 0.4, 0.0], [-0.4, 1.0, 0.1], [0.0, 0.2, 0.9]])
    h, r = np.array([[1.0, 0.0, 0.5]]), np.array([0.5])
    values = random.standard_normal((10, 1))

    def observe(frame, ensemble):
        seen = frame % 2 == 0
        return ensemble @ h.T[:, :seen], values[frame, :seen], r[:seen]

    exact = law(members)
    for frame, made in enumerate(filtered(members, lambda x: x @ turn.T, observe, 10)):
        f = torch.from_numpy(turn)
        if frame:
            exact = Gaussian(mean=f @ exact.mean, covariance=f @ exact.covariance @ f.mT)
        if frame % 2 == 0:
            noise = torch.diag(torch.from_numpy(r**2))
            exact = kalman(exact, torch.from_numpy(h), noise, torch.from_numpy(values[frame]))
        # Rounding, which the growth of 10 frames multiplies by 10 or so.
        assert torch.allclose(law(made).mean, exact.mean, rtol=0, atol=1e-11)
        assert torch.allclose(law(made).covariance, exact.covariance, rtol=0, atol=1e-11)

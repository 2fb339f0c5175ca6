"""The law of each baseline's members, against what it should be."""

import numpy as np
import pytest

from diffsci.data.fields import Cases, Fields
from diffsci.errors import DataError
from diffsci.evaluation.baselines.base import Problem
from diffsci.evaluation.baselines.climatology import Climatology
from diffsci.evaluation.baselines.gaussian import Gaussian
from diffsci.evaluation.baselines.interpolation import Interpolation
from diffsci.evaluation.baselines.persistence import Persistence
from tests.contracts.test_baselines import problem


def test_persistence_is_the_given_frame_at_every_lead():
    asked = problem("forecast")
    found = Persistence()(asked)
    for lead in range(3):
        np.testing.assert_array_equal(found[:, 0, lead], asked.given)


def test_climatology_members_are_distinct_training_fields_the_same_at_all_leads():
    asked = problem("forecast")
    found = Climatology()(asked)
    pool = asked.train.values[0].reshape(30, -1)
    for case in found:
        rows = [np.flatnonzero((pool == member[0].ravel()).all(axis=1)) for member in case]
        assert all(len(row) == 1 for row in rows)
        assert len({int(row[0]) for row in rows}) == len(case)
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 2])


def test_interpolation_adds_whole_training_residuals():
    """The toy's residual is -1 everywhere in every window."""
    asked = problem("downscale")
    found = Interpolation()(asked)
    # float32 sums of numbers of size 1.
    np.testing.assert_allclose(found[:, :, 0], np.repeat(asked.given[:, None], 5, 1) - 1, atol=1e-6)


def test_more_members_than_windows_are_drawn_with_replacement():
    assert Climatology()(problem("forecast", members=40)).shape[1] == 40
    assert Interpolation()(problem("downscale", members=40)).shape[1] == 40


def test_gaussian_has_mean_and_covariance_of_the_training_set():
    asked = problem("generate", members=20_000, cases=(0,))
    draws = Gaussian()(asked)[0].reshape(20_000, -1)
    data = asked.train.values.reshape(30, -1)
    error = np.sqrt(data.var(axis=0, ddof=1) / 20_000)
    assert (np.abs(draws.mean(axis=0) - data.mean(axis=0)) < 5 * error).all()
    exact, found = np.cov(data.T), np.cov(draws.T)
    # Of a Gaussian sample covariance: var = (s_ii s_jj + s_ij^2) / n; 5 of them for 300 entries.
    spread = np.sqrt((np.outer(exact.diagonal(), exact.diagonal()) + exact**2) / 20_000)
    assert (np.abs(found - exact) < 5 * spread).all()


def classes(labels, wanted):
    """One-cell fields equal to ten times their class, plus noise of 0.1."""
    base = problem("generate")
    random = np.random.default_rng(0)
    values = (10 * labels + 0.1 * random.normal(size=len(labels))).reshape(-1, 1, 1, 1, 1)
    train = Fields(
        values=values.astype(np.float32),
        channels=base.train.channels[:1],
        grid=base.train.grid,
        trajectories=np.arange(len(labels)),
        times=np.arange(1.0),
        breaks=np.zeros(1, dtype=bool),
        scalars=np.eye(3, dtype=np.float32)[labels],
        scalar_names=("label=0", "label=1", "label=2"),
        source="toy",
    )
    cases = Cases(
        rows=np.zeros((len(wanted), 2), dtype=np.int64),
        keys=tuple(f"case-{k}" for k in range(len(wanted))),
        trajectories=np.arange(len(wanted)),
        times=np.zeros(len(wanted)),
        labels={"label": np.array(wanted)},
    )
    return Problem(
        train=train,
        train_given=None,
        train_truth=train.values[:, 0],
        given=None,
        cases=cases,
        seed=0,
        members=4,
    )


def test_gaussian_is_fitted_class_by_class():
    wanted = [2, 0, 1, 2]
    found = Gaussian()(classes(np.arange(60) % 3, wanted))
    # 0.1 noise: 0.6 is six standard deviations, classes are 10 apart.
    assert np.abs(found.reshape(4, 4) - 10 * np.array(wanted)[:, None]).max() < 0.6


def test_gaussian_names_a_class_that_the_training_set_lacks():
    with pytest.raises(DataError, match="no class label=7.*label=0, label=1"):
        Gaussian()(classes(np.arange(6) % 3, [7]))
    with pytest.raises(DataError, match="label=2 has 1 training fields in toy"):
        Gaussian()(classes(np.array([0, 0, 1, 1, 2]), [2]))


def test_a_baseline_without_what_it_needs_says_so():
    with pytest.raises(DataError, match="persistence: needs the last given frame"):
        Persistence()(problem("generate"))
    with pytest.raises(DataError, match="interpolation: needs the coarse field"):
        Interpolation()(problem("generate"))

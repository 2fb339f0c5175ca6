"""Structure functions and spectra of rows and of the sphere, against closed forms."""

import numpy as np
import pytest
from scipy.special import sph_harm_y

from diffsci.errors import DataError
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.spectrum import power_spectrum
from diffsci.evaluation.scores.spherical_spectrum import SphericalSpectrum, spherical_spectrum
from diffsci.evaluation.scores.structure import Structure, structure_function
from diffsci.evaluation.scores.zonal_spectrum import ZonalSpectrum, zonal_spectrum
from tests.evaluation.scores.test_events import value


def test_the_structure_function_of_a_wave():
    """a sin(k x): a^2 (1 - cos(k r)), around the circle."""
    k, x = 2 * np.pi * 3 / 32, np.arange(32)
    found = structure_function(2 * np.sin(k * x)[None], np.ones(32), (1, 2, 5), (True,))
    assert found[0] == pytest.approx(4 * (1 - np.cos(k * np.array([1, 2, 5]))), rel=1e-12)


@pytest.mark.parametrize("sizes", [(24,), (8, 12), (4, 6, 8)])
def test_it_is_twice_variance_less_autocovariance(sizes):
    """By the theorem of Wiener and Khinchin, from the spectrum of a periodic field."""
    fields = np.random.default_rng(0).normal(size=(3, *sizes))
    around = (True,) * len(sizes)
    found = structure_function(fields, np.ones(sizes), (2,), around)[:, 0]
    axes = tuple(range(1, fields.ndim))
    covariance = [(fields * np.roll(fields, 2, axis=axis)).mean(axis=axes) for axis in axes]
    power = (fields**2).mean(axis=axes)
    assert found == pytest.approx(2 * (power - np.mean(covariance, axis=0)), rel=1e-12)


def test_distances_that_do_not_fit_are_left_out():
    pairs = Pairs(
        members=np.random.default_rng(0).normal(size=(2, 3, 5)),
        truth=np.random.default_rng(1).normal(size=(2, 5)),
        weights=np.ones(5),
    )
    assert Structure(lags=(1, 4, 5, 9)).statistics(pairs).shape == (2, 4)
    with pytest.raises(DataError, match="structure: no pair of cells is 8 apart"):
        Structure(lags=(8, 9)).statistics(pairs)


@pytest.mark.parametrize("kind", [Structure, ZonalSpectrum])
def test_a_factor_in_amplitude_is_its_logarithm_and_a_shift_is_no_error(kind):
    truth = np.random.default_rng(1).normal(size=(4, 6, 24))
    beside = {"weights": np.ones((6, 24)), "periodic": (False, True)}
    louder = Pairs(members=1.1 * truth[:, None], truth=truth, **beside)
    assert value(kind(), louder) == pytest.approx(2 * np.log(1.1), rel=1e-10)
    shifted = Pairs(members=np.roll(truth, 5, axis=2)[:, None], truth=truth, **beside)
    assert value(kind(), shifted) == pytest.approx(0, abs=1e-10)


def test_zonal_power_is_the_weighted_mean_of_rows_and_keeps_the_variance():
    random = np.random.default_rng(2)
    fields, share = random.normal(size=(2, 5, 16)), random.uniform(0.5, 1.5, 5)
    found = zonal_spectrum(fields, np.repeat(share[:, None], 16, axis=1), (False, True))
    variance = (fields.var(axis=2) * share / share.sum()).sum(axis=1)
    assert found.sum(axis=1) == pytest.approx(variance, rel=1e-12)
    row = power_spectrum(fields[0], (True,))
    assert found[0] == pytest.approx((row * (share / share.sum())[:, None]).sum(axis=0))


def sphere(rows, width, poles):
    edge = 90 if poles else 90 - 90 / rows
    return np.linspace(edge, -edge, rows), np.arange(width) * 360 / width


@pytest.mark.parametrize(("rows", "width", "poles"), [(12, 24, False), (13, 24, True)])
def test_harmonics_lie_in_their_wavenumber_alone(rows, width, poles):
    latitude, longitude = sphere(rows, width, poles)
    theta, phi = np.deg2rad(90 - latitude)[:, None], np.deg2rad(longitude)
    for degree, order in ((0, 0), (1, 0), (3, 2), (5, 5), (4, 1)):
        field = np.sqrt(4 * np.pi) * sph_harm_y(degree, order, theta, phi).real
        found = spherical_spectrum(np.broadcast_to(field, (1, rows, width)), latitude)[0]
        # The real part of a harmonic of order above 0 has half its square.
        assert found[degree] == pytest.approx(1.0 if order == 0 else 0.5, rel=1e-10)
        assert np.delete(found, degree).max() < 1e-20


def test_parseval_on_the_sphere():
    """Power sums to the area mean of the square, which two harmonics do not share."""
    latitude, longitude = sphere(16, 32, False)
    theta, phi = np.deg2rad(90 - latitude)[:, None], np.deg2rad(longitude)
    one, two = (np.sqrt(4 * np.pi) * sph_harm_y(n, m, theta, phi).real for n, m in ((2, 1), (6, 0)))
    found = spherical_spectrum((3 + 2 * one - two)[None], latitude)[0]
    assert found.sum() == pytest.approx(9 + 4 / 2 + 1, rel=1e-10)
    assert found[[0, 2, 6]] == pytest.approx([9, 2, 1], rel=1e-10)


def test_a_part_of_the_sphere_is_refused():
    truth = np.zeros((1, 6, 8))
    pairs = Pairs(members=truth[:, None], truth=truth, weights=np.ones((6, 8)))
    with pytest.raises(DataError, match="needs latitudes and longitudes"):
        SphericalSpectrum().statistics(pairs)
    north = Pairs(**{**pairs.__dict__, "latitudes": np.linspace(60, 10, 6),
                     "periodic": (False, True)})  # fmt: skip
    with pytest.raises(DataError, match="latitudes 10 to 60; take `spectrum`"):
        SphericalSpectrum().statistics(north)

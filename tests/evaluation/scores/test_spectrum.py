"""Spectra: Parseval's identity, single waves, the window, and known ratios."""

import numpy as np
import pytest

from diffsci.errors import DataError
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.spectrum import Spectrum, power_spectrum


@pytest.mark.parametrize("sizes", [(16,), (15,), (8, 12), (7, 9), (4, 6, 5)])
def test_parseval_on_periodic_fields(sizes):
    fields = np.random.default_rng(0).normal(size=(3, *sizes)) + 5
    total = power_spectrum(fields, (True,) * len(sizes)).sum(axis=1)
    variance = fields.var(axis=tuple(range(1, fields.ndim)))
    np.testing.assert_allclose(total, variance, rtol=1e-12)


def test_a_wave_lies_in_its_shell():
    x = np.arange(32) / 32
    spectrum = power_spectrum(3 * np.cos(2 * np.pi * 5 * x)[None], (True,))[0]
    assert spectrum[5] == pytest.approx(9 / 2, rel=1e-12)
    assert np.delete(spectrum, 5).max() < 1e-25  # rounding squared


def test_the_window_keeps_an_edge_from_hiding_steep_scales():
    """A straight slope has no waves beyond the longest; unwindowed its power falls as k^-2 only."""
    slope = np.linspace(0, 1, 64)[None]
    windowed, bare = power_spectrum(slope), power_spectrum(slope, (True,))
    assert windowed[0, 16] < 1e-4 * bare[0, 16]


def test_the_window_keeps_the_power_of_noise():
    """Mean square of the window is 1: white noise keeps its variance, but for the mean removed."""
    fields = np.random.default_rng(0).normal(size=(4000, 32))
    total = power_spectrum(fields).sum(axis=1)
    assert abs(total.mean() - 31 / 32) < 4 * total.std() / np.sqrt(4000)


def score_of(members, truth, periodic=(True,)):
    pairs = Pairs(members=members, truth=truth, weights=np.ones(truth.shape[1:]), periodic=periodic)
    return float(Spectrum().value(Spectrum().statistics(pairs).mean(axis=0)))


def test_a_factor_in_amplitude_is_its_logarithm():
    truth = np.random.default_rng(1).normal(size=(4, 24))
    members = np.repeat(1.1 * truth[:, None], 3, axis=1)
    assert score_of(members, truth) == pytest.approx(2 * np.log(1.1), rel=1e-12)
    assert score_of(members / 1.1, truth) == pytest.approx(0, abs=1e-12)


def test_a_shift_is_no_error_and_a_blur_is_its_transfer_function():
    truth = np.random.default_rng(1).normal(size=(4, 24))
    shifted = np.roll(truth, 7, axis=1)[:, None]
    assert score_of(shifted, truth) == pytest.approx(0, abs=1e-12)
    blurred = shifted + np.roll(shifted, 1, axis=2) / 2
    # |1 + exp(-i q) / 2|^2 = 1.25 + cos q at q = 2 pi k / 24.
    ratio = np.log(1.25 + np.cos(2 * np.pi * np.arange(1, 13) / 24))
    assert score_of(blurred, truth) == pytest.approx(np.sqrt((ratio**2).mean()), rel=1e-10)


def test_powers_are_averaged_before_the_logarithm():
    """Members at 0 and at sqrt 2 times the truth's amplitude have its mean power: no error."""
    truth = np.random.default_rng(1).normal(size=(4, 24))
    members = np.stack([0 * truth, np.sqrt(2) * truth], axis=1)
    assert score_of(members, truth) == pytest.approx(0, abs=1e-12)


def test_one_cell_has_no_scales():
    with pytest.raises(DataError, match="leave this score out"):
        score_of(np.zeros((1, 2, 1)), np.zeros((1, 1)))


def test_scales_below_the_rounding_of_float32_do_not_count():
    """A wave has no power elsewhere; members that have none either, up to rounding, are right."""
    angle = 2 * np.pi * np.arange(24) / 24
    truth = np.stack([np.sin(3 * angle + shift) for shift in range(4)])
    rounded = truth.astype(np.float32).astype(np.float64)[:, None]
    assert score_of(rounded, truth) < 1e-6
    noisy = rounded + 1e-2 * np.random.default_rng(0).normal(size=(4, 1, 24))
    assert 1 < score_of(noisy, truth) < np.inf

"""Recalibration: the factor by its closed form, members that stay, and intervals that hold."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from diffsci.diffusion.basis import Basis
from diffsci.errors import ConfigError, FieldError, NumericsError, StorageError
from diffsci.forecasting.calibration.calibrated import USUAL, warn_of_unusual
from diffsci.forecasting.calibration.fitted_spread import Fit, require_levels
from diffsci.forecasting.calibration.recalibration import Recalibration, filtered
from diffsci.grid import Grid
from diffsci.sections.calibrating import Calibrate
from tests.forecasting import makers


def ring(size=16):
    return Grid(
        dims=("x",),
        coordinates=(tuple(float(at) for at in range(size)),),
        units=("1",),
        boundary=(("periodic", "periodic"),),
    )


def drawn(cases, members, *, error=2.0, bias=0.7, size=16, seed=0, alike=0.0):
    """Members of variance 1 about a mean that misses the truth by `error`, and by a bias."""
    random = np.random.default_rng(seed)
    middle = 3 * random.standard_normal((cases, 1, 1, size))
    x = middle[:, None] + random.standard_normal((cases, members, 1, 1, size))
    own = random.standard_normal((cases, 1, 1, size))
    shared = random.standard_normal((cases, 1, 1, 1))
    y = middle + bias + error * (math.sqrt(1 - alike) * own + math.sqrt(alike) * shared)
    return x.astype(np.float32), y.astype(np.float32)


def fitted(x, y, grid=None, **settings):
    section = Calibrate(**{"members": x.shape[1], "cases": None} | settings)
    return Fit(section=section, grid=grid or ring(x.shape[-1]))(x, y)


def ratio(x, y):
    """Spread over skill with the (m + 1) / m correction."""
    m = x.shape[1]
    return math.sqrt(x.var(axis=1, ddof=1).mean() * (m + 1) / m / ((x.mean(1) - y) ** 2).mean())


def test_the_factor_is_that_of_the_closed_form():
    m, error = 8, 2.0
    found = fitted(*drawn(3000, m, error=error))
    exact = math.sqrt((error**2 + 1 / m) / (1 + 1 / m))
    # 48,000 independent points: 1.2 % is three standard deviations of the ratio of two variances.
    assert found.spread.item() == pytest.approx(exact, rel=0.012)
    assert found.shift.item() == pytest.approx(0.7, abs=4 * 2.1 / math.sqrt(48000))


@pytest.mark.parametrize("bands", [1, 3])
def test_a_condition_between_channels_outlives_a_factor_that_they_share(bands):
    """Both errors are as large as they are by the sum of their squares, each in its scale."""
    scales = np.array([2.0, 1.0])
    one, other = drawn(2000, 8, error=2.0, bias=0.0), drawn(2000, 8, error=1.0, bias=0.0, seed=1)
    x, y = (np.concatenate([2 * a, b], axis=a.ndim - 2) for a, b in zip(one, other, strict=True))
    section = Calibrate(members=8, cases=None, bias=False, bands=bands, levels=())
    found = Fit(section=section, grid=ring(), shared_by=scales)(x, y)
    assert (found.spread[:, 0] == found.spread[:, 1]).all()
    exact = math.sqrt(((4 + 1 / 8) + (1 + 1 / 8)) / 2 / (1 + 1 / 8))
    # 32,000 points of each channel, in three bands a third of them: four standard errors.
    assert found.spread == pytest.approx(exact, rel=0.02 * math.sqrt(bands))
    # Members that meet x_0 + 3 x_1 = 5 in each cell go on to; with a factor each they do not.
    x[..., 0, :] = 5 - 3 * x[..., 1, :]
    y[..., 0, :] = 5 - 3 * y[..., 1, :] + one[1][..., 0, :]
    basis = Basis.of(ring()) if bands > 1 else None
    for shared, met in ((scales, True), (None, False)):
        made = Fit(section=section, grid=ring(), shared_by=shared)(x, y)(x, basis)
        off = np.abs(made[..., 0, :] + 3 * made[..., 1, :] - 5).max()
        assert (off < 1e-4) == met


def test_cells_that_were_given_have_no_spread_that_could_be_wrong():
    """The truth is missing there, and members agree: the numbers are those of the rest."""
    x, y = drawn(40, 8)
    x[..., :4], y[..., :4] = 1.0, np.nan
    found, inside = fitted(x, y), fitted(x[..., 4:], y[..., 4:])
    assert found.spread.item() == pytest.approx(inside.spread.item(), rel=1e-12)
    assert found.shift.item() == pytest.approx(inside.shift.item(), rel=1e-12)


@pytest.mark.parametrize("error", [0.5, 2.0])
def test_the_ensemble_is_reliable_at_every_size_up_to_that_of_the_centre(error):
    found = fitted(*drawn(3000, 8, error=error))
    x, y = drawn(3000, 32, error=error, seed=1)
    made = found(x)
    for members in (2, 4, 8):
        assert ratio(made[:, :members], y) == pytest.approx(1, abs=0.025), members
    # Beyond, the centre is not the mean of all, and what it misses is in the mean, too.
    f2 = (error**2 + 1 / 8) / (1 + 1 / 8)
    f = math.sqrt(f2)
    wrong = error**2 + (1 - f) ** 2 / 8 + f2 / 32 + 2 * f * (1 - f) / 32
    assert ratio(made, y) == pytest.approx(math.sqrt(f2 * (1 + 1 / 32) / wrong), abs=0.025)
    assert ratio(x[:, :8], y) != pytest.approx(1, abs=0.1)


def test_a_reliable_ensemble_is_left_as_it_is():
    found = fitted(*drawn(3000, 8, error=1.0, bias=0.0))
    assert found.spread.item() == pytest.approx(1, abs=0.015)
    assert abs(found.shift.item()) < 0.01


def test_a_member_does_not_depend_on_how_many_others_there_are():
    found = fitted(*drawn(40, 4))
    x, _ = drawn(7, 12, seed=3)
    all_of_them = found(x)
    assert np.array_equal(found(x[:, :5]), all_of_them[:, :5])
    assert np.array_equal(found(x[2:4]), all_of_them[2:4])
    banded = fitted(*drawn(40, 4), bands=3)
    basis = Basis.of(ring())
    assert np.array_equal(banded(x[:, :5], basis), banded(x, basis)[:, :5])


def test_what_is_no_more_than_chance_is_not_taken_for_a_bias():
    """With the error of a case the same everywhere, 20 cases know its mean to a fifth of it."""
    shifts, means = [], []
    for seed in range(40):
        x, y = drawn(20, 4, bias=0.0, alike=0.9, seed=seed)
        shifts.append(fitted(x, y).shift.item())
        means.append(float((y - x.mean(axis=1)).mean()))
    assert np.mean(np.square(shifts)) < 0.5 * np.mean(np.square(means))
    assert np.mean([shift == 0 for shift in shifts]) > 0.4
    x, y = drawn(20, 4, bias=8.0, alike=0.9)
    assert fitted(x, y).shift.item() == pytest.approx(8, abs=4 * 2 / math.sqrt(20))
    assert fitted(x, y, bias=False).shift.item() == 0


def test_bands_have_factors_of_their_own():
    """Errors in one band alone: there the spread grows, elsewhere it shrinks."""
    grid, basis = ring(32), Basis.of(ring(32))
    x, y = drawn(500, 8, error=1.0, bias=0.0, size=32)
    plain = fitted(x, y, grid, bands=3)
    assert plain.spread.ravel() == pytest.approx([1, 1, 1], abs=0.06)
    only = np.array([[[0.0, 0.0, 3.0]]])
    rough = filtered(np.random.default_rng(5).standard_normal(y.shape), only, plain.edges, basis)
    found = fitted(x, y + rough.astype(np.float32), grid, bands=3)
    assert found.spread.ravel()[:2] == pytest.approx([1, 1], abs=0.06)
    assert found.spread.ravel()[2] == pytest.approx(math.sqrt((10 + 1 / 8) / (1 + 1 / 8)), rel=0.05)
    assert ratio(found(x[:100], basis), (y + rough)[:100]) == pytest.approx(1, abs=0.06)


def test_bands_add_up_to_the_field():
    fields = np.random.default_rng(0).standard_normal((2, 1, 1, 5, 8))
    grid = Grid(
        dims=("y", "x"),
        coordinates=(tuple(map(float, range(5))), tuple(map(float, range(8)))),
        units=("1", "1"),
        boundary=(("wall", "wall"), ("periodic", "periodic")),
    )
    basis = Basis.of(grid)
    parts = [
        filtered(fields, np.eye(3)[band].reshape(1, 1, 3), (0.1, 0.3), basis) for band in range(3)
    ]
    assert np.allclose(sum(parts), fields, atol=1e-12)
    power = sum((part**2).sum() for part in parts)
    assert power == pytest.approx((fields**2).sum(), rel=1e-12)


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_intervals_cover_what_they_promise_on_average(alike):
    """Over many draws of validation and test cases: between the level and 1 / n above it.

    However alike the cells of a case are; with cells that are all alike, a case is one point.
    """
    cases, covered = 59, []
    for seed in range(60):
        x, y = drawn(cases + 40, 4, alike=alike, seed=seed)
        found = fitted(x[:cases], y[:cases], levels=(0.5, 0.9))
        ends = found.intervals(x[cases:])
        inside = (ends[:, 0] <= y[cases:]) & (y[cases:] <= ends[:, 1])
        covered.append(inside.mean(axis=(1, 2, 3, 4)))
    mean, error = np.mean(covered, axis=0), np.std(covered, axis=0) / math.sqrt(60)
    for level, found, chance in zip((0.5, 0.9), mean, error, strict=True):
        assert level - 3 * chance < found < level + 1 / cases + 3 * chance


def test_few_cases_cannot_promise_much():
    require_levels((0.5, 0.9), 9)
    with pytest.raises(ConfigError, match=r"calibrate.levels: 0.9 takes 9 validation cases .* 8"):
        require_levels((0.5, 0.9), 8)


def test_intervals_are_about_the_same_members_whatever_the_number():
    found = fitted(*drawn(40, 4))
    x, _ = drawn(5, 9, seed=2)
    assert np.array_equal(found.intervals(x), found.intervals(x[:, :4]))


def test_gaps_and_failed_members_stay_what_they_are():
    x, y = drawn(40, 4)
    x[..., 3], y[..., 3] = np.nan, np.nan
    found = fitted(x, y)
    whole = fitted(np.delete(x, 3, axis=-1), np.delete(y, 3, axis=-1))
    assert found.spread.item() == pytest.approx(whole.spread.item(), rel=1e-12)
    assert found.radius.item() == pytest.approx(whole.radius.item(), rel=1e-12)
    new, _ = drawn(2, 4, seed=4)
    new[1, 2] = np.nan
    made = found(new)
    assert np.isnan(made[1, 2]).all() and np.isfinite(made[1, :2]).all()
    middle = new[1, [0, 1, 3]].mean(axis=0)
    assert np.allclose(
        made[1, 0], middle + found.shift + found.spread[..., 0] * (new[1, 0] - middle)
    )
    with pytest.raises(ConfigError, match="calibrate.bands: got 2, expected 1: the data has gaps"):
        fitted(x, y, bands=2)


def test_what_all_members_agree_on_was_given_and_stays():
    found = fitted(*drawn(40, 4, bias=8.0))
    x, _ = drawn(3, 6, seed=4)
    x[..., 3] = 281.37
    made = found(x)
    assert np.array_equal(made[..., 3], x[..., 3])
    assert (made[..., 4] - x[..., 4]).mean() > 4


def test_members_that_are_all_equal_have_no_spread_to_scale():
    x, y = drawn(20, 4)
    with pytest.raises(NumericsError, match="calibrate: all members are equal at step 1"):
        fitted(np.repeat(x[:, :1], 4, axis=1), y)


def test_it_comes_back_from_its_file_bit_by_bit():
    found = fitted(*drawn(40, 4), bands=2)
    again = Recalibration.from_json(found.to_json(), "f")
    assert again.digest == found.digest
    x, _ = drawn(3, 4, seed=9)
    assert np.array_equal(again(x, Basis.of(ring())), found(x, Basis.of(ring())))
    newer = found.to_json().replace('"format": 1', '"format": 2')
    with pytest.raises(StorageError, match="f: format 2 is newer than 1"):
        Recalibration.from_json(newer, "f")
    with pytest.raises(StorageError, match=r"f: is no calibration \(KeyError"):
        Recalibration.from_json('{"format": 1}', "f")


def test_it_is_refused_for_what_it_was_not_fitted_for():
    found = fitted(*drawn(40, 4))
    found.require_for({}, 1)
    with pytest.raises(ConfigError, match=r"got 2, .* up to step 1; sample.calibrated=false"):
        found.require_for({}, 2)
    with pytest.raises(ConfigError, match="fitted with sample.sampler None, and it is ddim now"):
        found.require_for({"sample.sampler": "ddim"}, 1)
    with pytest.raises(ConfigError, match="with sample.persistent_noise 0, and it is 0.5 now"):
        found.require_for({"sample.persistent_noise": "0.5"}, 1)


def test_too_few_cases_for_a_level_are_refused_when_the_file_is_read():
    assert Calibrate(cases=9, levels=(0.5, 0.9)).cases == 9
    with pytest.raises(FieldError, match=r"cases: got 8, expected 9 or more, which levels: 0.9"):
        Calibrate(cases=8, levels=(0.5, 0.9))


def test_factors_that_no_trained_model_needs_are_told(caplog):
    model = makers.forecasting()
    factors = np.array([[[1.9]], [[712.0]]])
    by = Recalibration(
        shift=np.zeros((2, 1)), spread=factors, edges=(), centre=4,
        levels=(), radius=np.zeros((0, 2, 1)), cases=9,
    )  # fmt: skip
    warn_of_unusual(replace(model, calibration=by))
    assert re.search(
        r"spread of u at 0.4 1 times 712, which is outside 0.2 to 5 \(fitted on 9 validation",
        caplog.text,
    )
    caplog.clear()
    usual = replace(by, spread=np.full((2, 1, 1), 1.9))
    section = replace(model.pipeline.sample, calibrated=False)
    off = replace(model, pipeline=replace(model.pipeline, sample=section), calibration=by)
    for quiet in (model, replace(model, calibration=usual), off):
        warn_of_unusual(quiet)
    assert not caplog.text


def test_chance_alone_does_not_reach_what_is_unusual():
    """Two cases, the fewest, of a reliable ensemble: 200 draws."""
    of_two = [drawn(2, 8, error=1.0, bias=0.0, seed=seed) for seed in range(200)]
    factors = [fitted(x, y, levels=()).spread.item() for x, y in of_two]
    assert USUAL[0] < min(factors) and max(factors) < USUAL[1]

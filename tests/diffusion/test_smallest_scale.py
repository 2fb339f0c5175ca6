"""The check of sigma_min, on random fields whose spectrum is known."""

import math

import pytest
import torch

from diffsci.diffusion.basis import Basis
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.smallest_scale import _FLOOR, Scale, smallest_scale, warning
from diffsci.errors import DataError

BASES = {
    "ring": Basis((32,), (True,)),
    "box": Basis((24, 16), (False, False)),
    "channel": Basis((16, 24), (False, True)),
}
everywhere = pytest.mark.parametrize("basis", BASES.values(), ids=BASES)


def fields(basis, stds, rows=400):
    """Random fields whose waves of band k have the standard deviation `stds[channel][k]`."""
    stds = torch.as_tensor(stds, dtype=torch.float64)
    unit = torch.empty(rows, len(stds), *basis.sizes, dtype=torch.float64)
    return basis.inverse(basis.by_band(stds) * seeded(0)(unit, 0))


def falling(basis, rate):
    return [math.exp(-rate * band) for band in range(basis.bands)]


@everywhere
def test_the_weakest_band_of_the_weakest_channel_is_found(basis):
    stds = [falling(basis, 0.05), falling(basis, 0.1)]
    stds[1][5] = 0.05
    found = smallest_scale(fields(basis, stds), basis, ["wide", "narrow"])
    assert (found.channel, found.band) == ("narrow", 5)
    assert found.wavelength == max(basis.sizes) / 5
    # At least 2 waves in 400 fields: the std has a standard error of 1 / sqrt(1600).
    assert abs(found.std / 0.05 - 1) < 4.5 / 1600**0.5


@everywhere
def test_white_noise_has_its_own_std_in_every_band(basis):
    found = smallest_scale(fields(basis, [[0.3] * basis.bands]), basis, ["white"])
    # The least of 13 to 30 estimates, the worst from one wave in 400 fields.
    assert 0.3 * (1 - 4.5 / 800**0.5) < found.std < 0.3


@everywhere
def test_the_widening_is_that_of_noise_on_the_fields(basis):
    """Add noise of std sigma_min, and measure the same band again."""
    stds = falling(basis, 0.05)
    stds[7] = 0.04
    clean = fields(basis, [stds])
    scale = smallest_scale(clean, basis, ["u"])
    sigma_min = 0.03
    noisy = smallest_scale(clean + sigma_min * seeded(1)(clean, 1), basis, ["u"])
    assert noisy.band == scale.band == 7
    # 25 %; the noise's variance in 2 waves and 400 fields is known to sqrt(2 / 800).
    assert abs(noisy.std / scale.std - 1.25) < 4.5 * 0.05 * 0.36
    message = warning(sigma_min, scale)
    stated = float(message.split("by ")[1].split(" %")[0])
    assert abs(stated - 25) < 3  # the std itself is an estimate


def test_bands_under_the_floor_are_left_out():
    basis = BASES["ring"]
    stds = falling(basis, 0.6)
    data = fields(basis, [stds])
    total = float(data.std())
    found = smallest_scale(data, basis, ["smooth"])
    assert found.std > _FLOOR * total
    assert stds[found.band + 1] < 1.1 * _FLOOR * total
    higher = smallest_scale(data, basis, ["smooth"], floor=0.1)
    assert 0.1 * total < higher.std
    assert higher.band < found.band


def test_the_floor_is_about_one_rounding_to_bfloat16():
    x = seeded(0)(torch.empty(100_000), 0)
    rounding = float((x.bfloat16().float() - x).std())
    assert _FLOOR < rounding < 2 * _FLOOR


def test_units_of_other_channels_do_not_hide_a_floor():
    """The floor is a share of each channel's own spread."""
    basis = BASES["ring"]
    data = fields(basis, [falling(basis, 0.05), [1e-6] * basis.bands])
    assert smallest_scale(data, basis, ["large", "tiny"]).channel == "tiny"


def test_a_mean_that_is_no_part_of_the_spread_does_not_count():
    basis = BASES["ring"]
    data = fields(basis, [falling(basis, 0.1)])
    assert smallest_scale(data + 50, basis, ["u"]).std == pytest.approx(
        smallest_scale(data, basis, ["u"]).std, rel=1e-9
    )


def test_two_percent_is_the_limit():
    scale = Scale(std=0.02, channel="t2m", band=8, wavelength=4.0)
    assert 0.00401 < 0.02 * math.sqrt(1.02**2 - 1) < 0.00403
    assert warning(0.00401, scale) is None
    assert warning(0.00403, scale) == (
        "model.schedule.sigma_min: 0.00403 leaves noise in every sample that makes waves of 4 "
        "cells in t2m vary too much, by 2.0 % of their standard deviation (0.02, normalised); "
        "0.004 or less would do"
    )


@pytest.mark.parametrize("std", [1e-3, 0.0123, 0.4975, 0.7, 3.0])
def test_the_value_that_is_named_would_do(std):
    scale = Scale(std=std, channel="u", band=0, wavelength=math.inf)
    message = warning(10.0, scale)
    assert "makes the mean of the field in u vary" in message
    named = float(message.split("; ")[1].split()[0])
    assert warning(named, scale) is None
    assert warning(1.2 * named, scale) is not None


def test_fields_that_say_nothing_are_refused():
    basis, constant = BASES["ring"], torch.full((3, 2, 32), 0.1)
    with pytest.raises(DataError, match=r"fields: no channel of \['a', 'b'\] varies"):
        smallest_scale(constant, basis, ["a", "b"])
    constant[1, 1, 3] = math.nan
    with pytest.raises(DataError, match="fields: got values that are not finite"):
        smallest_scale(constant, basis, ["a", "b"])

"""PDE-Refiner: its four calls, and the law that it ends with."""

import math

import pytest
import torch

from diffsci.diffusion.augmentation import descent
from diffsci.diffusion.exact import DiagonalGaussian, whole
from diffsci.families import load
from tests.diffusion.laws import f64
from tests.diffusion.samplers.variants import SCHEDULES, every_schedule, output_law


@every_schedule
def test_levels_of_the_preset_are_in_equal_ratios(schedule):
    seen = []

    def denoise(x_t, t):
        signal_scale, noise_std = schedule(t)
        seen.append(float(noise_std / signal_scale))
        return 0 * x_t

    sampler = load("samplers", "refiner")()
    sampler(denoise, schedule, f64([[1.0]]), lambda like, index: like)
    assert len(seen) == sampler.calls == 4
    seen.append(float(whole(schedule).after.noise_to_signal))
    ratios = [b / a for a, b in zip(seen, seen[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * 4, rel=1e-6)


@pytest.mark.parametrize("name", ["edm", "vp", "near"])
@pytest.mark.parametrize("steps", [1, 4, 64, 512])
def test_variance_follows_its_recursion(name, steps):
    """In y = x / c: V' = g^2 V + sigma'^2, where g = s^2 / (s^2 + sigma^2) shrinks an estimate."""
    schedule, s2 = SCHEDULES[name], f64([1.0, 0.01])
    law = DiagonalGaussian(mean=torch.zeros(2).double(), variance=s2)
    jumps = descent(schedule, steps, "log_snr", s2[None]).jumps
    expected = s2 + jumps[0].now.noise_to_signal ** 2
    for jump in jumps:
        gain = s2 / (s2 + jump.now.noise_to_signal**2)
        expected = gain**2 * expected + jump.after.noise_to_signal**2
    found = output_law(("refiner", {}), steps, schedule, law, warm=True)
    scale = whole(schedule).after.signal_scale
    assert torch.allclose(found.variance / scale**2, expected, rtol=1e-9)
    if steps == 512:
        # Between the steps V stands still at sigma^2 / (1 - g^2), near s^2 / 2 for small sigma.
        assert torch.allclose(torch.sqrt(expected / s2), f64(math.sqrt(0.5)), atol=0.03)

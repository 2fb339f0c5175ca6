"""The integrals that exponential multistep methods rest on, and the start they need."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from diffsci.diffusion.augmentation import Jump, Level
from diffsci.diffusion.exact import whole
from diffsci.diffusion.samplers._exponential import Estimate, estimate, follow, shares
from diffsci.diffusion.samplers.dpmpp import extrapolated
from diffsci.families import load
from tests.diffusion.laws import GAUSSIAN, f64
from tests.diffusion.samplers.variants import SCHEDULES, orders, rms, silent, start, unchecked


def at(u):
    """The level whose log(c / d) is u, of variance-preserving kind."""
    sigma = f64(math.exp(-u))
    return Level(f64(0.5), 1 / torch.sqrt(1 + sigma**2), sigma / torch.sqrt(1 + sigma**2))


@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [1e-3, 0.7, 12.0])
def test_shares_integrate_every_polynomial_below_their_number(rate, count, width):
    """Against adaptive quadrature, with unequal steps before; no other combination does that."""
    jump = Jump(at(1.0), at(1.0 + width))
    nodes = [1.0 - width * back for back in (0.0, 1.3, 2.1, 3.7)][:count]
    share = shares(jump, [Estimate(at(u), f64([[0.0]])) for u in nodes], rate)
    assert float(share.sum()) == pytest.approx(-math.expm1(-rate * width), rel=1e-12)
    for power in range(count):
        found = sum(
            float(s) * ((u - 1) / width) ** power for s, u in zip(share, nodes, strict=True)
        )

        def integrand(v, power=power):
            return rate * width * math.exp(rate * width * (v - 1)) * v**power

        exact, _ = quad(integrand, 0, 1, epsabs=0, epsrel=1e-12)
        assert found == pytest.approx(exact, rel=1e-10)


def test_two_estimates_of_dpmpp_are_a_line_to_the_middle_of_the_step():
    """Steps of 0.5 and then 2: where they are alike, their ratio upside down would be right too."""
    known = [Estimate(at(0.0), f64([[1.0]])), Estimate(at(0.5), f64([[4.0]]))]
    found = float(extrapolated(Jump(at(0.5), at(2.5)), known, 1))
    assert found == pytest.approx(1 + 6 * 1.5, rel=1e-12)


def test_three_estimates_of_the_stochastic_form_halve_the_bend():
    """Weighted by exp(2 u), the mean of what lies midway between parabola and line."""
    nodes, values, end = (0.0, 1.3, 2.1), (1.0, 5.0, 2.0), 3.0
    known = [Estimate(at(u), f64([[v]])) for u, v in zip(nodes, values, strict=True)]
    found = float(extrapolated(Jump(at(nodes[-1]), at(end)), known, 2))
    parabola, line = np.polyfit(nodes, values, 2), np.polyfit(nodes[1:], values[1:], 1)

    def midway(u):
        return math.exp(2 * (u - end)) * (np.polyval(parabola, u) + np.polyval(line, u)) / 2

    exact, _ = quad(midway, nodes[-1], end, epsabs=0, epsrel=1e-12)
    # Its weights add up to the integral of the exponential.
    assert found == pytest.approx(exact / (-math.expm1(2 * (nodes[-1] - end)) / 2), rel=1e-10)


def begun_with_fewer(sampler, denoise, schedule, x_1):
    """`ab` as it is usually begun: the first steps by as many estimates as there are."""

    class Naive(type(sampler)):
        def walk(self, denoise, path, x, noise):
            known = []
            for jump in path.jumps:
                known = [*known, estimate(denoise, x, jump.now)][-self.multistep :]
                x = follow(x, jump, known)
            return x

    naive = Naive(steps=sampler.steps, multistep=sampler.multistep)
    return naive(denoise, schedule, x_1, silent)


@pytest.mark.parametrize("multistep", [3, 4])
def test_the_start_is_what_keeps_the_order(multistep):
    """Under noise from 5 on, a start by fewer estimates leaves order 2: measured 2.0 to 2.1."""
    schedule = SCHEDULES["near"]
    x_1 = start(schedule, 3)
    exact, denoise = GAUSSIAN.flow(x_1, whole(schedule)), GAUSSIAN.denoiser(schedule)
    samplers = [load("samplers", "ab")(steps=n, multistep=multistep) for n in (192, 384)]
    with unchecked():
        ours = [rms(s(denoise, schedule, x_1, silent) - exact) for s in samplers]
        naive = [rms(begun_with_fewer(s, denoise, schedule, x_1) - exact) for s in samplers]
    assert orders(naive)[0] < 2.2
    assert abs(orders(ours)[0] - multistep) < 0.15
    assert ours[1] < naive[1] / 10

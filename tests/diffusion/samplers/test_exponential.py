"""The integrals that exponential multistep methods rest on, and the start they need."""

import math

import pytest
import torch
from scipy.integrate import quad

from diffsci.diffusion.augmentation import Jump, Level
from diffsci.diffusion.exact import whole
from diffsci.diffusion.samplers._exponential import Estimate, estimate, follow, shares
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

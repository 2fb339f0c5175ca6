"""Waves, changes of the grid, and both steppers on equations with known solutions."""

import cmath
import math

import pytest
import torch

from diffsci.solvers._spectral import Etdrk4, FilteredRk4, Waves, resized


def waves(points, dims):
    return Waves.build(points, dims, side=2 * math.pi)


def plane(points):
    along = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    return torch.meshgrid(along, along, indexing="ij")


def test_derivatives_of_a_wave_are_exact():
    w = waves(16, 2)
    y, x = plane(16)
    v = w.to_waves(torch.sin(3 * x - 2 * y))
    k_y, k_x = w.axes
    for k, factor in ((k_x, 3), (k_y, -2)):
        assert (w.to_space(1j * k * v) - factor * torch.cos(3 * x - 2 * y)).abs().max() < 1e-13
    assert (w.to_space(-w.squared * v) + 13 * torch.sin(3 * x - 2 * y)).abs().max() < 1e-12


@pytest.mark.parametrize("dims", [1, 2])
def test_the_rule_of_two_thirds_keeps_squares_free_of_aliases(dims):
    """The square of resolved waves, on this grid and on one that holds all of it."""
    coarse, fine = waves(16, dims), waves(32, dims)
    v = coarse.to_waves(torch.randn(16, *[16] * (dims - 1), dtype=torch.float64)) * coarse.resolved
    here = coarse.to_waves(coarse.to_space(v) ** 2)
    there = fine.to_waves(fine.to_space(resized(v, coarse, fine)) ** 2)
    apart = (here - resized(there, fine, coarse)) * coarse.resolved
    assert apart.abs().max() < 1e-12 * here.abs().max()
    # One wave more along each axis, and it is not so.
    assert coarse.resolved.sum() == (6 if dims == 1 else 6 * 11)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("points", [(16, 24), (15, 22)])
def test_a_finer_grid_has_the_same_values_on_shared_points_and_comes_back(dims, points):
    coarse, fine = waves(points[0], dims), waves(2 * points[0], dims)
    other = waves(points[1], dims)
    v = coarse.to_waves(torch.randn(*[points[0]] * dims, dtype=torch.float64)) * coarse.resolved
    u = fine.to_space(resized(v, coarse, fine))
    every_second = (slice(None, None, 2),) * dims
    assert (u[every_second] - coarse.to_space(v)).abs().max() < 1e-14
    assert (resized(resized(v, coarse, other), other, coarse) - v).abs().max() < 1e-13


def test_the_tail_is_the_ratio_of_shells():
    w = waves(24, 2)
    y, x = plane(24)
    # Waves 7 are the smallest that 24 points resolve; amplitude a hundredth is energy 1e-4.
    u = torch.stack([torch.sin(2 * x) + 0.01 * torch.cos(7 * y), 5 * torch.sin(2 * x)])
    assert w.tail(w.to_waves(u[None])) == pytest.approx(1e-4, rel=1e-12)


BERNOULLI = 0.8 - 1.5j


def bernoulli(t):
    """z' = a z - z^2 from z = 0.7, by hand: 1 / z obeys a linear equation."""
    a = BERNOULLI
    return 1 / ((1 / 0.7 - 1 / a) * cmath.exp(-a * t) + 1 / a)


@pytest.mark.parametrize("linear", [BERNOULLI, 1j * BERNOULLI.imag, BERNOULLI.real, 0.0])
def test_exponential_steps_are_of_fourth_order_on_a_known_solution(linear):
    """Whatever share of a complex rate is taken as the linear part, a rate of zero included."""
    rest = BERNOULLI - linear
    errors = []
    for steps in (16, 32, 64):
        kind = torch.complex128 if isinstance(linear, complex) else torch.float64
        rate = torch.tensor([linear], dtype=kind)
        step = Etdrk4.build(rate, lambda z: rest * z - z**2, 1.0 / steps)
        z = torch.tensor([[0.7 + 0j]], dtype=torch.complex128)
        for _ in range(steps):
            z = step(z)
        errors.append(abs(z.item() - bernoulli(1.0)))
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert 3.8 < math.log2(coarse / fine) < 4.2


def test_filtered_steps_are_of_fourth_order_on_a_known_solution():
    errors = []
    for steps in (16, 32, 64):
        rate = torch.tensor([BERNOULLI.real], dtype=torch.float64)
        step = FilteredRk4.build(rate, lambda z: 1j * BERNOULLI.imag * z - z**2, 1.0 / steps)
        z = torch.tensor([[0.7 + 0j]], dtype=torch.complex128)
        for _ in range(steps):
            z = step(z)
        errors.append(abs(z.item() - bernoulli(1.0)))
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert 3.8 < math.log2(coarse / fine) < 4.2


@pytest.mark.parametrize("stepper", [Etdrk4, FilteredRk4])
def test_a_linear_equation_is_solved_to_round_off(stepper):
    rate = torch.tensor([-300.0, -2.0, -1e-9, 0.0, 0.4], dtype=torch.float64)
    step = stepper.build(rate, torch.zeros_like, 0.25)
    v = torch.ones(1, 5, dtype=torch.complex128)
    for _ in range(8):
        v = step(v)
    assert v[0].real.numpy() == pytest.approx(torch.exp(2 * rate).numpy(), rel=1e-13)


def test_coefficients_are_those_of_the_series_near_zero_and_of_the_formula_far_from_it():
    """(e^z - 1) / z at z / 2, with dt = 1: the one that is known to all digits by `expm1`."""
    z = torch.tensor([1e-12, 1e-3, 0.3, 5.0, -40.0], dtype=torch.float64)
    stage = Etdrk4.build(z, torch.zeros_like, 1.0).stage
    assert stage.numpy() == pytest.approx((torch.expm1(z / 2) / z).numpy(), rel=1e-14)
    turned = Etdrk4.build(1j * z, torch.zeros_like, 1.0).stage[2:4]
    exact = [(cmath.exp(0.5j * x) - 1) / (1j * x) for x in (0.3, 5.0)]
    assert (turned - torch.tensor(exact, dtype=torch.complex128)).abs().max() < 1e-14

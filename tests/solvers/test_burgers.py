"""Burgers' equation against the formula of Cole and Hopf."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.errors import FieldError
from diffsci.solvers.burgers import Burgers
from tests.solvers.orders import slopes, trajectory


def small(**changes):
    return Burgers(**({"solver_points": 128, "trajectories": 2, "frames": 3} | changes))


def cole_hopf(solver, number, t):
    """u = -2 nu (log phi)_x, phi_t = nu phi_xx; the heat equation is solved in Fourier space."""
    fine = replace(solver, solver_points=2048)
    nu = solver.parameters(np.array([number]))["viscosity"][0]
    u = fine.initial(np.array([number]))[0, 0].numpy()
    k = np.arange(1025)
    # The mean of u is 0, so its potential is periodic.
    potential = np.fft.irfft(np.fft.rfft(u) / np.where(k > 0, 1j * k, 1))
    phi = np.fft.rfft(np.exp(-potential / (2 * nu))) * np.exp(-nu * k**2 * t)
    exact = -2 * nu * np.fft.irfft(1j * k * phi) / np.fft.irfft(phi)
    return exact[:: 2048 // solver.solver_points]


def test_the_formula_of_cole_and_hopf():
    solver = small(solver_points=256, output_step=0.5)
    found = trajectory(solver, frames=3, count=6)[:, :, 0].numpy()
    for number in range(6):
        for frame in (1, 2):
            apart = found[number, frame] - cole_hopf(solver, number, 0.5 * frame)
            assert np.abs(apart).max() < 1e-8  # error in time 8e-11, of cut-off waves 1e-9


def test_small_waves_follow_the_linear_equation():
    solver = small(output_step=1.0)
    x = 2 * math.pi * torch.arange(128, dtype=torch.float64) / 128
    nu = torch.tensor([0.02, 0.3], dtype=torch.float64)
    u = (1e-9 * torch.cos(3 * x)).expand(2, 1, 128)
    last = solver.integrate(u, frames=3, parameters={"viscosity": nu})[:, -1, 0, 0]
    # Waves feel their own square at second order only: exact to round-off.
    assert last.numpy() == pytest.approx(1e-9 * torch.exp(-9 * nu * 2).numpy(), rel=1e-11)


def test_fourth_order_in_dt():
    orders = slopes(small(solver_points=64, output_step=0.5), (0.02, 0.01, 0.005))
    assert all(3.8 < order < 4.2 for order in orders)  # measured: 3.99 and 4.00


def test_no_speed_is_above_the_first():
    u = trajectory(small(output_step=0.25), frames=9, count=8).abs().amax(dim=(2, 3))
    assert (u[:, 1:] <= u[:, :-1] + 1e-9).all()


def test_viscosities_are_uniform_in_the_logarithm():
    nu = small().parameters(np.arange(4000))["viscosity"]
    share = np.sort(np.log(nu / 0.05) / np.log(10.0))
    # Kolmogorov's distance of n draws is above 1.95 / sqrt(n) in one case of a thousand.
    assert np.abs(share - np.linspace(0, 1, 4000)).max() < 1.95 / np.sqrt(4000)


def test_unstable_steps_are_refused_with_the_stable_one():
    with pytest.raises(FieldError, match=r"dt: got 0.5, expected 0\.0\d* or less, or the solution"):
        small(dt=0.5, output_step=0.5)()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smallest": 0.0}, "smallest: got 0.0"),
        ({"largest": 0.01}, "largest: got 0.01, expected a finite number, smallest=0.05 or more"),
        ({"solver_points": 8}, "solver_points: got 8"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(FieldError, match=message):
        small(**changes)
